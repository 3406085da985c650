//! What administrators ask of a node: begin a cluster, look at it, test it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_consensus::transport::PeerError;
use spine_proto::admin::v1 as pb;
use spine_proto::ids::{NodeId, RoutingKey};
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{self as raft, Lane};
use spine_proto::storage::v1::{ClusterPlan, NodeState, PlanNode};
use spine_services::{ErrorKind, SpineError};
use spine_statemachine::frame;
use spine_statemachine::key::{self, Family, SubjectKey};
use spine_statemachine::store::OrderedRead as _;
use tokio::time::{Instant, sleep};

use crate::clock::Clock as _;
use crate::clock_agreement::ClockVerdict;
use crate::cluster::plan::decide;
use crate::dispatch::failure::not_initialised;
use crate::node::{Inner, Running};
use crate::shard::host::Shard;
use crate::status::{absent_summary, cluster_status, hex, node_event, shard_summary, why_stopped};
use crate::telemetry::process::resident_bytes;

/// A node that is asked for its status answers within this or counts as unreachable.
const STATUS_DEADLINE: Duration = Duration::from_millis(800);
/// A node that is told of the plan answers within this; it creates its files meanwhile.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(30);
/// Before a node is asked again.
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn failed(reason: &'static str, message: impl Into<String>) -> SpineError {
    SpineError::new(ErrorKind::Unavailable, reason, message)
}

fn damaged(message: impl Into<String>) -> SpineError {
    SpineError::new(ErrorKind::Corrupt, "STORE_DAMAGED", message)
}

fn not_leader(message: impl Into<String>) -> SpineError {
    SpineError::new(ErrorKind::NotLeader, "NOT_LEADER", message)
}

fn invalid(reason: &'static str, message: impl Into<String>) -> SpineError {
    SpineError::new(ErrorKind::Invalid, reason, message)
}

impl Inner {
    /// Begins a cluster of these nodes. Repeating it finishes what an earlier try began.
    ///
    /// # Errors
    /// A node that cannot be reached or belongs to another cluster; wishes that cannot be.
    pub async fn init_cluster(
        self: Arc<Self>,
        request: pb::InitClusterRequest,
    ) -> Result<pb::InitClusterResponse, SpineError> {
        if request.peer_addresses.len() > 1_024 {
            return Err(invalid("MALFORMED_PLAN", "more than 1,024 nodes"));
        }
        let already = self.running().is_some();
        let known = match self.running() {
            Some(running) => Some(ClusterPlan::clone(&running.plan())),
            None => self
                .plan_files()
                .proposal()
                .map_err(|error| damaged(error.to_string()))?,
        };
        let plan = match known {
            Some(plan) => same_nodes(plan, &request.peer_addresses)?,
            None => self.new_plan(&request).await?,
        };
        self.plan_files()
            .store_proposal(&plan)
            .map_err(|error| damaged(error.to_string()))?;
        let mine = self.config.listen.advertised_peer();
        for node in plan.nodes.iter().filter(|node| node.peer_address != mine) {
            let answer = self
                .bootstrap_call(&node.peer_address, Some(plan.clone()))
                .await?;
            if !answer.accepted {
                return Err(failed(
                    "NODE_REFUSED",
                    format!("{}: {}", node.peer_address, answer.reason),
                ));
            }
        }
        self.adopt(plan.clone())
            .await
            .map_err(|error| failed("NODE_REFUSED", error.to_string()))?;
        Ok(pb::InitClusterResponse {
            cluster_id: hex(&plan.cluster_id),
            already,
        })
    }

    async fn new_plan(&self, request: &pb::InitClusterRequest) -> Result<ClusterPlan, SpineError> {
        let mine = self.config.listen.advertised_peer();
        if !request.peer_addresses.iter().any(|address| address == mine) {
            return Err(invalid(
                "MALFORMED_PLAN",
                format!("this node's own peer address {mine} must be among them"),
            ));
        }
        let mut nodes = Vec::with_capacity(request.peer_addresses.len());
        let mut first_level = self.parts.release.levels.max;
        for address in &request.peer_addresses {
            let node = if address == mine {
                self.addresses()
            } else {
                let (node, level_max) = self.probe(address).await?;
                first_level = first_level.min(level_max);
                node
            };
            nodes.push(PlanNode {
                peer_address: address.clone(),
                ..node
            });
        }
        let fresh = self.entropy.bytes();
        let (cluster_id, subject_key) = fresh.split_at(16);
        let plan = decide(
            nodes,
            request.shards,
            request.replicas,
            Bytes::copy_from_slice(cluster_id),
            Bytes::copy_from_slice(subject_key),
        );
        let plan = plan.map_err(|error| invalid("MALFORMED_PLAN", error.to_string()))?;
        Ok(ClusterPlan { first_level, ..plan })
    }

    /// A node that is to be part of a new cluster, and the highest level that it knows.
    async fn probe(&self, address: &str) -> Result<(PlanNode, u32), SpineError> {
        let answer = self.bootstrap_call(address, None).await?;
        if !answer.cluster_id.is_empty() {
            return Err(failed(
                "NODE_REFUSED",
                format!("{address} has data of another cluster"),
            ));
        }
        let node = answer
            .node
            .ok_or_else(|| failed("NODE_REFUSED", format!("{address} gave no addresses")))?;
        Ok((node, answer.level_max))
    }

    async fn bootstrap_call(
        &self,
        address: &str,
        plan: Option<ClusterPlan>,
    ) -> Result<raft::BootstrapResponse, SpineError> {
        let body = Body::Bootstrap(raft::BootstrapRequest {
            probe: plan.is_none(),
            plan,
        });
        let until = Instant::now() + BOOTSTRAP_DEADLINE;
        // A node that waits for a slow disk gives no sign of life, and takes no connection either; asked again it goes
        // on where it was.
        let mut was_there = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.peers.links().call_address(address, body.clone(), left).await;
            let error = match answer {
                Ok(Body::Bootstrapped(answer)) => return Ok(answer),
                Ok(_) => "answered something else".to_owned(),
                Err(error) => {
                    was_there |= error == PeerError::Closed;
                    let passing = matches!(error, PeerError::Closed | PeerError::Unreachable);
                    if was_there && passing && Instant::now() + BOOTSTRAP_PAUSE < until {
                        sleep(BOOTSTRAP_PAUSE).await;
                        continue;
                    }
                    error.to_string()
                }
            };
            return Err(failed("NODE_UNREACHABLE", format!("{address}: {error}")));
        }
    }

    /// Another node begins a cluster with this one.
    pub async fn bootstrapped(self: &Arc<Self>, request: raft::BootstrapRequest) -> raft::BootstrapResponse {
        let cluster_id = self
            .running()
            .map(|running| running.plan().cluster_id.clone())
            .unwrap_or_default();
        let mut answer = raft::BootstrapResponse {
            node: Some(self.addresses()),
            cluster_id,
            level_max: self.parts.release.levels.max,
            ..Default::default()
        };
        match request.plan {
            Some(plan) if !request.probe => match self.adopt(plan).await {
                Ok(()) => answer.accepted = true,
                Err(error) => answer.reason = error.to_string(),
            },
            _ => answer.accepted = request.probe,
        }
        answer
    }

    /// This node as it sees itself.
    #[must_use]
    pub fn node_status(&self) -> pb::GetNodeStatusResponse {
        let running = self.running();
        let addresses = self.addresses();
        let release = &self.parts.release;
        let node_id = addresses.node_id;
        let mut shards: Vec<pb::ShardSummary> = self
            .host
            .all()
            .iter()
            .map(|shard| self.summary(shard, running.as_deref()))
            .collect();
        shards.extend(
            self.host
                .absent()
                .iter()
                .map(|(shard, absent)| absent_summary(*shard, addresses.node_id, absent)),
        );
        shards.sort_by_key(|summary| summary.shard);
        let liveness = self.peers.links().liveness().borrow().clone();
        let peers = liveness.peers.iter().map(|(node, peer)| pb::PeerSummary {
            node_id: node.0,
            connected: peer.silent_since.is_none() && peer.evidence.is_none(),
            silent_ms: peer.silent_since.map_or(0, |since| {
                u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
            }),
        });
        pb::GetNodeStatusResponse {
            node_id: addresses.node_id,
            cluster_id: running
                .as_ref()
                .map(|running| hex(&running.plan().cluster_id))
                .unwrap_or_default(),
            release: release.name.clone(),
            state: self.state().to_string(),
            uptime_seconds: self.started.elapsed().as_secs(),
            resident_bytes: resident_bytes(),
            disk_free_bytes: self
                .parts
                .disk
                .free_bytes(&self.config.node.data_dir)
                .unwrap_or(0),
            fsyncs: running.as_ref().map_or(0, |running| running.wal.stats().fsyncs),
            shards,
            reasons: self.reasons(),
            grpc_address: addresses.grpc_address,
            admin_address: addresses.admin_address,
            peer_address: addresses.peer_address,
            peers: peers.collect(),
            boot_id: self.boot_id,
            commit: release.commit.clone(),
            stored_format: release.stored_format,
            wire_min: release.wire.min,
            wire_max: release.wire.max,
            level_min: release.levels.min,
            level_max: release.levels.max,
            events: self
                .events
                .all()
                .iter()
                .map(|event| node_event(node_id, event))
                .collect(),
        }
    }

    fn summary(&self, shard: &Shard, running: Option<&Running>) -> pb::ShardSummary {
        let number = shard.group.identity().shard;
        let plan = running.map(Running::plan);
        let mut shards = plan.iter().flat_map(|plan| &plan.shards);
        let planned = shards.find(|planned| planned.shard == number);
        let slots = planned.map_or((0, 0), |planned| (planned.slot_first, planned.slot_last));
        shard_summary(shard, running.map_or(0, |running| running.node_id), slots)
    }

    fn state(&self) -> &'static str {
        match (self.is_draining(), self.running().is_some()) {
            (true, _) => "draining",
            (false, true) => "running",
            (false, false) => "uninitialised",
        }
    }

    /// Replicas that this node should run and does not.
    #[must_use]
    pub fn stopped_replicas(&self) -> usize {
        let running = self.host.all();
        let stopped = running.iter().filter(|shard| why_stopped(shard).is_some());
        stopped.count() + self.host.absent().len()
    }

    /// What is wrong here, for people.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_draining() {
            reasons.push("draining".to_string());
        }
        reasons.extend(self.fitness.trouble().map(|trouble| trouble.to_string()));
        if let Some(running) = self.running()
            && let ClockVerdict::Apart { offset_ms } = running.time.verdict()
        {
            reasons.push(format!(
                "the clock is {} ms {} the median of its peers; what time does by itself stops here",
                offset_ms.unsigned_abs(),
                if offset_ms > 0 { "behind" } else { "ahead of" }
            ));
        }
        reasons.extend(self.level_unknown());
        for (number, absent) in self.host.absent() {
            let state = if absent.repairing {
                "is being repaired"
            } else {
                "stopped"
            };
            reasons.push(format!("shard {number} {state}: {}", absent.reason));
        }
        for shard in self.host.all() {
            let number = shard.group.identity().shard;
            if let Some(stopped) = why_stopped(&shard) {
                reasons.push(format!("shard {number} stopped: {stopped}"));
            }
            if let Some(mismatch) = shard.group.store().status().verdict.mismatch {
                let index = mismatch.index;
                reasons.push(format!(
                    "shard {number} differs from another replica at index {index}"
                ));
            }
        }
        reasons
    }

    /// The whole cluster, asked node by node.
    pub async fn cluster_status(&self) -> pb::GetClusterStatusResponse {
        let Some(running) = self.running() else {
            return pb::GetClusterStatusResponse {
                health: pb::Health::NotServing.into(),
                reasons: vec!["the cluster is not initialised".to_string()],
                ..Default::default()
            };
        };
        let heard = self.ask_all(&running).await;
        cluster_status(&running.plan(), &heard)
    }

    /// What each node of the cluster that answers says about itself.
    pub(crate) async fn ask_all(&self, running: &Running) -> BTreeMap<u64, pb::GetNodeStatusResponse> {
        let plan = running.plan();
        let others = plan
            .nodes
            .iter()
            .filter(|node| node.node_id != running.node_id && node.state() != NodeState::Removed);
        let asked = others.map(|node| async {
            let body = Body::Status(raft::StatusRequest {});
            let answer = self
                .peers
                .links()
                .call(NodeId(node.node_id), Lane::Log, body, STATUS_DEADLINE)
                .await;
            let Ok(Body::StatusIs(answer)) = answer else {
                return None;
            };
            Some((
                node.node_id,
                pb::GetNodeStatusResponse::decode(answer.node_status).ok()?,
            ))
        });
        let mut heard: BTreeMap<u64, pb::GetNodeStatusResponse> = futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect();
        heard.insert(running.node_id, self.node_status());
        heard
    }

    /// Log time as this node stamps it, and how far a test has moved it.
    #[must_use]
    pub fn time(&self) -> (i64, i64) {
        (self.clock.now_ms(), self.clock.advanced_ms())
    }

    /// Moves log time forward, in development mode.
    ///
    /// # Errors
    /// `FORBIDDEN` in production mode.
    pub fn advance_time(&self, by: Duration) -> Result<i64, SpineError> {
        if !self.config.security.is_development() {
            return Err(SpineError::new(
                ErrorKind::Forbidden,
                "FORBIDDEN",
                "time is moved in development mode only",
            ));
        }
        Ok(self
            .clock
            .advance(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    pub(crate) fn shard_here(&self, shard: u32) -> Result<Arc<Shard>, SpineError> {
        self.host.shard(shard).ok_or_else(|| {
            SpineError::new(
                ErrorKind::NotFound,
                "NO_SUCH_REPLICA",
                "this node hosts no such shard",
            )
        })
    }

    /// Hands a shard's leadership to another node.
    ///
    /// # Errors
    /// Not led here, or no replica there.
    pub async fn transfer_leader(&self, shard: u32, to: u64) -> Result<(), SpineError> {
        let shard = self.shard_here(shard)?;
        let voters = shard.group.voters();
        let replica = voters
            .iter()
            .find(|(_, node)| *node == to)
            .map(|(replica, _)| *replica)
            .ok_or_else(|| {
                SpineError::new(
                    ErrorKind::NotFound,
                    "NO_SUCH_REPLICA",
                    "that node hosts no replica of this shard",
                )
            })?;
        if !shard.group.status().leading {
            return Err(not_leader("this node does not lead the shard"));
        }
        shard
            .group
            .transfer_to(replica)
            .await
            .map_err(|error| failed("REPLICA_STOPPED", error.to_string()))
    }

    /// What this node's own replica holds, without a barrier.
    ///
    /// # Errors
    /// A malformed key, or a store that cannot be read.
    pub fn read_replica(
        &self,
        request: &pb::ReadReplicaRequest,
    ) -> Result<pb::ReadReplicaResponse, SpineError> {
        let (shard, key) = self.locate(&request.routing_key, &request.suffix)?;
        let Some(shard) = self.host.shard(shard) else {
            return Ok(pb::ReadReplicaResponse::default());
        };
        let unreadable = |_| damaged("this replica cannot read its store");
        let (applied, record) = shard
            .group
            .store()
            .read(|view| (view.applied(), view.get(&key)))
            .map_err(unreadable)?;
        let record = record.map_err(|error| damaged(error.to_string()))?;
        let applied_index = applied.map_or(0, |id| id.index);
        let mut answer = pb::ReadReplicaResponse {
            hosted: true,
            applied_index,
            ..Default::default()
        };
        if let Some(record) = record {
            answer.found = true;
            answer.revision = record.revision;
            answer.value = frame::decode(&record.value).map_err(|error| damaged(error.to_string()))?;
        }
        Ok(answer)
    }

    /// The shard of a record, and its key there.
    pub(crate) fn locate(&self, routing_key: &str, suffix: &[u8]) -> Result<(u32, Bytes), SpineError> {
        let running = self.running().ok_or_else(not_initialised)?;
        let routing_key =
            RoutingKey::parse(routing_key).map_err(|error| invalid("MALFORMED_KEY", error.to_string()))?;
        let map = self.host.map();
        let shard = map.and_then(|map| map.shard_of(routing_key.slot())).unwrap_or(0);
        let mut subject_key = [0; 16];
        subject_key.copy_from_slice(running.plan().subject_key.get(..16).ok_or_else(not_initialised)?);
        let subject_key = SubjectKey::new(subject_key);
        let key = key::encode(Family::Records, &subject_key, &routing_key, 1, suffix);
        Ok((shard, key))
    }
}

/// A plan is carried out again only for the nodes that it was made for.
fn same_nodes(plan: ClusterPlan, addresses: &[String]) -> Result<ClusterPlan, SpineError> {
    let mut asked: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut planned: Vec<&str> = plan.nodes.iter().map(|node| node.peer_address.as_str()).collect();
    asked.sort_unstable();
    planned.sort_unstable();
    if asked == planned {
        Ok(plan)
    } else {
        Err(SpineError::new(
            ErrorKind::AlreadyExists,
            "CLUSTER_EXISTS",
            "this node has data of another cluster",
        ))
    }
}
