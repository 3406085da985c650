//! One node: builds every component, starts and stops them in order. The only place that knows them all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use spine_cluster_config::Config;
use spine_consensus::group::{GroupIdentity, GroupTimings, RaftGroup};
use spine_consensus::net::Net;
use spine_proto::storage::v1::{ClusterPlan, PlanNode, PlanShard};
use spine_storage::checkpoint::CheckpointWorker;
use spine_storage::disk::Disk;
use spine_storage::engine::EngineFactory;
use spine_storage::replica::ReplicaStore;
use spine_storage::wal::{Driver as StorageDriver, Wal, WalOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{AdvancedClock, Clock};
use crate::cluster::bootstrap::{BootstrapError, Identity, node_id_in};
use crate::dispatch::call::Dispatcher;
use crate::dispatch::execute::Executor;
use crate::dispatch::forward::Forwarder;
use crate::driver::Driver;
use crate::entropy::Entropy;
use crate::gateway::edge::DispatcherSource;
use crate::housekeeping::Housekeeper;
use crate::peers::{Inbound, NodePeers};
use crate::shard::host::Host;
use crate::shard::map::ShardMap;
use crate::telemetry::metrics::Metrics;

/// A planned stop ends within this, whatever is in flight.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

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
    pub watch_driver: spine_consensus::transport::liveness::WatchDriver,
    /// Fixes the node's random choices.
    pub seed: u64,
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
    /// The data directory's small files.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
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
    fn open(what: impl Into<String>, error: impl ToString) -> Self {
        Self::Open { what: what.into(), error: error.to_string() }
    }
}

/// What exists once the node belongs to a cluster.
pub struct Running {
    /// The cluster's shape.
    pub plan: ClusterPlan,
    /// This node in it.
    pub node_id: u64,
    /// Routes calls.
    pub dispatcher: Arc<Dispatcher>,
    /// The shared log.
    pub wal: Wal,
    /// Writes checkpoints.
    pub checkpoints: CheckpointWorker,
}

/// The parts of a node that its services share.
pub struct Inner {
    /// Settings.
    pub config: Config,
    /// Edges.
    pub parts: Parts,
    /// Wall time, with what a test has added.
    pub clock: Arc<AdvancedClock>,
    /// Randomness.
    pub entropy: Arc<Entropy>,
    /// Replicas.
    pub host: Arc<Host>,
    /// Links to other nodes.
    pub peers: Arc<NodePeers>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// When the process started.
    pub started: Instant,
    /// Set while stopping.
    pub draining: AtomicBool,
    pub(crate) running: Mutex<Option<Arc<Running>>>,
    pub(crate) adopting: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl DispatcherSource for Inner {
    fn dispatcher(&self) -> Option<Arc<Dispatcher>> {
        self.running().map(|running| Arc::clone(&running.dispatcher))
    }
}

impl Inner {
    /// What exists once the node belongs to a cluster.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().clone()
    }

    /// The small files of the data directory.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::new(Arc::clone(&self.parts.disk), &self.config.node.data_dir)
    }

    /// How others reach this node.
    #[must_use]
    pub fn addresses(&self) -> PlanNode {
        PlanNode {
            node_id: self.running().map_or(0, |running| running.node_id),
            peer_address: self.config.listen.peer_advertised(),
            grpc_address: self.config.listen.grpc_advertised(),
            admin_address: self.config.listen.admin_advertised(),
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
        let _one_at_a_time = self.adopting.lock().await;
        if let Some(running) = self.running() {
            let same = running.plan.cluster_id == plan.cluster_id;
            return if same { Ok(()) } else { Err(BootstrapError::AnotherCluster.into()) };
        }
        let identity = self.identity();
        if let Some(known) = identity.identity()? {
            if known.cluster_id != plan.cluster_id {
                return Err(BootstrapError::AnotherCluster.into());
            }
            return self.open(&plan, known.node_id, &known.store_uuid, false).await;
        }
        let node_id = node_id_in(&plan, &self.config.listen.peer_advertised())?;
        // A plan without an identity was never finished: nothing has voted, so it begins anew.
        for leftover in ["wal", "replicas"] {
            let dir = self.dir(leftover);
            if self.parts.disk.exists(&dir).map_err(BootstrapError::Io)? {
                self.parts.disk.remove_dir_all(&dir).map_err(BootstrapError::Io)?;
            }
        }
        identity.store_plan(&plan)?;
        let store_uuid: [u8; 16] = self.entropy.bytes()[..16].try_into().unwrap_or_default();
        self.open(&plan, node_id, &store_uuid, true).await
    }

    /// Starts with what the data directory holds, if it holds anything.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn resume(self: &Arc<Self>) -> Result<bool, NodeError> {
        let identity = self.identity();
        let (Some(known), Some(plan)) = (identity.identity()?, identity.plan()?) else { return Ok(false) };
        if known.cluster_id != plan.cluster_id {
            return Err(BootstrapError::AnotherCluster.into());
        }
        let _one_at_a_time = self.adopting.lock().await;
        self.open(&plan, known.node_id, &known.store_uuid, false).await?;
        Ok(true)
    }

    async fn open(
        self: &Arc<Self>,
        plan: &ClusterPlan,
        node_id: u64,
        store_uuid: &[u8],
        create: bool,
    ) -> Result<(), NodeError> {
        let store_uuid: [u8; 16] =
            store_uuid.try_into().map_err(|_| NodeError::Bootstrap(BootstrapError::Format("identity")))?;
        let wal = self.open_wal(store_uuid).await?;
        let checkpoints = CheckpointWorker::start(self.parts.storage_driver);
        let mine: Vec<&PlanShard> =
            plan.shards.iter().filter(|shard| shard.members.iter().any(|m| m.node_id == node_id)).collect();
        let mut opened = Vec::with_capacity(mine.len());
        for shard in mine {
            opened.push(self.open_replica(shard, node_id, &wal, &checkpoints, create).await?);
        }
        if create {
            self.identity().store_identity(plan, node_id, store_uuid.to_vec().into())?;
        }
        self.peers.join(node_id, plan);
        for (identity, store) in opened {
            let shard = identity.shard;
            let log = wal.group(identity.replica_id);
            let timings = GroupTimings { log_entries_kept: self.config.raft.log_keep_entries, ..GroupTimings::default() };
            let peers = Arc::clone(&self.peers);
            let group = RaftGroup::open(identity, timings, log, store, peers)
                .await
                .map_err(|error| NodeError::open(format!("group of shard {shard}"), error))?;
            self.host.insert(group);
        }
        self.host.set_map(ShardMap::of(plan));
        self.start_running(plan, node_id, wal, checkpoints)
    }

    async fn open_wal(&self, store_uuid: [u8; 16]) -> Result<Wal, NodeError> {
        let options = WalOptions {
            segment_bytes: self.config.storage.segment_bytes,
            ..WalOptions::default()
        };
        Wal::open(
            Arc::clone(&self.parts.disk),
            &self.dir("wal"),
            store_uuid,
            options,
            self.parts.storage_driver,
        )
        .await
        .map_err(|error| NodeError::open("log", error))
    }

    async fn open_replica(
        &self,
        shard: &PlanShard,
        node_id: u64,
        wal: &Wal,
        checkpoints: &CheckpointWorker,
        create: bool,
    ) -> Result<(GroupIdentity, ReplicaStore), NodeError> {
        let what = || format!("replica of shard {}", shard.shard);
        let replica_id =
            shard.members.iter().find(|m| m.node_id == node_id).map(|m| m.replica_id).unwrap_or_default();
        let log = wal.group(replica_id);
        if create {
            log.create().await.map_err(|error| NodeError::open(what(), error))?;
        } else if !log.exists() {
            // An empty log under an old id could vote twice in one term.
            return Err(NodeError::open(what(), "its log is missing; the replica was lost and may not vote"));
        }
        let dir = self.dir("replicas").join(replica_id.to_string());
        let store = ReplicaStore::open(
            Arc::clone(&self.parts.disk),
            Arc::clone(&self.parts.engine),
            &dir,
            shard.shard,
            replica_id,
            checkpoints.clone(),
        )
        .map_err(|error| NodeError::open(what(), error))?;
        let identity = GroupIdentity {
            shard: shard.shard,
            replica_id,
            members: shard.members.iter().map(|m| (m.replica_id, m.node_id)).collect(),
        };
        Ok((identity, store))
    }

    fn start_running(
        self: &Arc<Self>,
        plan: &ClusterPlan,
        node_id: u64,
        wal: Wal,
        checkpoints: CheckpointWorker,
    ) -> Result<(), NodeError> {
        let subject_key: [u8; 16] = plan
            .subject_key
            .as_ref()
            .try_into()
            .map_err(|_| NodeError::Bootstrap(BootstrapError::Format("plan")))?;
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let executor = Executor {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&self.entropy),
            subject_key: spine_statemachine::key::SubjectKey::new(subject_key),
        };
        let dispatcher = Arc::new(Dispatcher::new(
            node_id,
            Arc::clone(&self.host),
            executor,
            Forwarder::new(Arc::clone(&self.peers)),
            Arc::clone(&self.entropy),
        ));
        let running = Running { plan: plan.clone(), node_id, dispatcher, wal, checkpoints };
        *self.running.lock() = Some(Arc::new(running));
        let driver = Driver::new(node_id, Arc::clone(&self.host), Arc::clone(&self.peers) as _, Arc::clone(&self.entropy));
        self.spawn(driver.run());
        self.spawn(Housekeeper::new(Arc::clone(&self.host), plan.clone(), clock).run());
        Ok(())
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
        self.draining.load(Ordering::Acquire)
    }
}
