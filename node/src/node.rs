//! One node: what its parts share, how it becomes part of a cluster, and how it stops.

mod opening;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use spine_cluster_config::Config;
use spine_consensus::net::Net;
use spine_consensus::runtime::blocking;
use spine_mutants::mutant;
use spine_proto::admin::v1::ReplicaEnd;
use spine_proto::storage::v1::{ClusterPlan, PlanNode};
use spine_storage::disk::Disk;
use spine_storage::engine::EngineFactory;
use spine_storage::replica::CheckpointWorker;
use spine_storage::wal::{Driver as StorageDriver, Wal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{AdvancedClock, Clock};
use crate::clock_agreement::{LeaderTime, PeerClocks};
use crate::cluster::bootstrap::{BootstrapError, PlanFiles, node_id_in};
use crate::cluster::follow::PlanNews;
use crate::data_dir::{self, DataDirError};
use crate::dial_map::dialled_at;
use crate::dispatch::call::Dispatcher;
use crate::entropy::Entropy;
use crate::events::{Event, EventKind, Events};
use crate::fitness::Fitness;
use crate::gateway::edge::DispatcherSource;
use crate::peers::NodePeers;
use crate::repair::{Deliveries, History, Opener};
use crate::shard::host::Host;
use crate::telemetry::Metrics;
use crate::unfit::Reason;
use crate::version::Release;

/// The edges of a node: everything that a simulator replaces.
#[derive(Clone)]
pub struct Parts {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// State engines.
    pub engine: Arc<dyn EngineFactory>,
    /// Threads, or tasks in virtual time.
    pub storage_driver: StorageDriver,
    /// Whether the watch lane has a thread of its own.
    pub watch_driver: spine_consensus::transport::WatchDriver,
    /// Fixes the node's random choices.
    pub seed: u64,
    /// What the node runs as.
    pub release: Release,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An address cannot be listened on.
    #[error("listen on {address}: {error}")]
    Listen {
        /// Which one.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// The cluster plan.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log or a replica's state.
    #[error("open {what}: {error}")]
    Open {
        /// Which part.
        what: String,
        /// Why.
        error: String,
    },
}

impl NodeError {
    pub(crate) fn open(what: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Open {
            what: what.into(),
            error: error.to_string(),
        }
    }
}

/// What exists once the node belongs to a cluster.
pub struct Running {
    plan: ArcSwap<ClusterPlan>,
    /// This node in it.
    pub node_id: u64,
    /// What log time is here.
    pub time: LeaderTime,
    /// Routes calls.
    pub dispatcher: Arc<Dispatcher>,
    /// The shared log.
    pub wal: Wal,
    /// Writes checkpoints.
    pub checkpoints: CheckpointWorker,
    /// Opens and begins replicas.
    pub opener: Arc<Opener>,
}

impl Running {
    /// The cluster's shape, as far as this node has heard of it.
    #[must_use]
    pub fn plan(&self) -> Arc<ClusterPlan> {
        self.plan.load_full()
    }

    /// From now on this is the cluster's shape.
    pub(crate) fn set_plan(&self, plan: Arc<ClusterPlan>) {
        self.plan.store(plan);
    }
}

/// The parts of a node that its services share.
pub struct Inner {
    /// Settings.
    pub config: Config,
    /// Edges.
    pub parts: Parts,
    /// Wall time, with what a test has added.
    pub clock: Arc<AdvancedClock>,
    /// What the peers' clocks show.
    pub peer_clocks: Arc<PeerClocks>,
    /// Randomness.
    pub entropy: Arc<Entropy>,
    /// Replicas.
    pub host: Arc<Host>,
    /// Links to other nodes.
    pub peers: Arc<NodePeers>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether the disk lets this node lead and write.
    pub fitness: Fitness,
    /// Replicas that wait for their state from a peer.
    pub deliveries: Deliveries,
    /// How far this node's data directory has come, and the peers'.
    pub history: Arc<History>,
    /// Newer plans of the cluster, heard from others.
    pub plan_news: PlanNews,
    /// What happened here of late.
    pub events: Arc<Events>,
    /// When the process started.
    pub started: Instant,
    /// Another one after every start of the process.
    pub boot_id: u64,
    /// How far its replicas go, where they were closed for a new incarnation of the cluster.
    pub(crate) held: Mutex<Option<Vec<ReplicaEnd>>>,
    pub(crate) running: Mutex<Option<Arc<Running>>>,
    pub(crate) adopting: tokio::sync::Mutex<()>,
    /// One change of the plan at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Set when the process must end.
    pub(crate) fatal: tokio::sync::watch::Sender<Option<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl DispatcherSource for Inner {
    fn dispatcher(&self) -> Option<Arc<Dispatcher>> {
        self.running().map(|running| Arc::clone(&running.dispatcher))
    }
}

impl Inner {
    /// A node without data, servers or tasks yet.
    pub(crate) fn new(config: Config, parts: Parts) -> Arc<Self> {
        let entropy = Arc::new(Entropy::seeded(parts.seed));
        // Not the seed itself, and not drawn: what a node draws stays the same for one seed.
        let boot_id = blake3::hash(&parts.seed.to_le_bytes());
        let boot_id = boot_id
            .as_bytes()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes);
        let (fatal, _) = tokio::sync::watch::channel(None);
        let limits = config.limits.clone();
        let clock = Arc::new(AdvancedClock::new(Arc::clone(&parts.clock)));
        let history = Arc::<History>::default();
        Arc::new_cyclic(|node| {
            let peers = NodePeers::new(
                (node.clone(), Arc::clone(&history)),
                dialled_at(Arc::clone(&parts.net), config.development.dial_map()),
                &config,
                &parts.release,
                parts.watch_driver,
                Arc::clone(&clock) as _,
                entropy.number(),
            );
            Self {
                clock,
                peer_clocks: Arc::default(),
                config,
                parts,
                entropy,
                host: Arc::new(Host::new(limits)),
                peers: Arc::new(peers),
                metrics: Arc::new(Metrics::new()),
                fitness: Fitness::default(),
                deliveries: Deliveries::default(),
                history,
                plan_news: PlanNews::default(),
                changing: tokio::sync::Mutex::new(()),
                events: Arc::default(),
                started: Instant::now(),
                boot_id,
                held: Mutex::new(None),
                running: Mutex::new(None),
                adopting: tokio::sync::Mutex::new(()),
                fatal,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }
        })
    }

    /// Last part of a stop: tasks, groups, log.
    pub(crate) async fn shutdown(&self, until: Instant) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout_at(until, self.tasks.wait()).await;
        if let Err(error) = blocking(|| self.history.keep(true)) {
            tracing::warn!(%error, "keep what is known of the peers");
        }
        for shard in self.host.all() {
            let _ = tokio::time::timeout_at(until, shard.group.shutdown()).await;
        }
        if let Some(running) = self.running() {
            let _ = tokio::time::timeout_at(until, running.checkpoints.stop()).await;
            if let Ok(Err(error)) = tokio::time::timeout_at(until, running.wal.close()).await {
                // What the log has answered for is durable; that the rest is, too, nobody may believe.
                self.fatal.send_replace(Some(format!("close log: {error}")));
            }
        }
        self.peers.links().shutdown();
    }

    /// Whether the last part of a stop has begun.
    #[must_use]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// What exists once the node belongs to a cluster.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().clone()
    }

    /// The plan files of the data directory.
    #[must_use]
    pub fn plan_files(&self) -> PlanFiles {
        PlanFiles::new(Arc::clone(&self.parts.disk), &self.config.node.data_dir)
    }

    /// How others reach this node.
    #[must_use]
    pub fn addresses(&self) -> PlanNode {
        PlanNode {
            node_id: self.running().map_or(0, |running| running.node_id),
            peer_address: self.config.listen.advertised_peer().to_string(),
            grpc_address: self.config.listen.advertised_grpc().to_string(),
            admin_address: self.config.listen.advertised_admin().to_string(),
            zone: self.config.node.zone.clone(),
            ..PlanNode::default()
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.config.node.data_dir.join(name)
    }

    /// Makes this node part of a cluster: plan, log and state of every replica, identity; then starts them.
    /// The same plan again is harmless.
    ///
    /// # Errors
    /// [`NodeError`], and [`BootstrapError::AnotherCluster`] where this node has data already.
    pub async fn adopt(self: &Arc<Self>, plan: ClusterPlan) -> Result<(), NodeError> {
        self.adopt_plan(plan, None).await
    }

    /// [`Inner::adopt`] as the node of this id, where the cluster gave it one.
    ///
    /// # Errors
    /// As [`Inner::adopt`].
    pub async fn adopt_as(self: &Arc<Self>, plan: ClusterPlan, node_id: u64) -> Result<(), NodeError> {
        self.adopt_plan(plan, Some(node_id)).await
    }

    async fn adopt_plan(self: &Arc<Self>, plan: ClusterPlan, node_id: Option<u64>) -> Result<(), NodeError> {
        let _one_at_a_time = self.adopting.lock().await;
        if let Some(running) = self.running() {
            let same = running.plan().cluster_id == plan.cluster_id || mutant!("another-plan-accepted");
            return if same {
                Ok(())
            } else {
                Err(BootstrapError::AnotherCluster.into())
            };
        }
        let identity = self.identity()?;
        if identity.member.is_some() {
            return Err(BootstrapError::AnotherCluster.into());
        }
        let node_id = match node_id {
            Some(node_id) => node_id,
            None => node_id_in(&plan, self.config.listen.advertised_peer())?,
        };
        // A plan without membership was never finished: nothing has voted, so it begins anew.
        for leftover in ["wal", "replicas"] {
            let dir = self.dir(leftover);
            if self.parts.disk.exists(&dir).map_err(BootstrapError::Io)? {
                self.parts.disk.remove_dir_all(&dir).map_err(BootstrapError::Io)?;
            }
        }
        self.plan_files().store_plan(&plan)?;
        self.open(&plan, node_id, identity.store_uuid, true).await
    }

    /// Starts with what the data directory holds, if it holds anything.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn resume(self: &Arc<Self>) -> Result<bool, NodeError> {
        let identity = self.identity()?;
        let Some(member) = identity.member else {
            return Ok(false);
        };
        let plan = self.plan_files().plan()?.ok_or(BootstrapError::Format)?;
        if member.cluster_id != plan.cluster_id[..] {
            return Err(BootstrapError::AnotherCluster.into());
        }
        let _one_at_a_time = self.adopting.lock().await;
        self.open(&plan, member.node_id, identity.store_uuid, false)
            .await?;
        Ok(true)
    }

    /// Whose data the directory holds, as it was made.
    ///
    /// # Errors
    /// [`NodeError::DataDir`]
    pub fn own_identity(&self) -> Result<data_dir::Identity, NodeError> {
        let identity = data_dir::read(self.parts.disk.as_ref(), &self.config.node.data_dir)?;
        identity.ok_or_else(|| NodeError::open("the identity", "it is not there"))
    }

    fn identity(&self) -> Result<data_dir::Identity, NodeError> {
        let uuid = sixteen(&self.entropy.bytes());
        let engine = self.config.storage.engine.to_string();
        Ok(data_dir::open_within(
            self.parts.disk.as_ref(),
            &self.config.node.data_dir,
            &engine,
            uuid,
            self.parts.release.stored_format,
        )?)
    }

    /// Remembers what happened, for operators.
    pub fn note(&self, kind: EventKind, shard: Option<u32>) {
        self.events.note(Event {
            at_ms: self.clock.now_ms(),
            kind,
            reason: "",
            shard,
        });
    }

    /// A task that ends with the node.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Whether the node takes no new work.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.peers.unfit().has(Reason::Draining)
    }
}

/// Where callers reach each node.
pub(crate) fn grpc_addresses(plan: &ClusterPlan) -> BTreeMap<u64, String> {
    let address = |node: &PlanNode| (node.node_id, node.grpc_address.clone());
    plan.nodes.iter().map(address).collect()
}

/// The first 16 bytes; missing ones are zero.
fn sixteen(bytes: &[u8]) -> [u8; 16] {
    let mut sixteen = [0; 16];
    for (to, from) in sixteen.iter_mut().zip(bytes) {
        *to = *from;
    }
    sixteen
}
