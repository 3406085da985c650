//! The links to other nodes, in the words of the layers that use them.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message as _;
use spine_cluster_config::Config;
use spine_consensus::elections::NodesView;
use spine_consensus::inbound::SnapshotInflow;
use spine_consensus::net::Net;
use spine_consensus::nodes_view::NodesWatch;
use spine_consensus::peers::{CallError, Peers, SnapshotFeed};
use spine_consensus::transport::{
    Identity, IdentityCell, Links, LinksConfig, LivenessSnapshot, PeerAddresses, PeerError, PeerHandler,
    ReceivedPart, SnapshotParts, SnapshotReceiver, WatchDriver, WatchTiming,
};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1 as pb;
use spine_proto::internal::raft::v1::Lane;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::storage::v1::{ClusterPlan, NodeState, PlanNode};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::claims::Claims;
use crate::clock::Clock;
use crate::driver::NodesSource;
use crate::fitness::Trouble;
use crate::node::Inner;
use crate::repair::{self, History};
use crate::unfit::Unfit;
use crate::version::Release;

/// A snapshot whose receiver is silent for this long is given up.
const SNAPSHOT_IDLE: Duration = Duration::from_secs(10);

/// This node's links.
pub struct NodePeers {
    links: Links,
    identity: Arc<IdentityCell>,
    leading: Arc<Claims>,
    unfit: Unfit,
    /// Shards that no replica here can lead.
    unfit_shards: Arc<Mutex<Vec<u32>>>,
    plan_epoch: Arc<AtomicU64>,
    watched: Mutex<NodesWatch>,
}

impl NodePeers {
    /// Links that answer through `node`. Nothing is dialled before the node belongs to a cluster.
    pub fn new(
        (node, history): (Weak<Inner>, Arc<History>),
        net: Arc<dyn Net>,
        config: &Config,
        release: &Release,
        driver: WatchDriver,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let identity = Arc::new(IdentityCell::default());
        let leading = Arc::<Claims>::default();
        let unfit = Unfit::default();
        let unfit_shards = Arc::<Mutex<Vec<u32>>>::default();
        let timings = &config.raft;
        let peer_address = config.listen.advertised_peer().to_string();
        let mut config = LinksConfig::new(Arc::clone(&identity), peer_address, seed);
        config.driver = driver;
        config.release.clone_from(&release.name);
        config.wire = release.wire;
        let asked = node.clone();
        config.level = Arc::new(move || asked.upgrade().map_or(0, |node| node.level_in_force()));
        let silence_limit = timings.peer_silence();
        config.timing = WatchTiming {
            interval: timings.watch_interval(),
            silence_limit,
        };
        config.unfit = unfit.flag();
        let lacking = Arc::clone(&unfit_shards);
        config.unfit_shards = Arc::new(move || lacking.lock().clone());
        config.stores = history;
        let asked = node.clone();
        config.progress = Arc::new(move || asked.upgrade().map_or_else(Vec::new, |node| progress(&node)));
        let led = Arc::clone(&leading);
        config.leading = Arc::new(move || led.get());
        config.clock = Arc::new(move || clock.now_ms());
        let plan_epoch = Arc::clone(&config.plan_epoch);
        let links = Links::new(config, net, Arc::new(Inbound(node)));
        Self {
            links,
            identity,
            leading,
            unfit,
            unfit_shards,
            plan_epoch,
            watched: Mutex::new(NodesWatch::new(silence_limit)),
        }
    }

    /// The links themselves.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// From now on this node is part of a cluster.
    pub fn join(&self, node_id: u64, plan: &ClusterPlan) {
        self.set_plan(plan, &[]);
        self.identity.set(Identity {
            node: NodeId(node_id),
            cluster_id: plan.cluster_id.clone(),
            incarnation: plan.incarnation,
        });
    }

    /// From now on these are the nodes of the cluster; of those that were given up only `leaving` are still talked to.
    pub fn set_plan(&self, plan: &ClusterPlan, leaving: &[u64]) {
        let stays = |node: &&PlanNode| node.state() != NodeState::Removed || leaving.contains(&node.node_id);
        let nodes = plan.nodes.iter().filter(stays);
        let address = |node: &PlanNode| (NodeId(node.node_id), vec![node.peer_address.clone()]);
        let peers: PeerAddresses = nodes.map(address).collect();
        // Those that are talked to for a moment longer count as they are heard.
        let given_up = plan.nodes.iter().map(|node| NodeId(node.node_id));
        let given_up = given_up.filter(|node| !peers.contains_key(node)).collect();
        self.watched.lock().set_given_up(given_up);
        self.links.set_peers(peers);
        self.plan_epoch.store(plan.epoch, Ordering::Release);
    }

    /// True while a node is silent or deaf to us, or its process is known to be gone.
    #[must_use]
    pub fn is_gone(&self, peer: NodeId) -> bool {
        gone(&self.links.liveness().borrow(), peer)
    }

    /// Returns once [`Self::is_gone`] is true.
    pub async fn gone(&self, peer: NodeId) {
        let mut liveness = self.links.liveness();
        if liveness.wait_for(|seen| gone(seen, peer)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether each of these sets of nodes has another one that is there and does not ask to be left out of elections.
    #[must_use]
    pub fn is_another_fit(&self, sets: &BTreeSet<Vec<u64>>) -> bool {
        let seen = self.links.liveness().borrow().clone();
        sets.iter().all(|nodes| is_any_fit(&seen, nodes))
    }

    /// Why this node asks not to be elected.
    #[must_use]
    pub fn unfit(&self) -> &Unfit {
        &self.unfit
    }
}

/// How long the logs are here of shards whose leader is lost, or may be: those that stand still, so that what is told
/// of them stays true, and the only ones that somebody is to be elected for.
fn progress(node: &Inner) -> Vec<pb::GroupProgress> {
    let seen = node.peers.links.liveness().borrow().clone();
    let mut replicas = node.host.all();
    replicas.retain(|shard| {
        let status = shard.group.status();
        status
            .leader
            .is_none_or(|(_, leader)| is_doubted(&seen, NodeId(leader)))
    });
    let progress = replicas.iter().map(|shard| {
        let (last_log_term, last_log_index) = shard.group.last_log();
        pb::GroupProgress {
            shard: shard.group.identity().shard,
            last_log_term,
            last_log_index,
        }
    });
    progress.collect()
}

/// Whether anybody doubts that this node lives.
fn is_doubted(seen: &LivenessSnapshot, node: NodeId) -> bool {
    gone(seen, node) || seen.peers.values().any(|peer| peer.says_silent.contains(&node))
}

/// A node is not among its own peers.
fn is_any_fit(seen: &LivenessSnapshot, nodes: &[u64]) -> bool {
    let mut peers = nodes.iter().filter_map(|node| seen.peers.get(&NodeId(*node)));
    peers.any(|peer| peer.silent_since.is_none() && peer.evidence.is_none() && !peer.unfit)
}

fn gone(seen: &LivenessSnapshot, peer: NodeId) -> bool {
    let peer = seen.peers.get(&peer);
    // A node that does not hear us takes no call from us, though we hear it.
    peer.is_some_and(|peer| {
        peer.silent_since.is_some() || peer.evidence.is_some() || peer.says_silent.contains(&seen.me)
    })
}

fn call_error(error: &PeerError) -> CallError {
    match error {
        PeerError::Closed | PeerError::Timeout => CallError::Lost,
        PeerError::Refused(reason) => CallError::Unavailable(reason.to_string()),
        PeerError::Unreachable | PeerError::TooLarge { .. } | PeerError::Busy => CallError::Unreachable,
    }
}

#[async_trait]
impl Peers for NodePeers {
    async fn call(
        &self,
        node_id: u64,
        request: pb::GroupRequest,
        deadline: Duration,
    ) -> Result<pb::GroupResponse, CallError> {
        match self
            .links
            .call(NodeId(node_id), Lane::Log, Body::Request(request), deadline)
            .await
        {
            Ok(Body::Response(response)) => Ok(response),
            Ok(_) => Err(CallError::Lost),
            Err(error) => Err(call_error(&error)),
        }
    }

    async fn send_snapshot(
        &self,
        node_id: u64,
        start: pb::SnapshotStart,
        feed: Box<dyn SnapshotFeed>,
    ) -> Result<pb::GroupResponse, CallError> {
        // Raft cancels a transfer by dropping it.
        let never = std::future::pending();
        let sent = self
            .links
            .send_snapshot(NodeId(node_id), start, Outflow(feed), SNAPSHOT_IDLE, never)
            .await;
        sent.map_err(|error| call_error(&error))
    }
}

struct Outflow(Box<dyn SnapshotFeed>);

#[async_trait]
impl SnapshotParts for Outflow {
    async fn next(&mut self) -> io::Result<Option<pb::snapshot_part::Kind>> {
        self.0.next().await
    }
}

pub(crate) struct Inflow(pub(crate) SnapshotReceiver);

#[async_trait]
impl SnapshotInflow for Inflow {
    async fn next(&mut self) -> Option<pb::snapshot_part::Kind> {
        match self.0.next().await {
            Ok(ReceivedPart::Chunk(chunk)) => Some(pb::snapshot_part::Kind::Chunk(chunk)),
            Ok(ReceivedPart::End(end)) => Some(pb::snapshot_part::Kind::End(end)),
            Err(error) => Some(pb::snapshot_part::Kind::Abort(error.to_string())),
        }
    }
}

impl NodesSource for NodePeers {
    fn nodes(&self, voters: &[u64]) -> NodesView {
        let seen = self.links.liveness().borrow().clone();
        let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
        let mut view = self.watched.lock().view(&seen, &voters, Instant::now());
        view.self_unfit = self.unfit.is_any();
        view
    }

    fn self_unfit(&self) -> bool {
        self.unfit.is_any()
    }

    fn changes(&self) -> watch::Receiver<Arc<LivenessSnapshot>> {
        self.links.liveness()
    }

    fn publish_leading(&self, shards: Vec<u32>) {
        self.leading.set(shards);
    }

    fn publish_unfit(&self, shards: Vec<u32>) {
        *self.unfit_shards.lock() = shards;
    }
}

/// Answers what other nodes ask.
struct Inbound(Weak<Inner>);

pub(crate) fn unavailable(reason: &str) -> pb::GroupResponse {
    pb::GroupResponse {
        kind: Some(pb::group_response::Kind::Unavailable(reason.to_string())),
    }
}

fn brings_entries(request: &pb::GroupRequest) -> bool {
    matches!(&request.kind, Some(pb::group_request::Kind::Append(append)) if !append.entries.is_empty())
}

#[async_trait]
impl PeerHandler for Inbound {
    fn on_watch(&self, from: NodeId, watch: &pb::Watch) {
        if let Some(node) = self.0.upgrade() {
            node.peer_clocks.heard(from.0, watch.clock_ms);
            node.history.heard(from.0, watch.log_position);
            if let Some(running) = node.running()
                && watch.plan_epoch > running.plan().epoch
            {
                node.plan_news.heard(from.0, watch.plan_epoch);
            }
        }
    }

    async fn handle(&self, from: NodeId, body: Body) -> Body {
        let Some(node) = self.0.upgrade() else {
            return Body::Response(unavailable("stopped"));
        };
        // What is not an append is boxed: this future is made anew for every message, as large as its largest part.
        match body {
            // Consensus would call it an error that somebody still writes to it.
            Body::Request(_) if node.is_stopping() => Body::Response(unavailable("this node stops")),
            Body::Request(request) if brings_entries(&request) && node.fitness.is_exhausted() => {
                // Consensus would take them and end at the first failed write.
                Body::Response(unavailable("the disk of this node is full"))
            }
            Body::Request(pb::GroupRequest {
                shard,
                kind: Some(pb::group_request::Kind::PullSnapshot(request)),
                ..
            }) => Body::Response(Box::pin(repair::offered(&node, from, shard, request)).await),
            Body::Request(request) => Body::Response(match node.host.shard(request.shard) {
                Some(shard) => shard.group.handle(request).await,
                None => unavailable("no replica of this shard here"),
            }),
            Body::Execute(request) => match node.running() {
                Some(running) => Body::Executed(Box::pin(running.dispatcher.forwarded(request)).await),
                None => Body::Response(unavailable("not part of a cluster")),
            },
            Body::Bootstrap(request) => Body::Bootstrapped(Box::pin(node.bootstrapped(request)).await),
            Body::Status(_) => Body::StatusIs(pb::StatusResponse {
                node_status: node.node_status().encode_to_vec().into(),
            }),
            Body::Plan(_) => Body::PlanIs(pb::PlanResponse {
                plan: node.running().map(|running| ClusterPlan::clone(&running.plan())),
            }),
            Body::Cluster(request) => Body::ClusterDone(Box::pin(node.change_cluster(request)).await),
            Body::Change(request) => Body::Changed(Box::pin(node.change_step(request)).await),
            _ => Body::Response(unavailable("message of an unknown kind")),
        }
    }

    async fn snapshot(
        &self,
        _from: NodeId,
        start: pb::SnapshotStart,
        parts: SnapshotReceiver,
    ) -> pb::GroupResponse {
        let Some(node) = self.0.upgrade() else {
            return unavailable("stopped");
        };
        if node.fitness.trouble() == Some(Trouble::DiskFull) {
            return unavailable("the disk of this node is full");
        }
        match node.host.shard(start.shard) {
            Some(shard) => shard.group.receive_snapshot(start, &mut Inflow(parts)).await,
            None => node.deliveries.take(start, parts).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use spine_consensus::transport::liveness::PeerLiveness;

    use super::*;

    /// As node 1 sees the others.
    fn seen(unfit: &[u64]) -> LivenessSnapshot {
        let peer = |node: u64| {
            let peer = PeerLiveness {
                unfit: unfit.contains(&node),
                ..PeerLiveness::default()
            };
            (NodeId(node), peer)
        };
        LivenessSnapshot {
            me: NodeId(1),
            late: false,
            peers: (2..=4).map(peer).collect(),
        }
    }

    #[test]
    fn a_node_that_has_no_replica_of_a_shard_does_not_help_it() {
        let seen = seen(&[2, 3]);
        assert!(!is_any_fit(&seen, &[1, 2, 3]), "node 4 is fit and has no replica");
        assert!(is_any_fit(&seen, &[1, 2, 4]));
        assert!(!is_any_fit(&seen, &[1]));
    }

    #[test]
    fn whoever_is_not_heard_by_anybody_is_doubted() {
        let mut seen = seen(&[]);
        assert!(!is_doubted(&seen, NodeId(2)));
        seen.peers
            .get_mut(&NodeId(3))
            .unwrap()
            .says_silent
            .insert(NodeId(2));
        assert!(is_doubted(&seen, NodeId(2)));
        assert!(!is_doubted(&seen, NodeId(3)));
    }
}
