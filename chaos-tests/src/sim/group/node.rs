//! A machine with one replica: log, state, links, elections.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use rand::RngExt;
use spine_consensus::begin::begin;
use spine_consensus::elections::{Action, ElectionDriver, GroupView};
use spine_consensus::group::{GroupIdentity, GroupTimings, RaftGroup};
use spine_consensus::inbound::SnapshotInflow;
use spine_consensus::nodes_view::NodesWatch;
use spine_consensus::peers::{CallError, Peers, SnapshotFeed};
use spine_consensus::transport::{
    Identity, IdentityCell, Links, LinksConfig, PeerError, PeerHandler, ReceivedPart, SnapshotParts,
    SnapshotReceiver, WatchDriver, WatchTiming,
};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1 as pb;
use spine_proto::internal::raft::v1::Lane;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_storage::Driver as StorageDriver;
use spine_storage::disk::{Disk, SimDisk};
use spine_storage::engine::MemoryFactory;
use spine_storage::replica::{CheckpointWorker, ReplicaOptions, ReplicaStore, WorkerOptions};
use spine_storage::wal::{Wal, WalOptions};
use tokio::time::{Instant, sleep};

use super::caller;
use crate::history::Recorder;
use crate::sim::invariants::ReplicaView;
use crate::sim::net::SimNet;
use crate::sim::trace::Trace;
use crate::sim::world::ClockMs;
use crate::workload::seeded;

const SYNC_LATENCY: Duration = Duration::from_millis(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CLIENTS_OF_EACH: usize = 2;

/// What the run sees of a running node.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) group: Weak<RaftGroup>,
    pub(super) starts: u32,
    /// When it offered its leadership to another, ms since the run began.
    pub(super) offered_ms: Vec<u64>,
    /// Calls under way beside the replica that runs now.
    pub(super) calls: Rc<std::cell::Cell<u32>>,
}

impl Slot {
    pub(super) fn view(&self, node: usize) -> Option<ReplicaView> {
        let group = self.group.upgrade()?;
        let status = group.status();
        let read = group
            .store()
            .read(|view| (view.applied().map_or(0, |id| id.index), view.system().digest));
        let (applied_index, digest) = read.ok()?;
        Some(ReplicaView {
            node,
            replica: group.identity().replica_id,
            start: self.starts,
            shard: 0,
            term: status.term,
            leading: status.leading,
            committed_index: status.committed_index,
            applied_index,
            purged_index: status.purged_index,
            last_log_index: status.last_log_index,
            digest,
            stopped: status.stopped,
        })
    }
}

#[derive(Clone)]
pub(super) struct GroupNode {
    pub(super) number: usize,
    pub(super) seed: u64,
    pub(super) disk: SimDisk,
    pub(super) net: SimNet,
    pub(super) peers: Vec<String>,
    pub(super) slot: Rc<RefCell<Slot>>,
    pub(super) recorder: Recorder,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) clock_ms: ClockMs,
    pub(super) trace: Trace,
}

type Cell = Arc<RwLock<Weak<RaftGroup>>>;

impl GroupNode {
    fn node_id(&self) -> u64 {
        self.number as u64 + 1
    }

    pub(super) async fn run(self) -> turmoil::Result {
        let starts = self.slot.borrow().starts;
        let cell: Cell = Arc::default();
        let leading = Arc::new(RwLock::new(false));
        let links = self.links(&cell, &leading, starts);
        let group = self.open(Arc::new(LinkPeers(links.clone()))).await?;
        *cell.write() = Arc::downgrade(&group);
        let counter = Rc::new(std::cell::Cell::new(0));
        {
            let mut slot = self.slot.borrow_mut();
            slot.group = Arc::downgrade(&group);
            slot.starts += 1;
            slot.calls = counter.clone();
        }
        links.start_listener(&self.peers[self.number]).await?;
        for client in 0..CLIENTS_OF_EACH {
            let seed =
                self.seed ^ (u64::from(starts) << 40) ^ ((client as u64) << 32) ^ (self.node_id() << 20);
            let calls = caller::Caller::new(
                seed,
                group.clone(),
                self.recorder.clone(),
                self.stop.clone(),
                counter.clone(),
            );
            tokio::task::spawn_local(calls.run());
        }
        self.elect(&group, &links, &leading, starts).await;
        Ok(())
    }

    fn links(&self, cell: &Cell, leading: &Arc<RwLock<bool>>, starts: u32) -> Links {
        let identity = Arc::new(IdentityCell::default());
        let mut config = LinksConfig::new(
            identity.clone(),
            self.peers[self.number].clone(),
            self.seed ^ (u64::from(starts) << 8) ^ self.node_id(),
        );
        config.driver = WatchDriver::Task;
        let leads = leading.clone();
        config.leading = Arc::new(move || if *leads.read() { vec![0] } else { Vec::new() });
        let asked = cell.clone();
        config.progress = Arc::new(move || {
            let group = asked.read().upgrade();
            let progress = group.map(|group| {
                let (last_log_term, last_log_index) = group.last_log();
                pb::GroupProgress {
                    shard: 0,
                    last_log_term,
                    last_log_index,
                }
            });
            progress.into_iter().collect()
        });
        let links = Links::new(
            config,
            Arc::new(self.net.clone()),
            Arc::new(Inbound(cell.clone())),
        );
        let peers = self.peers.iter().enumerate();
        let peers = peers
            .map(|(number, address)| (NodeId(number as u64 + 1), vec![address.clone()]))
            .collect();
        links.set_peers(peers);
        identity.set(Identity {
            node: NodeId(self.node_id()),
            cluster_id: vec![7; 16].into(),
            incarnation: 0,
        });
        links
    }

    async fn open(&self, peers: Arc<dyn Peers>) -> Result<Arc<RaftGroup>, Box<dyn std::error::Error>> {
        let driver = StorageDriver::Tasks {
            sync_latency: SYNC_LATENCY,
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let uuid = [u8::try_from(self.node_id())?; 16];
        let options = WalOptions {
            segment_bytes: 128 << 10,
            cache_bytes: 16 << 10,
            ..WalOptions::default()
        };
        let wal = Wal::open(disk.clone(), Path::new("/data/wal"), uuid, options, driver).await?;
        let worker = CheckpointWorker::start(
            driver,
            WorkerOptions {
                on_failure: Arc::new(|_, error| tracing::error!(%error, "checkpoint failed")),
            },
        )?;
        let log = wal.group(self.node_id());
        let dir = Path::new("/data/replica");
        let factory = Arc::new(MemoryFactory::new(disk.clone()));
        let replica = ReplicaOptions {
            delta_checkpoint_bytes: 16 << 10,
            owner: uuid.to_vec(),
            ..ReplicaOptions::default()
        };
        let store = if log.exists() {
            ReplicaStore::open(disk, dir, factory, replica)?
        } else {
            if ReplicaStore::exists(disk.as_ref(), dir)? {
                ReplicaStore::destroy(disk.as_ref(), dir)?;
            }
            let store = ReplicaStore::create(disk, dir, factory, replica)?;
            log.create().await?;
            store
        };
        let members: Vec<(u64, u64)> = (1..=self.peers.len() as u64).map(|id| (id, id)).collect();
        begin(&log, &members).await?;
        let identity = GroupIdentity {
            shard: 0,
            replica_id: self.node_id(),
            first_voters: members,
        };
        let timings = GroupTimings {
            log_entries_kept: 32,
            ..GroupTimings::default()
        };
        Ok(RaftGroup::open(identity, timings, log, store, worker, peers).await?)
    }

    /// Elections, and a purge now and then, until the simulation ends.
    async fn elect(&self, group: &Arc<RaftGroup>, links: &Links, leading: &Arc<RwLock<bool>>, starts: u32) {
        let mut random = seeded(self.seed, &format!("elections {} {starts}", self.number));
        let mut driver = ElectionDriver::new(self.node_id());
        let began = Instant::now();
        let mut watched = NodesWatch::new(WatchTiming::default().silence_limit);
        let voters: Vec<NodeId> = (1..=self.peers.len() as u64).map(NodeId).collect();
        loop {
            sleep(LOOK_EVERY).await;
            let status = group.status();
            *leading.write() = status.leading && !group.has_abdicated();
            let view = GroupView {
                shard: 0,
                members: group.voters(),
                changing: group.is_changing(),
                leader_node: status.leader.map(|(_, node)| node),
                leading: status.leading,
                abdicated: group.has_abdicated(),
                term: status.term,
                committed_index: status.committed_index,
                last_log: group.last_log(),
                caught_up: if status.leading {
                    group.matched().into_iter().map(|(replica, _)| replica).collect()
                } else {
                    Vec::new()
                },
            };
            let seen = links.liveness().borrow().clone();
            let nodes = watched.view(&seen, &voters, Instant::now());
            let action = driver.decide(began.elapsed(), &view, &nodes, random.random::<f64>());
            let now_ms = self.clock_ms.load(Ordering::Relaxed);
            if let Some(action) = action {
                let (node, leader, term) = (self.node_id(), view.leader_node, view.term);
                self.trace.note(
                    now_ms,
                    format_args!("n{node} decides {action:?}, seeing {leader:?} lead in term {term}"),
                );
            }
            match action {
                Some(Action::TakeOver) => group.take_over().await,
                Some(Action::Elect) => group.elect(true).await,
                Some(Action::TransferTo(replica)) => {
                    self.slot.borrow_mut().offered_ms.push(now_ms);
                    drop(group.transfer_to(replica).await);
                }
                None => {}
            }
            if random.random_range(0..50) == 0 {
                drop(group.snapshot_and_purge().await);
            }
        }
    }
}

struct LinkPeers(Links);

fn call_error(error: &PeerError) -> CallError {
    match error {
        PeerError::Closed | PeerError::Timeout => CallError::Lost,
        PeerError::Refused(reason) => CallError::Unavailable(reason.to_string()),
        PeerError::Unreachable | PeerError::TooLarge { .. } | PeerError::Busy => CallError::Unreachable,
    }
}

#[async_trait]
impl Peers for LinkPeers {
    async fn call(
        &self,
        node_id: u64,
        request: pb::GroupRequest,
        deadline: Duration,
    ) -> Result<pb::GroupResponse, CallError> {
        match self
            .0
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
        let never = std::future::pending();
        let idle = Duration::from_secs(10);
        let sent = self
            .0
            .send_snapshot(NodeId(node_id), start, Outflow(feed), idle, never)
            .await;
        sent.map_err(|error| call_error(&error))
    }
}

struct Outflow(Box<dyn SnapshotFeed>);

#[async_trait]
impl SnapshotParts for Outflow {
    async fn next(&mut self) -> std::io::Result<Option<pb::snapshot_part::Kind>> {
        self.0.next().await
    }
}

struct Inflow(SnapshotReceiver);

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

struct Inbound(Cell);

fn unavailable(reason: &str) -> pb::GroupResponse {
    pb::GroupResponse {
        kind: Some(pb::group_response::Kind::Unavailable(reason.to_owned())),
    }
}

#[async_trait]
impl PeerHandler for Inbound {
    async fn handle(&self, _from: NodeId, body: Body) -> Body {
        let group = self.0.read().upgrade();
        match (body, group) {
            (Body::Request(request), Some(group)) => Body::Response(group.handle(request).await),
            _ => Body::Response(unavailable("not here")),
        }
    }

    async fn snapshot(
        &self,
        _from: NodeId,
        start: pb::SnapshotStart,
        parts: SnapshotReceiver,
    ) -> pb::GroupResponse {
        let group = self.0.read().upgrade();
        match group {
            Some(group) => group.receive_snapshot(start, &mut Inflow(parts)).await,
            None => unavailable("not here"),
        }
    }
}
