//! From a plan and what the data directory holds to a node that serves: its log, its replicas, its tasks.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use spine_consensus::group::GroupTimings;
use spine_proto::storage::v1::{ClusterPlan, PlanShard};
use spine_statemachine::key::SubjectKey;
use spine_storage::gently_watched;
use spine_storage::replica::{
    CheckpointWorker, OnFailure, ReplicaError, ReplicaOptions, ReplicaStore, WorkerOptions,
};
use spine_storage::wal::{Wal, WalError, WalOptions};
use tokio::time::Instant;

use super::{Inner, NodeError, Running, grpc_addresses, sixteen};
use crate::backlog::Backlog;
use crate::clock::Clock;
use crate::clock_agreement::LeaderTime;
use crate::clock_guard;
use crate::cluster::bootstrap::BootstrapError;
use crate::cluster::change::replica_on;
use crate::cluster::mover::Mover;
use crate::cluster::{follow, join, recover, survivors};
use crate::data_dir::{self, Membership};
use crate::disk_guard::DiskGuard;
use crate::dispatch::call::Dispatcher;
use crate::dispatch::execute::Executor;
use crate::dispatch::forward::Forwarder;
use crate::driver::Driver;
use crate::engine_guard;
use crate::events::EventKind;
use crate::housekeeping::Housekeeper;
use crate::leader_log::LeaderLog;
use crate::no_programs;
use crate::repair::{Fault, Opener, Referee, Supervisor, log_file, scrub};
use crate::shard::host::Absent;
use crate::shard::map::ShardMap;
use crate::unfit::Reason;

/// Longest rest between the starts of two replicas.
const START_REST_MAX: Duration = Duration::from_millis(50);
/// Longest start of one replica: its state is open already, its log is read and what is not in the state applied.
const REPLICA_START_TIME: Duration = Duration::from_secs(20);
/// However many replicas share the node's memory, each keeps this much of its changes for watches, bytes.
const REPLICA_FEED_BYTES_MIN: usize = 256 * 1024;
/// However many replicas share the node's memory, each has this much for its changes, bytes.
const REPLICA_DELTA_BYTES_MIN: usize = 256 * 1024;

/// Replicas whose state is open, and whose groups do not run yet.
type Opened<'a> = Vec<(&'a PlanShard, ReplicaStore)>;

impl Inner {
    /// Opens the log and every replica that `plan` places on this node, or makes them where `create`, and starts all
    /// that runs as long as the node does.
    pub(super) async fn open(
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
        let opener = Arc::new(self.opener(plan, node_id, store_uuid, wal)?);
        let recovered = self.recovered(&opener, plan).await?;
        let plan = recovered.as_ref().unwrap_or(plan);
        let opened = self.open_states(&opener, plan, create).await?;
        if create {
            let member = Membership {
                cluster_id: sixteen(&plan.cluster_id),
                node_id,
            };
            data_dir::join(self.parts.disk.as_ref(), &self.config.node.data_dir, member)?;
        }
        self.peers.join(node_id, plan);
        self.start_replicas(&opener, opened, create).await?;
        self.host.set_map(ShardMap::of(plan));
        self.start_running(plan, &opener)?;
        self.peers.unfit().set(Reason::Starting, false);
        self.start_tending(opener);
        Ok(())
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

    fn opener(
        &self,
        plan: &ClusterPlan,
        node_id: u64,
        store_uuid: [u8; 16],
        wal: Wal,
    ) -> Result<Opener, NodeError> {
        let here = |shard: &&PlanShard| replica_on(shard, node_id).is_some();
        let options = self.replica_options(plan.shards.iter().filter(here).count());
        Ok(Opener {
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
            wal,
            checkpoints: self.checkpoint_worker()?,
            peers: Arc::clone(&self.peers),
            history: Arc::clone(&self.history),
        })
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

    fn checkpoint_worker(&self) -> Result<CheckpointWorker, NodeError> {
        let fatal = self.fatal.clone();
        let on_failure: OnFailure = Arc::new(move |store, error| {
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

    /// One replica after the other, each with syncs of its own. One that does not open keeps no other from running,
    /// unless all of them are being made.
    async fn open_states<'a>(
        &self,
        opener: &Opener,
        plan: &'a ClusterPlan,
        create: bool,
    ) -> Result<Opened<'a>, NodeError> {
        let closed = self
            .stays_closed(plan)
            .map_err(|error| NodeError::open("a hold", error))?;
        let here = |shard: &&PlanShard| replica_on(shard, opener.node_id).is_some();
        let mut opened = Vec::new();
        for shard in plan.shards.iter().filter(here) {
            if let Some(why) = &closed {
                let absent = survivors::closed(opener.replica_id(shard), why);
                self.host.remove(shard.shard, absent);
                continue;
            }
            let state = if create {
                opener.create_first(shard).await
            } else {
                self.open_gently(opener, shard)?
            };
            match state {
                Ok(store) => opened.push((shard, store)),
                Err(fault) if create => return Err(NodeError::open(replica_of(shard), fault)),
                Err(fault) => self.does_not_run(opener, shard, &fault),
            }
        }
        Ok(opened)
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

    /// Starts the group of each replica, which replays its log.
    async fn start_replicas(
        &self,
        opener: &Opener,
        opened: Opened<'_>,
        create: bool,
    ) -> Result<(), NodeError> {
        for (shard, store) in opened {
            let began = Instant::now();
            // A replica that hangs must not keep the others from serving; the supervisor goes on with it.
            let started = tokio::time::timeout(REPLICA_START_TIME, opener.start(shard, store)).await;
            let late = || Err(Fault::Passing("it did not start in time".to_string()));
            match started.unwrap_or_else(|_| late()) {
                Ok(group) => self.host.insert(group),
                Err(fault) if create => return Err(NodeError::open(replica_of(shard), fault)),
                Err(fault) => self.does_not_run(opener, shard, &fault),
            }
            if !create {
                // Other nodes, perhaps on this machine, serve meanwhile.
                tokio::time::sleep(began.elapsed().min(START_REST_MAX)).await;
            }
        }
        Ok(())
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

    /// From here on calls are served: who routes them, and who watches over time, disks and leaders.
    fn start_running(self: &Arc<Self>, plan: &ClusterPlan, opener: &Arc<Opener>) -> Result<(), NodeError> {
        let subject_key: [u8; 16] = plan
            .subject_key
            .as_ref()
            .try_into()
            .map_err(|_| NodeError::Bootstrap(BootstrapError::Format))?;
        let subject_key = SubjectKey::new(subject_key);
        let time = LeaderTime::new(
            Arc::clone(&self.clock),
            Arc::clone(&self.peer_clocks),
            plan.nodes.len(),
        );
        let executor = Executor {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            time: time.clone(),
            entropy: Arc::clone(&self.entropy),
            fitness: self.fitness.clone(),
            subject_key: subject_key.clone(),
        };
        let dispatcher = Arc::new(Dispatcher::new(
            opener.node_id,
            Arc::clone(&self.host),
            executor,
            Forwarder::new(Arc::clone(&self.peers)),
            Arc::clone(&self.entropy),
            grpc_addresses(plan),
        ));
        let running = Running {
            plan: ArcSwap::from_pointee(plan.clone()),
            node_id: opener.node_id,
            time: time.clone(),
            dispatcher,
            wal: opener.wal.clone(),
            checkpoints: opener.checkpoints.clone(),
            opener: Arc::clone(opener),
        };
        *self.running.lock() = Some(Arc::new(running));
        self.start_driver(opener.node_id);
        self.start_housekeeping(plan, &time, subject_key);
        self.spawn(clock_guard::run(Arc::clone(self), time));
        self.watch_log(opener.wal.clone());
        self.spawn(DiskGuard::new(Arc::clone(self), opener.wal.clone()).run());
        self.spawn(engine_guard::run(Arc::clone(self)));
        Ok(())
    }

    fn start_driver(&self, node_id: u64) {
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
    }

    fn start_housekeeping(&self, plan: &ClusterPlan, time: &LeaderTime, subject_key: SubjectKey) {
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
    }

    /// A log that cannot be written ends the process: what is on the disk is no longer known.
    fn watch_log(&self, wal: Wal) {
        let fatal = self.fatal.clone();
        self.spawn(async move {
            let reason = wal.fatal().await;
            fatal.send_replace(Some(format!("log: {reason}")));
        });
    }

    /// Who repairs, compares and moves replicas, and follows the cluster's plan.
    fn start_tending(self: &Arc<Self>, opener: Arc<Opener>) {
        self.spawn(Supervisor::new(Arc::clone(self), opener).run());
        self.spawn(Referee::new(Arc::clone(self)).run());
        if let Some(every) = self.config.storage.scrub_every() {
            self.spawn(scrub::run(Arc::clone(self), every));
        }
        self.spawn(follow::run(Arc::clone(self)));
        self.spawn(Mover::new(Arc::clone(self)).run());
        self.spawn(join::tell_addresses(Arc::clone(self)));
    }
}

fn replica_of(shard: &PlanShard) -> String {
    format!("replica of shard {}", shard.shard)
}
