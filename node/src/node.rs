//! One node: builds every component, starts and stops them in order. The only place that knows them all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use spine_cluster_config::Config;
use spine_consensus::group::GroupTimings;
use spine_consensus::net::Net;
use spine_mutants::mutant;
use spine_proto::admin::v1::ReplicaEnd;
use spine_proto::storage::v1::{ClusterPlan, PlanNode, PlanShard};
use spine_statemachine::key::SubjectKey;
use spine_storage::disk::Disk;
use spine_storage::engine::EngineFactory;
use spine_storage::gently_watched;
use spine_storage::replica::{CheckpointWorker, ReplicaError, ReplicaOptions, ReplicaStore, WorkerOptions};
use spine_storage::wal::{Driver as StorageDriver, Wal, WalError, WalOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backlog::Backlog;
use crate::clock::{AdvancedClock, Clock};
use crate::clock_agreement::{LeaderTime, PeerClocks};
use crate::clock_guard;
use crate::cluster::bootstrap::{BootstrapError, PlanFiles, node_id_in};
use crate::cluster::change::replica_on;
use crate::cluster::follow::{self, PlanNews};
use crate::cluster::join;
use crate::cluster::mover::Mover;
use crate::cluster::recover;
use crate::cluster::survivors;
use crate::data_dir::{self, DataDirError, Membership};
use crate::dial_map::dialled_at;
use crate::disk_guard::DiskGuard;
use crate::dispatch::call::Dispatcher;
use crate::dispatch::execute::Executor;
use crate::dispatch::forward::Forwarder;
use crate::driver::Driver;
use crate::engine_guard;
use crate::entropy::Entropy;
use crate::events::{Event, EventKind, Events};
use crate::fitness::Fitness;
use crate::gateway::edge::DispatcherSource;
use crate::housekeeping::Housekeeper;
use crate::leader_log::LeaderLog;
use crate::no_programs;
use crate::peers::NodePeers;
use crate::repair::{Deliveries, Fault, History, Opener, Referee, Supervisor, log_file, scrub};
use crate::shard::host::{Absent, Host};
use crate::shard::map::ShardMap;
use crate::telemetry::Metrics;
use crate::unfit::Reason;
use crate::version::Release;

/// Longest rest between the starts of two replicas.
const START_REST_MAX: Duration = Duration::from_millis(50);
/// Longest start of one replica: its state is open already, its log is read and what is not in the state applied.
const REPLICA_START_TIME: Duration = Duration::from_secs(20);
/// However many replicas share the node's memory, each keeps this much of its changes for watches, bytes.
const REPLICA_FEED_BYTES_MIN: usize = 256 * 1024;
/// However many replicas share the node's memory, each has this much for its changes, bytes.
const REPLICA_DELTA_BYTES_MIN: usize = 256 * 1024;

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
        if let Err(error) = self.history.keep(true) {
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

    async fn open(
        self: &Arc<Self>,
        plan: &ClusterPlan,
        node_id: u64,
        store_uuid: [u8; 16],
        create: bool,
    ) -> Result<(), NodeError> {
        let (wal, is_new) = self.open_wal(store_uuid).await?;
        let dir = &self.config.node.data_dir;
        let begun = self
            .history
            .begin(&self.parts.disk, dir, self.boot_id, (&wal, is_new));
        begun.map_err(|error| NodeError::open("the history of the data directory", error))?;
        let checkpoints = self.checkpoint_worker()?;
        let here = |shard: &&PlanShard| replica_on(shard, node_id).is_some();
        let options = self.replica_options(plan.shards.iter().filter(here).count());
        let opener = Arc::new(Opener {
            disk: Arc::clone(&self.parts.disk),
            engine: Arc::clone(&self.parts.engine),
            dir: self.dir("replicas"),
            options: ReplicaOptions {
                owner: store_uuid.to_vec(),
                ..options
            },
            timings: GroupTimings {
                leader_lease: self.config.raft.leader_lease(),
                log_entries_kept: self.config.raft.log_keep_entries,
            },
            node_id,
            wal: wal.clone(),
            checkpoints: checkpoints.clone(),
            peers: Arc::clone(&self.peers),
            history: Arc::clone(&self.history),
        });
        let recovered = self.recovered(&opener, plan).await?;
        let plan = recovered.as_ref().unwrap_or(plan);
        let closed = self
            .stays_closed(plan)
            .map_err(|error| NodeError::open("a hold", error))?;
        let mine: Vec<&PlanShard> = plan.shards.iter().filter(here).collect();
        let mut opened = Vec::with_capacity(mine.len());
        for shard in mine {
            if let Some(why) = &closed {
                let absent = survivors::closed(opener.replica_id(shard), why);
                self.host.remove(shard.shard, absent);
                continue;
            }
            let state = if create {
                opener.create_first(shard).await
            } else {
                // One after the other, each with syncs of its own.
                self.open_gently(&opener, shard)?
            };
            match state {
                Ok(store) => opened.push((shard, store)),
                Err(fault) if create => return Err(NodeError::open(replica_of(shard), fault)),
                Err(fault) => self.does_not_run(&opener, shard, &fault),
            }
        }
        if create {
            let member = Membership {
                cluster_id: sixteen(&plan.cluster_id),
                node_id,
            };
            data_dir::join(self.parts.disk.as_ref(), &self.config.node.data_dir, member)?;
        }
        self.peers.join(node_id, plan);
        for (shard, store) in opened {
            let began = Instant::now();
            // A replica that hangs must not keep the others from serving; the supervisor goes on with it.
            let started = tokio::time::timeout(REPLICA_START_TIME, opener.start(shard, store)).await;
            let late = || Err(Fault::Passing("it did not start in time".to_string()));
            match started.unwrap_or_else(|_| late()) {
                Ok(group) => self.host.insert(group),
                Err(fault) if create => return Err(NodeError::open(replica_of(shard), fault)),
                Err(fault) => self.does_not_run(&opener, shard, &fault),
            }
            if !create {
                // Other nodes, perhaps on this machine, serve meanwhile.
                tokio::time::sleep(began.elapsed().min(START_REST_MAX)).await;
            }
        }
        self.host.set_map(ShardMap::of(plan));
        self.start_running(plan, node_id, wal, checkpoints, Arc::clone(&opener))?;
        self.peers.unfit().set(Reason::Starting, false);
        self.spawn(Supervisor::new(Arc::clone(self), opener).run());
        self.spawn(Referee::new(Arc::clone(self)).run());
        if let Some(every) = self.config.storage.scrub_every() {
            self.spawn(scrub::run(Arc::clone(self), every));
        }
        self.spawn(follow::run(Arc::clone(self)));
        self.spawn(Mover::new(Arc::clone(self)).run());
        self.spawn(join::tell_addresses(Arc::clone(self)));
        Ok(())
    }

    fn checkpoint_worker(&self) -> Result<CheckpointWorker, NodeError> {
        let fatal = self.fatal.clone();
        let on_failure: spine_storage::replica::OnFailure = Arc::new(move |store, error| {
            if matches!(error, ReplicaError::Full) {
                tracing::warn!(%error, "put a checkpoint off");
                return;
            }
            tracing::error!(%error, "write checkpoint");
            // A replica that halted says so in its status; others go on. After a failed write or sync nobody knows
            // what the disk holds: the process ends, and the log replays it after a restart.
            if let ReplicaError::Damaged(why) = error {
                store.halt_as_damaged(why);
            }
            if matches!(error, ReplicaError::Io(_)) {
                fatal.send_replace(Some(format!("checkpoint: {error}")));
            }
        });
        CheckpointWorker::start(self.parts.storage_driver, WorkerOptions { on_failure })
            .map_err(|error| NodeError::open("checkpoint worker", error))
    }

    /// The plan of a new incarnation, where one was ordered: everything is made anew for it first.
    async fn recovered(&self, opener: &Opener, plan: &ClusterPlan) -> Result<Option<ClusterPlan>, NodeError> {
        let (disk, dir) = (self.parts.disk.as_ref(), &self.config.node.data_dir);
        let order = recover::ordered(disk, dir).map_err(|error| NodeError::open("a recovery", error))?;
        let Some(after) = order else { return Ok(None) };
        if after.incarnation > plan.incarnation {
            recover::carry_out(opener, plan, &after).await?;
            self.plan_files().store_plan(&after)?;
            self.note(EventKind::IncarnationBegun, None);
        }
        recover::remove_order(disk, dir).map_err(|error| NodeError::open("a recovery", error))?;
        Ok((after.incarnation > plan.incarnation).then_some(after))
    }

    /// On a thread of its own. An engine that loops there keeps the whole node from starting, now and after any restart: its
    /// state is given up, and the process begins anew.
    fn open_gently(
        &self,
        opener: &Opener,
        shard: &PlanShard,
    ) -> Result<Result<ReplicaStore, Fault>, NodeError> {
        let open = || opener.open_level(shard);
        let opened = gently_watched(self.parts.storage_driver, open, || {
            if let Err(error) = opener.give_up_state(shard) {
                tracing::error!(%error, "mark the state of an engine that loops");
            }
            no_programs::begin_anew()
        });
        opened.map_err(|error| NodeError::open("a thread", error))
    }

    /// The log, and whether it was begun anew.
    async fn open_wal(&self, store_uuid: [u8; 16]) -> Result<(Wal, bool), NodeError> {
        let options = WalOptions {
            segment_bytes: self.config.storage.segment_bytes,
            cache_bytes: self.config.storage.log_cache_bytes,
            ..WalOptions::default()
        };
        let (disk, dir, driver) = (&self.parts.disk, self.dir("wal"), self.parts.storage_driver);
        let mut is_new = !disk.exists(&dir).map_err(BootstrapError::Io)?;
        let mut opened = Wal::open(Arc::clone(disk), &dir, store_uuid, options, driver).await;
        if let Err(WalError::Damaged(damage)) = &opened {
            tracing::error!(%damage, "the log is damaged; it is set aside, and none of its replicas votes any more");
            self.note(EventKind::LogReplaced, None);
            let set_aside = log_file::set_aside(disk.as_ref(), &dir);
            set_aside.map_err(|error| NodeError::open("damaged log", error))?;
            is_new = true;
            opened = Wal::open(Arc::clone(disk), &dir, store_uuid, options, driver).await;
        }
        let wal = opened.map_err(|error| NodeError::open("log", error))?;
        Ok((wal, is_new))
    }

    /// One replica keeps neither the node nor the others from running.
    fn does_not_run(&self, opener: &Opener, shard: &PlanShard, fault: &Fault) {
        tracing::error!(shard = shard.shard, %fault, "replica does not run");
        let absent = Absent {
            replica_id: opener.replica_id(shard),
            reason: fault.to_string(),
            repairing: false,
        };
        self.host.remove(shard.shard, absent);
        self.note(EventKind::ReplicaStopped, Some(shard.shard));
    }

    fn start_running(
        self: &Arc<Self>,
        plan: &ClusterPlan,
        node_id: u64,
        wal: Wal,
        checkpoints: CheckpointWorker,
        opener: Arc<Opener>,
    ) -> Result<(), NodeError> {
        let subject_key: [u8; 16] = plan
            .subject_key
            .as_ref()
            .try_into()
            .map_err(|_| NodeError::Bootstrap(BootstrapError::Format))?;
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let time = LeaderTime::new(
            Arc::clone(&self.clock),
            Arc::clone(&self.peer_clocks),
            plan.nodes.len(),
        );
        let subject_key = SubjectKey::new(subject_key);
        let executor = Executor {
            clock,
            time: time.clone(),
            entropy: Arc::clone(&self.entropy),
            fitness: self.fitness.clone(),
            subject_key: subject_key.clone(),
        };
        let dispatcher = Arc::new(Dispatcher::new(
            node_id,
            Arc::clone(&self.host),
            executor,
            Forwarder::new(Arc::clone(&self.peers)),
            Arc::clone(&self.entropy),
            grpc_addresses(plan),
        ));
        let running = Running {
            plan: ArcSwap::from_pointee(plan.clone()),
            node_id,
            time: time.clone(),
            dispatcher,
            wal,
            checkpoints,
            opener,
        };
        *self.running.lock() = Some(Arc::new(running));
        let driver = Driver::new(
            node_id,
            Arc::clone(&self.host),
            Arc::clone(&self.peers) as _,
            Arc::clone(&self.entropy),
            self.fitness.clone(),
            LeaderLog::new(
                Arc::clone(&self.events),
                Arc::clone(&self.metrics),
                Arc::clone(&self.clock) as _,
            ),
            self.started,
        );
        self.spawn(driver.run());
        let housekeeper = Housekeeper::new(
            Arc::clone(&self.host),
            plan.clone(),
            time.clone(),
            self.started,
            &self.config.raft,
        );
        self.spawn(housekeeper.run());
        let backlog = Backlog::new(
            Arc::clone(&self.host),
            time.clone(),
            self.fitness.clone(),
            subject_key,
            self.started,
        );
        self.spawn(backlog.run());
        self.spawn(clock_guard::run(Arc::clone(self), time));
        self.watch_log();
        if let Some(running) = self.running() {
            self.spawn(DiskGuard::new(Arc::clone(self), running.wal.clone()).run());
            self.spawn(engine_guard::run(Arc::clone(self)));
        }
        Ok(())
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

    /// A log that cannot be written ends the process: what is on the disk is no longer known.
    fn watch_log(self: &Arc<Self>) {
        let Some(running) = self.running() else { return };
        let fatal = self.fatal.clone();
        self.spawn(async move {
            let reason = running.wal.fatal().await;
            fatal.send_replace(Some(format!("log: {reason}")));
        });
    }

    /// Each replica's share of the memory that the node may use for changes.
    fn replica_options(&self, replicas: usize) -> ReplicaOptions {
        let all = usize::try_from(self.config.storage.checkpoint_bytes).unwrap_or(usize::MAX);
        let feeds = usize::try_from(self.config.storage.feed_bytes).unwrap_or(usize::MAX);
        let share = (all / replicas.max(1)).max(REPLICA_DELTA_BYTES_MIN);
        ReplicaOptions {
            delta_checkpoint_bytes: share,
            delta_bytes_max: share.saturating_mul(4),
            feed_bytes_max: (feeds / replicas.max(1)).max(REPLICA_FEED_BYTES_MIN),
            levels: self.parts.release.levels,
            ..ReplicaOptions::default()
        }
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

fn replica_of(shard: &PlanShard) -> String {
    format!("replica of shard {}", shard.shard)
}

/// The first 16 bytes; missing ones are zero.
fn sixteen(bytes: &[u8]) -> [u8; 16] {
    let mut sixteen = [0; 16];
    for (to, from) in sixteen.iter_mut().zip(bytes) {
        *to = *from;
    }
    sixteen
}
