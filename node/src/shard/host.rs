//! The replicas that this node hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use spine_consensus::group::RaftGroup;

use super::latch::Latches;
use super::map::ShardMap;

/// A hosted replica with what its leader needs.
pub struct Shard {
    /// The Raft group.
    pub group: Arc<RaftGroup>,
    /// One proposal at a time for one routing key.
    pub latches: Latches,
}

/// All hosted replicas and the map of the rest.
#[derive(Default)]
pub struct Host {
    shards: RwLock<BTreeMap<u32, Arc<Shard>>>,
    map: RwLock<Option<Arc<ShardMap>>>,
}

impl Host {
    /// Adds a replica that was opened.
    pub fn insert(&self, group: Arc<RaftGroup>) {
        let shard = group.identity().shard;
        self.shards.write().insert(
            shard,
            Arc::new(Shard {
                group,
                latches: Latches::default(),
            }),
        );
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
