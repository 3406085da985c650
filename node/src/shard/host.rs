//! The replicas that this node hosts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use spine_cluster_config::Limits;
use spine_consensus::group::RaftGroup;
use spine_statemachine::key;
use spine_statemachine::store::OrderedRead as _;
use tokio::sync::Semaphore;

use super::barriers::Barriers;
use super::latch::Latches;
use super::map::ShardMap;
use super::proposals::Proposals;
use crate::pace::Pace;

/// A hosted replica with what its leader needs.
pub struct Shard {
    /// The Raft group.
    pub group: Arc<RaftGroup>,
    /// One proposal at a time for one routing key.
    pub latches: Latches,
    /// Proposals that may still begin.
    pub room: Arc<Semaphore>,
    /// Changes that wait for their entry.
    pub proposals: Proposals,
    /// Reads that wait for their barrier.
    pub barriers: Barriers,
    /// How far log time has come, where this replica leads.
    pub pace: Mutex<Pace>,
    /// It was seen with its first rows.
    begun: AtomicBool,
}

impl Shard {
    /// Whether it knows its slots, and so is at its first level. Before that nothing is planned: it would be by rules that
    /// are no longer in force a moment later.
    pub fn has_begun(&self) -> bool {
        if self.begun.load(Ordering::Relaxed) {
            return true;
        }
        let slots = key::slots_owned();
        let there = self
            .group
            .store()
            .read(|view| view.get(&slots).is_ok_and(|row| row.is_some()));
        // Who plans on a store that cannot be read says so.
        let begun = there.unwrap_or(true);
        self.begun.fetch_or(begun, Ordering::Relaxed);
        begun
    }
}

/// A replica that this node should host and that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its id.
    pub replica_id: u64,
    /// Why it does not run.
    pub reason: String,
    /// Whether its state is being built anew.
    pub repairing: bool,
}

/// All hosted replicas and the map of the rest.
pub struct Host {
    limits: Limits,
    shards: RwLock<BTreeMap<u32, Arc<Shard>>>,
    absent: RwLock<BTreeMap<u32, Absent>>,
    map: RwLock<Option<Arc<ShardMap>>>,
}

impl Host {
    /// Hosts nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            shards: RwLock::default(),
            absent: RwLock::default(),
            map: RwLock::default(),
        }
    }

    /// Adds a replica that was opened.
    pub fn insert(&self, group: Arc<RaftGroup>) {
        let shard = group.identity().shard;
        let latches = Latches::new(count(self.limits.key_waiters_max));
        let room = Arc::new(Semaphore::new(count(self.limits.proposals_max)));
        self.absent.write().remove(&shard);
        self.shards.write().insert(
            shard,
            Arc::new(Shard {
                group,
                latches,
                room,
                proposals: Proposals::default(),
                barriers: Barriers::default(),
                pace: Mutex::default(),
                begun: AtomicBool::new(false),
            }),
        );
    }

    /// Takes a replica out of service.
    pub fn remove(&self, shard: u32, absent: Absent) -> Option<Arc<Shard>> {
        self.absent.write().insert(shard, absent);
        self.shards.write().remove(&shard)
    }

    /// No replica of this shard is to be here.
    pub fn withdraw(&self, shard: u32) {
        self.absent.write().remove(&shard);
        self.shards.write().remove(&shard);
    }

    /// The replicas that should run and do not, by shard.
    #[must_use]
    pub fn absent(&self) -> BTreeMap<u32, Absent> {
        self.absent.read().clone()
    }

    /// Their shards.
    #[must_use]
    pub fn absent_shards(&self) -> Vec<u32> {
        self.absent.read().keys().copied().collect()
    }

    /// Publishes the shard map.
    pub fn set_map(&self, map: ShardMap) {
        *self.map.write() = Some(Arc::new(map));
    }

    /// The shard map; `None` before the cluster is initialised.
    #[must_use]
    pub fn map(&self) -> Option<Arc<ShardMap>> {
        self.map.read().clone()
    }

    /// One hosted replica.
    #[must_use]
    pub fn shard(&self, shard: u32) -> Option<Arc<Shard>> {
        self.shards.read().get(&shard).cloned()
    }

    /// All hosted replicas in shard order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Shard>> {
        self.shards.read().values().cloned().collect()
    }
}

/// A limit as a number of permits.
#[must_use]
pub fn count(limit: u64) -> usize {
    usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .min(Semaphore::MAX_PERMITS)
}
