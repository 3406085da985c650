//! Opening one replica: its state, then its group.

use std::path::PathBuf;
use std::sync::Arc;

use spine_consensus::begin::begin;
use spine_consensus::group::{GroupIdentity, GroupTimings, RaftGroup};
use spine_consensus::repair::has_gap;
use spine_consensus::replay::replay;
use spine_consensus::runtime::blocking;
use spine_mutants::mutant;
use spine_proto::storage::v1::PlanShard;
use spine_storage::disk::Disk;
use spine_storage::engine::EngineFactory;
use spine_storage::replica::{CheckpointWorker, ReplicaError, ReplicaOptions, ReplicaStore};
use spine_storage::wal::{GroupLog, Wal};

use super::history::History;
use crate::cluster::change::replica_on;
use crate::peers::NodePeers;

/// In the directory of a replica: its state is not to be opened, and goes with the directory.
const GIVEN_UP: &str = "GIVEN-UP";

/// Why a replica does not run, by what can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It may have lost votes: it takes part no more under this id.
    #[error("its log is missing; the replica was lost and may not vote")]
    LogLost,
    /// The same.
    #[error("its log is damaged, so it may not vote: {0}")]
    LogDamaged(String),
    /// The same.
    #[error("an older copy of the data directory was put back, so it may not vote")]
    OldCopy,
    /// A peer says so, and it is not known yet whether a majority does.
    #[error("a peer knows a newer state of the data directory, so it may not vote")]
    Doubted,
    /// Its files are not what was written. Deleted and built anew.
    #[error("its state is damaged: {0}")]
    StateDamaged(String),
    /// Its state ends before its log begins: a repair was cut short.
    #[error("its state is older than its log")]
    StateBehind,
    /// It belongs to another replica, or cannot be used by this program. Nothing is deleted.
    #[error("{0}")]
    Refused(String),
    /// Something that may pass.
    #[error("{0}")]
    Passing(String),
}

impl Fault {
    /// Whether trying again makes sense.
    #[must_use]
    pub fn can_be_repaired(&self) -> bool {
        match self {
            Self::StateDamaged(_) | Self::StateBehind | Self::Passing(_) => true,
            Self::LogLost | Self::LogDamaged(_) | Self::OldCopy | Self::Doubted | Self::Refused(_) => false,
        }
    }
}

impl Fault {
    /// Whether the replica is lost for good: the cluster gives the node another one.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::LogLost | Self::LogDamaged(_) | Self::OldCopy)
    }

    /// Whether the state is to be built anew.
    #[must_use]
    pub fn needs_new_state(&self) -> bool {
        matches!(self, Self::StateDamaged(_) | Self::StateBehind)
    }
}

impl From<ReplicaError> for Fault {
    fn from(error: ReplicaError) -> Self {
        match error {
            // With its log there, state that is not is as good as damaged.
            ReplicaError::Damaged(_) | ReplicaError::Missing => Self::StateDamaged(error.to_string()),
            ReplicaError::Foreign { .. }
            | ReplicaError::Exists
            | ReplicaError::Halted(_)
            | ReplicaError::Level(_) => Self::Refused(error.to_string()),
            ReplicaError::Io(_)
            | ReplicaError::Full
            | ReplicaError::DeltaFull { .. }
            | ReplicaError::OutOfOrder { .. }
            | ReplicaError::Busy
            | ReplicaError::PinLost
            | ReplicaError::BadSnapshot(_)
            | ReplicaError::Compacted { .. }
            | ReplicaError::Stopped => Self::Passing(error.to_string()),
        }
    }
}

/// What opening a replica needs of its node. What may take long (to delete state, to open an engine, to replay a log) is done
/// beside the runtime: this node would answer nobody meanwhile, not even a ping.
pub struct Opener {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) engine: Arc<dyn EngineFactory>,
    /// Directory of all replicas.
    pub(crate) dir: PathBuf,
    /// Of every replica; the owner is the store's.
    pub(crate) options: ReplicaOptions,
    pub(crate) timings: GroupTimings,
    pub(crate) node_id: u64,
    pub(crate) wal: Wal,
    pub(crate) checkpoints: CheckpointWorker,
    pub(crate) peers: Arc<NodePeers>,
    pub(crate) history: Arc<History>,
}

impl Opener {
    /// The replica of a shard that lives on this node.
    #[must_use]
    pub fn replica_id(&self, shard: &PlanShard) -> u64 {
        let mine = replica_on(shard, self.node_id);
        mine.map(|m| m.replica_id).unwrap_or_default()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self, shard: &PlanShard) -> GroupLog {
        self.wal.group(self.replica_id(shard))
    }

    fn dir_of(&self, shard: &PlanShard) -> PathBuf {
        self.dir.join(self.replica_id(shard).to_string())
    }

    fn options_of(&self, shard: &PlanShard) -> ReplicaOptions {
        let mut options = self.options.clone();
        options.owner.extend(self.replica_id(shard).to_be_bytes());
        options
    }

    /// Begins a replica: log and empty state.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn create(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        let created = self.log(shard).create().await;
        created.map_err(|error| Fault::Passing(error.to_string()))?;
        blocking(|| self.create_state(shard))
    }

    /// Begins a replica of a group that begins with it, too.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn create_first(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        let store = self.create(shard).await?;
        let begun = begin(&self.log(shard), &first_voters(shard)).await;
        begun.map_err(|error| Fault::Passing(error.to_string()))?;
        Ok(store)
    }

    /// Sees to it that a replica which is to join has log and state; an earlier try may have come half-way.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn create_new(&self, shard: &PlanShard) -> Result<(), Fault> {
        if self.log(shard).exists() {
            self.begin_anew(shard).map(drop)
        } else {
            let destroyed = blocking(|| ReplicaStore::destroy(self.disk.as_ref(), &self.dir_of(shard)));
            destroyed.map_err(|error| Fault::Passing(error.to_string()))?;
            self.create(shard).await.map(drop)
        }
    }

    /// The replicas whose state is here, by id.
    pub(super) fn states(&self) -> Vec<u64> {
        let names = self.disk.list(&self.dir).unwrap_or_default();
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Forgets a replica for good: its state, then its log. Nothing may have it open.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn forget(&self, replica_id: u64) -> std::io::Result<()> {
        let dir = self.dir.join(replica_id.to_string());
        blocking(|| ReplicaStore::destroy(self.disk.as_ref(), &dir))?;
        self.wal.group(replica_id).remove().await
    }

    fn create_state(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        let (disk, engine) = (Arc::clone(&self.disk), Arc::clone(&self.engine));
        let (dir, options) = (self.dir_of(shard), self.options_of(shard));
        Ok(ReplicaStore::create(disk, &dir, engine, options)?)
    }

    /// Opens the state as it is.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn open(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        let store = self.open_behind(shard)?;
        if has_gap(&self.log(shard), &store) {
            return Err(Fault::StateBehind);
        }
        Ok(store)
    }

    /// Opens the state, and brings it level with what the log has committed: the long part of a start.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn open_level(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        let (store, log) = (self.open(shard)?, self.log(shard));
        let replayed = blocking(|| replay(&log, &store, &self.checkpoints));
        replayed.map_err(|error| fault_of(&log, &store, error.to_string()))?;
        Ok(store)
    }

    /// Opens the state also where a snapshot is to fill the gap to the log.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn open_behind(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        let log = self.log(shard);
        if !log.exists() && !mutant!("lost-log-votes") {
            // An empty log under an old id could vote twice in one term.
            return Err(Fault::LogLost);
        }
        if self.history.is_condemned(self.replica_id(shard)) {
            return Err(Fault::OldCopy);
        }
        if let Some(damage) = log.damage() {
            return Err(Fault::LogDamaged(damage));
        }
        let (disk, engine) = (Arc::clone(&self.disk), Arc::clone(&self.engine));
        let (dir, options) = (self.dir_of(shard), self.options_of(shard));
        let given_up = disk.exists(&dir.join(GIVEN_UP));
        if given_up.map_err(|error| Fault::Passing(error.to_string()))? {
            return Err(Fault::StateDamaged(
                "its engine looped when it was opened".to_string(),
            ));
        }
        match blocking(|| ReplicaStore::open(disk, &dir, engine, options)) {
            // A write that went to the wrong place; what is of another store somebody has put there.
            Err(ReplicaError::Foreign { owner }) if owner.starts_with(&self.options.owner) => {
                let why = "it says that it is of another replica of this node";
                Err(Fault::StateDamaged(why.to_string()))
            }
            opened => Ok(opened?),
        }
    }

    /// The state is damaged in a way that shows only in an engine that never comes back: from now on it is not opened any
    /// more. Durable on return.
    ///
    /// # Errors
    /// What the disk says.
    pub fn give_up_state(&self, shard: &PlanShard) -> std::io::Result<()> {
        tracing::error!(
            shard = shard.shard,
            "an engine loops: the state of its replica is given up"
        );
        self.disk.write_atomic(&self.dir_of(shard).join(GIVEN_UP), b"")
    }

    /// Deletes the state and begins an empty one. Nothing may have it open.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn begin_anew(&self, shard: &PlanShard) -> Result<ReplicaStore, Fault> {
        blocking(|| {
            let destroyed = ReplicaStore::destroy(self.disk.as_ref(), &self.dir_of(shard));
            destroyed.map_err(|error| Fault::Passing(format!("delete damaged state: {error}")))?;
            self.create_state(shard)
        })
    }

    /// Starts the group: replays the log, and takes part from then on.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn start(&self, shard: &PlanShard, store: ReplicaStore) -> Result<Arc<RaftGroup>, Fault> {
        let identity = GroupIdentity {
            shard: shard.shard,
            replica_id: self.replica_id(shard),
            first_voters: first_voters(shard),
        };
        let log = self.log(shard);
        let peers = Arc::clone(&self.peers) as _;
        let checkpoints = self.checkpoints.clone();
        let started = RaftGroup::open(identity, self.timings, log, store.clone(), checkpoints, peers).await;
        started.map_err(|error| fault_of(&self.log(shard), &store, error.to_string()))
    }
}

/// (replica id, node id).
fn first_voters(shard: &PlanShard) -> Vec<(u64, u64)> {
    shard
        .members
        .iter()
        .map(|member| (member.replica_id, member.node_id))
        .collect()
}

/// Why a group stopped or did not start, by what its parts say.
pub(super) fn fault_of(log: &GroupLog, store: &ReplicaStore, reason: String) -> Fault {
    let status = store.status();
    match (log.damage(), status.halted) {
        (Some(damage), _) => Fault::LogDamaged(damage),
        (None, Some(why)) if status.damaged => Fault::StateDamaged(why),
        (None, Some(why)) => Fault::Refused(why),
        (None, None) => Fault::Passing(reason),
    }
}
