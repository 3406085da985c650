//! A rule is in force by the index of the entry that brings its level, on every replica and in every replay.

use proptest::prelude::*;
use proptest::sample::Index;
use spine_statemachine::store::OrderedRead as _;
use spine_statemachine::{Applied, Halt, LevelRange, Rule, key, levels, txn};

use crate::generate::steps;
use crate::shard::Shard;

/// What every entry found in force, before it was applied.
fn replay(
    shard: &mut Shard,
    entries: &[bytes::Bytes],
    mut between: impl FnMut(usize, &mut Shard),
) -> Vec<bool> {
    let mut found = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        between(number, shard);
        found.push(shard.state.follows(Rule::LEVEL_IN_A_ROW));
        assert!(shard.apply(entry).is_ok(), "entry {number} is applied");
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rule_holds_from_the_entry_on_that_raises_the_level(
        steps in steps(),
        raises in prop::collection::vec((any::<Index>(), 0_u32..=2), 0..4),
        restarts in prop::collection::vec(any::<Index>(), 0..4),
    ) {
        let mut entries: Vec<_> = steps.iter().map(|step| txn::entry(step.subs(), step.passes_ms)).collect();
        for (at, level) in &raises {
            entries.insert(at.index(entries.len() + 1), txn::level(*level));
        }
        let restarts: Vec<usize> = restarts.iter().map(|at| at.index(entries.len() + 1)).collect();
        let mut one = Shard::owning(0, 16_383);
        let mut other = one.clone();
        let found = replay(&mut one, &entries, |_, _| ());
        // The other one restarts here and there, as a later program that knows more levels.
        let again = replay(&mut other, &entries, |number, shard| {
            if restarts.contains(&number) {
                *shard = shard.restarted();
                shard.levels = LevelRange { min: 0, max: shard.levels.max + 1 };
            }
        });
        prop_assert_eq!(&found, &again);
        prop_assert!(one.store == other.store && one.state == other.state);
        // Nothing but the log decides: what raises the level is the first entry that finds it raised behind it.
        let brings = |entry: &bytes::Bytes| *entry == txn::level(2);
        let first = entries.iter().position(brings);
        let expected = (0..entries.len()).map(|number| first.is_some_and(|first| number > first));
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
        let row = one.store.get(&key::level()).unwrap();
        // The first entry of the log is that of the owned slots.
        let written = first.map(|first| (u64::try_from(first).unwrap() + 2, levels::value(2)));
        prop_assert_eq!(row.map(|row| (row.revision, row.value)), written);
    }
}

#[test]
fn replicas_at_different_levels_have_different_digests() {
    let mut one = Shard::owning(0, 16_383);
    let mut other = one.clone();
    assert!(one.apply(&txn::level(2)).is_ok() && other.apply(&txn::noop()).is_ok());
    assert_ne!(one.state.digest, other.state.digest);
}

#[test]
fn a_level_that_is_not_known_halts_and_changes_nothing() {
    for (levels, begins, entry) in [
        (LevelRange { min: 0, max: 1 }, 0, txn::level(2)),
        (LevelRange { min: 0, max: 1 }, 2, txn::level(1)),
        (LevelRange { min: 0, max: 1 }, 2, txn::entry(Vec::new(), 0)),
        (LevelRange { min: 2, max: 3 }, 1, txn::entry(Vec::new(), 0)),
    ] {
        let mut shard = Shard::owning(0, 16_383);
        shard.apply(&txn::level(begins)).unwrap();
        shard.levels = levels;
        match shard.apply(&entry) {
            Err(Halt::Level { level, index: 3 }) => assert_eq!(level.known, levels),
            _ => panic!("{levels} goes on from level {begins}"),
        }
    }
    let mut shard = Shard::owning(0, 16_383);
    shard.levels = LevelRange { min: 2, max: 3 };
    assert!(
        shard
            .apply(&txn::level(2))
            .is_ok_and(|applied| applied == Applied::Level(2))
    );
}
