//! What holds for any sequence. [`Shard`] compares the counters with a scan after each entry.

use proptest::prelude::*;
use spine_statemachine::key::Family;
use spine_statemachine::store::{Key, Record};
use spine_statemachine::{SubOutcome, txn};

use crate::generate::{Step, steps};
use crate::shard::Shard;

/// Slots of ann and bob are owned, that of eve is not.
fn shard(level: u32) -> Shard {
    let slot = |name| spine_proto::ids::RoutingKey::parse(name).unwrap().slot().get();
    let first = slot("ann").min(slot("bob"));
    assert!(slot("eve") < first, "eve's slot is foreign");
    let mut shard = Shard::owning(first, 16_383);
    assert!(shard.apply(&txn::level(level)).is_ok());
    shard
}

/// All but the request rows, of which forgotten ones may go at any time.
fn business_records(shard: &Shard) -> Vec<(Key, Record)> {
    let all = shard.store.records().iter();
    all.filter(|(key, _)| Family::of(key) != Some(Family::Request))
        .map(|(key, record)| (key.clone(), record.clone()))
        .collect()
}

fn did_commit(outcome: &SubOutcome) -> bool {
    matches!(outcome, SubOutcome::Committed { .. })
}

fn run(shard: &mut Shard, steps: &[Step], each: impl Fn(&mut Shard)) -> Vec<Vec<SubOutcome>> {
    let mut now_ms = 0;
    let mut outcomes = Vec::new();
    for step in steps {
        now_ms += step.passes_ms;
        outcomes.push(shard.txn(step.subs(), now_ms));
        each(shard);
    }
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_same_sequence_gives_the_same_state_across_restarts(steps in steps(), level in 0_u32..=2) {
        let (mut one, mut other) = (shard(level), shard(level));
        let outcomes = run(&mut one, &steps, |_| ());
        let again = run(&mut other, &steps, |shard| *shard = shard.restarted());
        prop_assert_eq!(outcomes, again);
        prop_assert!(one.store == other.store);
        prop_assert_eq!(one.state, other.state);
    }

    /// Leaving out what did not commit changes nothing at all.
    #[test]
    fn a_failed_sub_txn_leaves_no_trace(steps in steps(), level in 0_u32..=2) {
        let (mut whole, mut pruned) = (shard(level), shard(level));
        let mut now_ms = 0;
        for step in steps {
            now_ms += step.passes_ms;
            let outcomes = whole.txn(step.subs(), now_ms);
            let committed = step.subs().into_iter().zip(&outcomes);
            let committed: Vec<_> = committed
                .filter(|(_, outcome)| did_commit(outcome))
                .map(|(sub, _)| sub)
                .collect();
            let all = pruned.txn(committed, now_ms);
            prop_assert!(all.iter().all(did_commit));
            prop_assert!(whole.store == pruned.store);
            prop_assert_eq!(&whole.state, &pruned.state);
        }
    }

    /// A repeated entry commits nothing that carries a request id and answers as the first time.
    #[test]
    fn a_repeated_request_takes_effect_once(steps in steps(), level in 0_u32..=2) {
        let mut shard = shard(level);
        run(&mut shard, &steps, |_| ());
        let Some(last) = steps.last() else { return Ok(()) };
        let subs: Vec<_> = last.subs().into_iter().filter(|sub| sub.request.is_some()).collect();
        let now_ms = shard.state.log_time_ms;
        let first = shard.txn(subs.clone(), now_ms);
        let records = business_records(&shard);
        let second = shard.txn(subs, now_ms);
        for (first, second) in first.iter().zip(&second) {
            match first {
                SubOutcome::Committed { revision } => {
                    let same = matches!(second, SubOutcome::Replayed { revision: then, .. } if then == revision);
                    prop_assert!(same, "{second:?}");
                }
                SubOutcome::Replayed { .. } => prop_assert_eq!(first, second),
                // Was not remembered, so it may take effect now.
                _ => return Ok(()),
            }
        }
        prop_assert!(records == business_records(&shard));
    }

    #[test]
    fn log_time_and_level_never_go_back(steps in steps()) {
        let mut shard = shard(0);
        let mut last = (0, 0);
        for (number, step) in steps.iter().enumerate() {
            let level = [0, 1, 0, 2][number % 4];
            let _ = shard.apply(&txn::level(level));
            shard.txn(step.subs(), step.passes_ms);
            let now = (shard.state.log_time_ms, shard.state.level);
            prop_assert!(now.0 >= last.0 && now.1 >= last.1);
            last = now;
        }
    }
}
