//! What a view has read is what it guards.

use bytes::Bytes;
use spine_proto::storage::v1::{
    Absent, Guard, Mutation, Put, RangeUnchanged, RevisionIs, SubTxn, guard, mutation,
};
use spine_services::{Failure, View, reason};
use spine_statemachine::apply::SubOutcome;
use spine_statemachine::frame;
use spine_statemachine::key::{self, Family};

use super::harness::Shard;

fn key_of(shard: &Shard, suffix: &str) -> Bytes {
    let routing_key = spine_proto::ids::RoutingKey::parse("ward-7").unwrap();
    key::encode(
        Family::Records,
        &shard.context().subject_key,
        &routing_key,
        1,
        suffix.as_bytes(),
    )
}

fn put(shard: &mut Shard, suffixes: &[String]) {
    let mutations = suffixes
        .iter()
        .map(|suffix| {
            let put = Put {
                key: key_of(shard, suffix),
                value: frame::encode(b"x"),
                schema: 1,
            };
            Mutation {
                kind: Some(mutation::Kind::Put(put)),
            }
        })
        .collect();
    assert!(matches!(
        shard.propose(SubTxn {
            mutations,
            ..SubTxn::default()
        }),
        SubOutcome::Committed { .. }
    ));
}

#[test]
fn reads_become_guards_once_each() {
    let mut shard = Shard::new();
    put(&mut shard, &["a".to_owned()]);
    put(&mut shard, &["p/1".to_owned(), "p/2".to_owned()]);
    let (a, b, prefix) = (key_of(&shard, "a"), key_of(&shard, "b"), key_of(&shard, "p/"));
    let mut view = View::new(&shard.store);
    assert!(view.is_untouched());
    for _ in 0..2 {
        assert!(view.get(&a).unwrap().is_some());
        assert!(view.get(&b).unwrap().is_none());
        assert_eq!(view.range(&prefix).unwrap().len(), 2);
    }
    assert!(!view.is_untouched());
    let expected = [
        guard::Kind::RevisionIs(RevisionIs { key: a, revision: 2 }),
        guard::Kind::Absent(Absent { key: b }),
        guard::Kind::RangeUnchanged(RangeUnchanged {
            prefix,
            count: 2,
            max_revision: 3,
        }),
    ];
    assert!(view.into_guards() == expected.map(|kind| Guard { kind: Some(kind) }));
}

#[test]
fn guards_of_an_unchanged_state_hold_and_of_a_changed_one_do_not() {
    let mut shard = Shard::new();
    put(&mut shard, &["a".to_owned(), "p/1".to_owned()]);
    let (a, b, prefix) = (key_of(&shard, "a"), key_of(&shard, "b"), key_of(&shard, "p/"));
    let mut view = View::new(&shard.store);
    view.get(&a).unwrap();
    view.get(&b).unwrap();
    view.range(&prefix).unwrap();
    let guards = view.into_guards();
    let outcome = |shard: &mut Shard| {
        shard.propose(SubTxn {
            guards: guards.clone(),
            ..SubTxn::default()
        })
    };
    assert!(matches!(outcome(&mut shard), SubOutcome::Committed { .. }));
    put(&mut shard, &["p/2".to_owned()]);
    assert_eq!(outcome(&mut shard), SubOutcome::GuardFailed { guard: 2 });
    put(&mut shard, &["b".to_owned()]);
    assert_eq!(outcome(&mut shard), SubOutcome::GuardFailed { guard: 1 });
    put(&mut shard, &["a".to_owned()]);
    assert_eq!(outcome(&mut shard), SubOutcome::GuardFailed { guard: 0 });
}

#[test]
fn a_range_that_no_guard_can_cover_is_refused() {
    let mut shard = Shard::new();
    let suffixes: Vec<String> = (0..1_025).map(|number| format!("p/{number}")).collect();
    put(&mut shard, &suffixes[..1_024]);
    assert_eq!(
        View::new(&shard.store)
            .range(&key_of(&shard, "p/"))
            .unwrap()
            .len(),
        1_024
    );
    put(&mut shard, &suffixes[1_024..]);
    let refused = View::new(&shard.store)
        .range(&key_of(&shard, "p/"))
        .err()
        .unwrap();
    assert!(matches!(
        refused,
        Failure::Rejection {
            reason: reason::RANGE_TOO_LARGE,
            ..
        }
    ));
}
