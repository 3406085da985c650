//! What the links need to know, and whom they hand requests to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{GroupProgress, GroupResponse, SnapshotStart, Watch};
use spine_proto::storage::v1::StoreMark;

use super::limits;
use super::snapshot::SnapshotReceiver;
use super::wire::WireRange;

/// Sender of a bootstrap call, whose node may have no id yet.
pub const NO_NODE: NodeId = NodeId(0);

/// Addresses (`host:port`) of every known node. Our own entry is ignored.
pub type PeerAddresses = BTreeMap<NodeId, Vec<String>>;

/// Gives the progress of every local group; asked only while some node is suspected.
pub type ProgressSource = Arc<dyn Fn() -> Vec<GroupProgress> + Send + Sync>;

/// Gives the shards whose group this node leads; asked for every watch frame, so it must be quick.
pub type LeadingSource = Arc<dyn Fn() -> Vec<u32> + Send + Sync>;
/// Gives the highest level that this node knows to be in force.
pub type LevelSource = Arc<dyn Fn() -> u32 + Send + Sync>;
/// Our wall clock, milliseconds since 1970 UTC; 0 where we do not tell it.
pub type ClockSource = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What is known of data directories: one that goes back is an older copy of itself, and its node may not vote.
pub trait Stores: Send + Sync {
    /// Of this node; `None` where it does not tell.
    fn own(&self) -> Option<StoreMark>;
    /// How far this node's log is durable, for every watch frame.
    fn log_position(&self) -> u64;
    /// Whether a peer's directory is no older than was heard before. Quick: it is asked in every handshake.
    fn is_sound(&self, peer: NodeId, mark: &StoreMark) -> bool;
    /// A peer says that ours is older than it was.
    fn refused_by(&self, peer: NodeId);
    /// A peer took a connection of ours.
    fn accepted_by(&self, peer: NodeId);
    /// A peer is of a later incarnation of the cluster than this node: others went on without it.
    fn outlived(&self, peer: NodeId, incarnation: u32);
}

/// Tells nothing and believes everybody.
pub struct NoStores;

impl Stores for NoStores {
    fn own(&self) -> Option<StoreMark> {
        None
    }
    fn log_position(&self) -> u64 {
        0
    }
    fn is_sound(&self, _: NodeId, _: &StoreMark) -> bool {
        true
    }
    fn refused_by(&self, _: NodeId) {}
    fn accepted_by(&self, _: NodeId) {}
    fn outlived(&self, _: NodeId, _: u32) {}
}

/// Who this node is. Empty until the cluster is initialised, then set once.
#[derive(Default)]
pub struct IdentityCell(RwLock<Option<Identity>>);

/// A node of an initialised cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    /// 16 bytes.
    pub cluster_id: Bytes,
    /// Of the cluster; 0 where it is not known.
    pub incarnation: u32,
}

impl IdentityCell {
    /// The cell of a node that knows its cluster already.
    #[must_use]
    pub fn known(identity: Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Some(identity))))
    }

    /// From now on peers are dialled and accepted.
    pub fn set(&self, identity: Identity) {
        *self.0.write() = Some(identity);
    }

    /// `None` before the cluster is initialised.
    #[must_use]
    pub fn get(&self) -> Option<Identity> {
        self.0.read().clone()
    }

    pub(crate) fn node(&self) -> NodeId {
        self.0.read().as_ref().map_or(NO_NODE, |known| known.node)
    }
}

/// Where the watch lane runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchDriver {
    /// A thread and a runtime of its own, so that a busy node is still heard.
    Thread,
    /// Tasks of the current runtime, for the simulator.
    Task,
}

/// Times of the watch lane.
#[derive(Clone, Copy, Debug)]
pub struct WatchTiming {
    /// Between two frames.
    pub interval: Duration,
    /// A peer not heard for so long is silent.
    pub silence_limit: Duration,
}

impl Default for WatchTiming {
    fn default() -> Self {
        Self {
            interval: limits::WATCH_INTERVAL,
            silence_limit: limits::SILENCE_LIMIT,
        }
    }
}

/// Everything [`Links`](super::Links) is made with.
pub struct LinksConfig {
    pub identity: Arc<IdentityCell>,
    /// What we tell peers to dial, `host:port`.
    pub peer_address: String,
    /// For people.
    pub release: String,
    /// The protocols that this node speaks.
    pub wire: WireRange,
    /// Asked for every Hello.
    pub level: LevelSource,
    /// The first peers; more by `set_peers`.
    pub peers: PeerAddresses,
    pub timing: WatchTiming,
    pub driver: WatchDriver,
    pub progress: ProgressSource,
    pub leading: LeadingSource,
    /// Shards that no replica here can lead.
    pub unfit_shards: LeadingSource,
    pub clock: ClockSource,
    /// The newest cluster plan that this node follows; told in every watch frame.
    pub plan_epoch: Arc<AtomicU64>,
    /// Of our data directory and the peers'.
    pub stores: Arc<dyn Stores>,
    /// True while this node is stopping or cannot write.
    pub unfit: Arc<AtomicBool>,
    /// Jitter comes from here.
    pub seed: u64,
}

impl LinksConfig {
    /// A config with the usual times, no peers and no progress.
    #[must_use]
    pub fn new(identity: Arc<IdentityCell>, peer_address: String, seed: u64) -> Self {
        Self {
            identity,
            peer_address,
            release: env!("CARGO_PKG_VERSION").to_string(),
            wire: WireRange::RELEASE,
            level: Arc::new(|| 0),
            peers: PeerAddresses::new(),
            timing: WatchTiming::default(),
            driver: WatchDriver::Thread,
            progress: Arc::new(Vec::new),
            leading: Arc::new(Vec::new),
            unfit_shards: Arc::new(Vec::new),
            clock: Arc::new(|| 0),
            plan_epoch: Arc::default(),
            stores: Arc::new(NoStores),
            unfit: Arc::default(),
            seed,
        }
    }
}

/// Whoever answers the requests of peers.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// Answers one request: `Request`, `Execute`, `Bootstrap` or `Status`. Many run at once; an answer may come
    /// after the peer is gone. `from` is [`NO_NODE`] for a bootstrap call.
    async fn handle(&self, from: NodeId, body: Body) -> Body;

    /// Takes a snapshot part by part. Dropping `parts` stops the sender.
    async fn snapshot(&self, from: NodeId, start: SnapshotStart, parts: SnapshotReceiver) -> GroupResponse;

    /// Every watch frame, on the watch lane's thread: must be quick.
    fn on_watch(&self, from: NodeId, watch: &Watch) {
        let _ = (from, watch);
    }
}
