//! Which node to ask first: slot -> shard -> leader, as far as answers have told. Only ever a hint;
//! a wrong one costs one more hop.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use spine_proto::ids::{RoutingKey, SLOTS, Slot};

use crate::address::Address;
use crate::error::{Error, Result};

/// Shards remembered; a cluster has at most 4,096.
const SHARDS_MAX: usize = 4_096;

/// # Errors
/// `MALFORMED_KEY` unless the key is 1 to 15 bytes of printable ASCII.
pub(crate) fn slot_of(routing_key: &str) -> Result<Slot> {
    let key = RoutingKey::parse(routing_key);
    Ok(key
        .map_err(|error| Error::invalid("MALFORMED_KEY", "routing_key", error.to_string()))?
        .slot())
}

/// A stable choice among `count` nodes, so that one key's calls share one connection.
pub(crate) fn spread(slot: Slot, count: usize) -> usize {
    usize::from(slot.get()) * count / usize::from(SLOTS)
}

/// What answers have told so far.
#[derive(Default)]
pub(crate) struct Routes {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    shard_of_slot: BTreeMap<u16, u32>,
    leader_of_shard: BTreeMap<u32, Address>,
}

impl Routes {
    pub(crate) fn leader(&self, slot: Slot) -> Option<Address> {
        let known = self.known.read();
        let shard = known.shard_of_slot.get(&slot.get())?;
        known.leader_of_shard.get(shard).cloned()
    }

    /// An answer for `slot` came from `shard`. 0 means that none is known.
    pub(crate) fn learn_shard(&self, slot: Slot, shard: u32) {
        if shard == 0 || self.known.read().shard_of_slot.get(&slot.get()) == Some(&shard) {
            return;
        }
        self.known.write().shard_of_slot.insert(slot.get(), shard);
    }

    pub(crate) fn learn_leader(&self, shard: u32, leader: &Address) {
        if shard == 0 || self.known.read().leader_of_shard.get(&shard) == Some(leader) {
            return;
        }
        let mut known = self.known.write();
        if known.leader_of_shard.len() < SHARDS_MAX || known.leader_of_shard.contains_key(&shard) {
            known.leader_of_shard.insert(shard, leader.clone());
        }
    }

    /// `node` failed or said that it does not lead: forget that it leads the shard of `slot`.
    pub(crate) fn forget(&self, slot: Slot, node: &Address) {
        let mut known = self.known.write();
        let Some(shard) = known.shard_of_slot.get(&slot.get()).copied() else {
            return;
        };
        if known.leader_of_shard.get(&shard) == Some(node) {
            known.leader_of_shard.remove(&shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_keys_are_told_apart_and_slots_spread_over_nodes() {
        for bad in ["", "sixteen-bytes-xx", "with space", "café"] {
            assert_eq!(slot_of(bad).unwrap_err().reason, "MALFORMED_KEY");
        }
        let nodes: Vec<usize> = [0, 5_461, 5_462, 16_383]
            .map(|slot| spread(Slot::new(slot).unwrap(), 3))
            .into();
        assert_eq!(nodes, [0, 0, 1, 2]);
    }

    #[test]
    fn a_leader_is_known_once_slot_and_shard_are() {
        let routes = Routes::default();
        let slot = slot_of("a").unwrap();
        let node = Address::parse("n:1").unwrap();
        routes.learn_leader(3, &node);
        assert_eq!(routes.leader(slot), None);
        routes.learn_shard(slot, 3);
        assert_eq!(routes.leader(slot), Some(node.clone()));
        routes.forget(slot, &Address::parse("other:1").unwrap());
        assert_eq!(routes.leader(slot), Some(node.clone()));
        routes.forget(slot, &node);
        assert_eq!(routes.leader(slot), None);
    }
}
