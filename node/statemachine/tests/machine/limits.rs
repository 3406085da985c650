//! Limits: refused, never a reason to stop a replica.

use bytes::Bytes;
use spine_proto::storage::v1 as pb;
use spine_statemachine::limits::{
    GUARDS_MAX, INTERNAL_MUTATIONS_MAX, MUTATIONS_MAX, OUTCOME_BYTES_MAX, RECORD_BYTES_MAX, SUBS_MAX,
};
use spine_statemachine::{SubOutcome, frame, txn};

use crate::script::key_named;
use crate::shard::{Shard, hash16};

fn breaks(sub: pb::SubTxn) -> Option<&'static str> {
    let mut shard = Shard::owning(0, 16_383);
    match &shard.txn(vec![sub], 0)[..] {
        [SubOutcome::TooLarge { limit }] => Some(limit),
        _ => None,
    }
}

fn request() -> Option<pb::RequestKey> {
    Some(pb::RequestKey {
        id: hash16("id"),
        body_digest: hash16("body"),
        slot: 0,
        session: None,
    })
}

#[test]
fn too_many_sub_txns_are_refused_together() {
    let mut shard = Shard::owning(0, 16_383);
    let outcomes = shard.txn(vec![pb::SubTxn::default(); SUBS_MAX + 1], 5);
    assert_eq!(outcomes.len(), SUBS_MAX + 1);
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == SubOutcome::TooLarge { limit: "SUBS_MAX" })
    );
    let outcomes = shard.txn(vec![pb::SubTxn::default(); SUBS_MAX], 5);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, SubOutcome::Committed { .. }))
    );
}

#[test]
fn a_transaction_over_its_bytes_is_refused() {
    let mut shard = Shard::owning(0, 16_383);
    let value = frame::encode(&vec![0; RECORD_BYTES_MAX]);
    let put = |name| txn::put(key_named(name), 1, value.clone());
    let sub = pb::SubTxn {
        mutations: vec![put("ann/a"), put("ann/b")],
        ..pb::SubTxn::default()
    };
    let outcomes = shard.txn(vec![sub], 5);
    assert_eq!(
        outcomes,
        [SubOutcome::TooLarge {
            limit: "TXN_BYTES_MAX"
        }]
    );
    let sub = pb::SubTxn {
        mutations: vec![put("ann/a")],
        ..pb::SubTxn::default()
    };
    assert_eq!(shard.txn(vec![sub], 5), [SubOutcome::Committed { revision: 3 }]);
}

#[test]
fn each_limit_of_a_sub_txn_has_its_name() {
    let guards = |n| pb::SubTxn {
        guards: vec![txn::absent(key_named("ann/a")); n],
        ..pb::SubTxn::default()
    };
    assert_eq!(
        (breaks(guards(GUARDS_MAX)), breaks(guards(GUARDS_MAX + 1))),
        (None, Some("GUARDS_MAX"))
    );
    let mutations = |n, request| pb::SubTxn {
        mutations: vec![txn::delete(key_named("ann/a")); n],
        request,
        ..pb::SubTxn::default()
    };
    assert_eq!(breaks(mutations(MUTATIONS_MAX, request())), None);
    assert_eq!(
        breaks(mutations(MUTATIONS_MAX + 1, request())),
        Some("MUTATIONS_MAX")
    );
    assert_eq!(breaks(mutations(INTERNAL_MUTATIONS_MAX, None)), None);
    assert_eq!(
        breaks(mutations(INTERNAL_MUTATIONS_MAX + 1, None)),
        Some("MUTATIONS_MAX")
    );
    let outcome = |n| pb::SubTxn {
        outcome: vec![0; n].into(),
        ..pb::SubTxn::default()
    };
    assert_eq!(breaks(outcome(OUTCOME_BYTES_MAX)), None);
    assert_eq!(breaks(outcome(OUTCOME_BYTES_MAX + 1)), Some("OUTCOME_BYTES_MAX"));
    let id = |id: &'static [u8]| {
        let request = pb::RequestKey {
            id: Bytes::from_static(id),
            ..request().unwrap()
        };
        pb::SubTxn {
            request: Some(request),
            ..pb::SubTxn::default()
        }
    };
    assert_eq!(breaks(id(b"short")), Some("REQUEST_KEY"));
    assert_eq!(breaks(id(b"sixteen bytes...")), None);
}
