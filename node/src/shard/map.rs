//! Slot to shard to replicas, from the cluster plan. A hint: the shard itself refuses slots it does not own.

use spine_proto::ids::Slot;
use spine_proto::storage::v1::{ClusterPlan, PlanShard};

/// Number of slots, for ever.
pub const SLOTS: u32 = 16_384;
/// The meta group's shard number.
pub const META_SHARD: u32 = 0;

/// Which shard owns a slot and where its replicas live.
#[derive(Clone)]
pub struct ShardMap {
    shards: Vec<PlanShard>,
    incarnation: u32,
}

impl ShardMap {
    /// The map of a plan.
    #[must_use]
    pub fn of(plan: &ClusterPlan) -> Self {
        let mut shards = plan.shards.clone();
        shards.sort_by_key(|shard| shard.shard);
        Self {
            shards,
            incarnation: plan.incarnation,
        }
    }

    /// Which life of the cluster this is: each restore begins another, in which indexes mean something else.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// All shards, the meta group first.
    #[must_use]
    pub fn shards(&self) -> &[PlanShard] {
        &self.shards
    }

    /// The shard that owns a slot.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> Option<u32> {
        let slot = u32::from(slot.get());
        let data = &self.shards;
        let after = data.partition_point(|shard| shard.shard == META_SHARD || shard.slot_first <= slot);
        let shard = data.get(after.checked_sub(1)?)?;
        (shard.shard != META_SHARD && shard.slot_last >= slot).then_some(shard.shard)
    }

    /// The nodes that host a shard.
    #[must_use]
    pub fn nodes_of(&self, shard: u32) -> Vec<u64> {
        self.shards
            .iter()
            .find(|s| s.shard == shard)
            .map(|s| s.members.iter().map(|m| m.node_id).collect())
            .unwrap_or_default()
    }
}

/// Splits the slots evenly: (first, last) for shards 1 to `count`.
#[must_use]
pub fn slot_ranges(count: u32) -> Vec<(u32, u32)> {
    (0..count)
        .map(|i| (i * SLOTS / count, (i + 1) * SLOTS / count - 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(count: u32) -> ShardMap {
        let mut shards = vec![PlanShard {
            shard: 0,
            slot_first: 0,
            slot_last: 0,
            members: vec![],
            change: None,
        }];
        for (i, (slot_first, slot_last)) in slot_ranges(count).into_iter().enumerate() {
            shards.push(PlanShard {
                shard: u32::try_from(i).expect("few") + 1,
                slot_first,
                slot_last,
                members: vec![],
                change: None,
            });
        }
        ShardMap {
            shards,
            incarnation: 1,
        }
    }

    #[test]
    fn every_slot_has_exactly_one_shard() {
        for count in [1, 3, 8, 64, 4_096] {
            let map = map(count);
            let mut seen = vec![0_u32; count as usize + 1];
            for slot in 0..SLOTS {
                let slot = Slot::new(u16::try_from(slot).expect("small")).expect("in range");
                seen[map.shard_of(slot).expect("owned") as usize] += 1;
            }
            assert_eq!(seen[0], 0, "the meta group owns none");
            let (least, most) = (seen[1..].iter().min().unwrap(), seen[1..].iter().max().unwrap());
            assert!(most - least <= 1, "even: {least}..{most}");
        }
    }
}
