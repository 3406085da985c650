//! Which node to ask first: slot -> shard -> leader, as far as answers have told. Only ever a hint;
//! a wrong one costs one more hop.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::options::ROUTING_KEY_BYTES_MAX;

/// Slots of a cluster; the same for every cluster for ever.
const SLOTS: u16 = 16_384;
/// Shards remembered; a cluster has at most 4,096.
const SHARDS_MAX: usize = 4_096;

/// Bucket of a routing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u16);

impl Slot {
    /// # Errors
    /// `MALFORMED_KEY` unless the key is 1 to 15 bytes of printable ASCII.
    pub(crate) fn of(routing_key: &str) -> Result<Self> {
        let bytes = routing_key.as_bytes();
        let printable = bytes.iter().all(u8::is_ascii_graphic);
        if bytes.is_empty() || bytes.len() > ROUTING_KEY_BYTES_MAX || !printable {
            return Err(Error::invalid(
                "MALFORMED_KEY",
                "routing_key",
                format!("a routing key is 1 to {ROUTING_KEY_BYTES_MAX} bytes of printable ASCII"),
            ));
        }
        let hash = blake3::hash(bytes);
        let first = hash
            .as_bytes()
            .first_chunk::<2>()
            .map_or(0, |two| u16::from_le_bytes(*two));
        // 16,384 divides 65,536: the two lowest bytes of the hash decide alone.
        Ok(Self(first % SLOTS))
    }

    /// A stable choice among `count` nodes, so that one key's calls share one connection.
    pub(crate) fn spread(self, count: usize) -> usize {
        usize::from(self.0) * count / usize::from(SLOTS)
    }
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
        let shard = known.shard_of_slot.get(&slot.0)?;
        known.leader_of_shard.get(shard).cloned()
    }

    /// An answer for `slot` came from `shard`. 0 means that none is known.
    pub(crate) fn learn_shard(&self, slot: Slot, shard: u32) {
        if shard == 0 || self.known.read().shard_of_slot.get(&slot.0) == Some(&shard) {
            return;
        }
        self.known.write().shard_of_slot.insert(slot.0, shard);
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
        let Some(shard) = known.shard_of_slot.get(&slot.0).copied() else {
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
    fn slot_is_the_first_eight_bytes_of_the_hash() {
        for key in ["9990000018", "a", "MAILBOX-0000001"] {
            let hash = blake3::hash(key.as_bytes());
            let whole = u64::from_le_bytes(*hash.as_bytes().first_chunk::<8>().unwrap());
            assert_eq!(u64::from(Slot::of(key).unwrap().0), whole % u64::from(SLOTS));
        }
        for bad in ["", "sixteen-bytes-xx", "with space", "café"] {
            assert_eq!(Slot::of(bad).unwrap_err().reason, "MALFORMED_KEY");
        }
    }

    #[test]
    fn a_leader_is_known_once_slot_and_shard_are() {
        let routes = Routes::default();
        let slot = Slot::of("a").unwrap();
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
