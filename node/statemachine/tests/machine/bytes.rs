//! No bytes make apply panic, or change something on the way to a halt.

use proptest::prelude::*;
use spine_statemachine::txn;

use crate::generate::{steps, sub};
use crate::shard::Shard;

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(entries in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..200), 1..8,
    )) {
        let mut shard = Shard::owning(0, 16_383);
        for entry in entries {
            let _ = shard.apply(&entry);
        }
    }

    /// Nearly right bytes reach further than noise.
    #[test]
    fn damaged_entries_never_panic(
        subs in proptest::collection::vec(sub(), 1..4),
        at_ms in any::<i64>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut entry = txn::entry(subs.into_iter().map(|sub| sub.0).collect(), at_ms).to_vec();
        for (at, byte) in damage {
            let at = at.index(entry.len());
            entry[at] = byte;
        }
        if let Some(cut) = cut {
            entry.truncate(cut.index(entry.len()));
        }
        let mut shard = Shard::owning(0, 16_383);
        let _ = shard.apply(&entry);
        let _ = shard.apply(&entry);
    }

    #[test]
    fn any_time_is_survived(steps in steps(), times in proptest::collection::vec(any::<i64>(), 60)) {
        let mut shard = Shard::owning(0, 16_383);
        for (step, at_ms) in steps.into_iter().zip(times) {
            shard.txn(step.subs(), at_ms);
        }
    }
}
