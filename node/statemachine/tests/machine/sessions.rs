//! Calls of sessions in any order, repeated, late, and after any pause: none takes effect twice.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use spine_proto::storage::v1 as pb;
use spine_statemachine::SubOutcome;
use spine_statemachine::limits::{REQUEST_WINDOW_MS, SESSION_DONE_MAX};

use crate::shard::{Shard, hash16};

#[derive(Clone, Debug)]
struct Call {
    session: u8,
    sequence: u64,
    floor: u64,
    pause_ms: i64,
}

fn call() -> impl Strategy<Value = Call> {
    let pause = prop_oneof![
        12 => 0_i64..2_000,
        3 => 0..REQUEST_WINDOW_MS,
        1 => REQUEST_WINDOW_MS..3 * REQUEST_WINDOW_MS,
    ];
    (0_u8..4, 1_u64..9, 0_u64..9, pause).prop_map(|(session, sequence, floor, pause_ms)| Call {
        session,
        sequence,
        floor: floor.min(sequence),
        pause_ms,
    })
}

fn sub(id: &str, opened_ms: i64, sequence: u64, floor: u64) -> pb::SubTxn {
    pb::SubTxn {
        request: Some(pb::RequestKey {
            id: hash16(id),
            body_digest: hash16(&sequence.to_string()),
            slot: 0,
            session: Some(pb::SessionSequence {
                opened_ms,
                sequence,
                floor,
            }),
        }),
        ..pb::SubTxn::default()
    }
}

proptest! {
    #[test]
    fn no_call_takes_effect_twice(entries in vec(vec(call(), 1..4), 1..60), opened in vec(0_i64..40, 4)) {
        let mut shard = Shard::owning(0, 16_383);
        let mut now_ms = 60_000;
        let mut done: BTreeMap<(u8, u64), u64> = BTreeMap::new();
        for calls in entries {
            now_ms += calls[0].pause_ms;
            let subs = calls.iter().map(|call| {
                let opened_ms = opened[usize::from(call.session)] * 1_000;
                sub(&call.session.to_string(), opened_ms, call.sequence, call.floor)
            });
            let outcomes = shard.txn(subs.collect(), now_ms);
            for (Call { session, sequence, .. }, outcome) in calls.into_iter().zip(&outcomes) {
                match outcome {
                    SubOutcome::Committed { revision } => {
                        let before = done.insert((session, sequence), *revision);
                        prop_assert_eq!(before, None, "session {} call {}", session, sequence);
                    }
                    SubOutcome::Replayed { revision, .. } => {
                        prop_assert_eq!(done.get(&(session, sequence)), Some(revision));
                    }
                    outcome => prop_assert_eq!(outcome, &SubOutcome::SessionExpired),
                }
            }
        }
    }
}

#[test]
fn a_session_that_gives_nothing_up_is_stopped_at_a_limit_and_goes_on_once_it_does() {
    let mut shard = Shard::owning(0, 16_383);
    let most = SESSION_DONE_MAX as u64;
    for sequence in 1..=most {
        let outcome = shard.txn(vec![sub("s", 5, sequence, 1)], 60_000);
        assert!(matches!(outcome[0], SubOutcome::Committed { .. }), "{sequence}");
    }
    let outcome = shard.txn(vec![sub("s", 5, most + 1, 1)], 60_000);
    assert_eq!(
        outcome[0],
        SubOutcome::TooLarge {
            limit: "SESSION_DONE_MAX"
        }
    );
    let outcome = shard.txn(vec![sub("s", 5, most + 1, 2)], 60_000);
    assert!(matches!(outcome[0], SubOutcome::Committed { .. }));
    assert_eq!(shard.request_rows(), 1);
}

#[test]
fn a_row_that_is_used_again_is_counted_once() {
    let mut shard = Shard::owning(0, 16_383);
    for minute in 0..200_i64 {
        let now_ms = 60_000 * minute;
        let sequence = u64::try_from(minute).unwrap() + 1;
        let outcome = shard.txn(vec![sub("s", 5, sequence, sequence)], now_ms);
        assert!(matches!(outcome[0], SubOutcome::Committed { .. }), "{minute}");
        assert_eq!(shard.state.requests.remembered_rows(), 1);
    }
}

#[test]
fn calls_of_one_entry_share_their_session_s_row() {
    let mut shard = Shard::owning(0, 16_383);
    let calls = [(1, 1), (2, 1), (1, 1), (3, 3), (2, 1)];
    let subs = calls.map(|(sequence, floor)| sub("s", 5, sequence, floor));
    let revision = shard.index + 1;
    let done = SubOutcome::Committed { revision };
    let outcome = bytes::Bytes::new();
    let again = SubOutcome::Replayed { revision, outcome };
    // The fourth gives the second up.
    let expired = SubOutcome::SessionExpired;
    let outcomes = shard.txn(subs.to_vec(), 60_000);
    assert_eq!(outcomes, [done.clone(), done.clone(), again, done, expired]);
    assert_eq!(shard.request_rows(), 1);
    let later = shard.txn(vec![sub("s", 5, 3, 3)], 60_000);
    assert!(matches!(later[0], SubOutcome::Replayed { .. }));
}
