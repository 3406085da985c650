//! Sequences of entries over few keys, so that they meet.

use std::fmt;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use spine_proto::storage::v1 as pb;
use spine_statemachine::{guard, txn};

use crate::script::key_named;
use crate::shard::hash16;

/// A message with the Debug that generated ones have not: its bytes.
#[derive(Clone)]
pub(crate) struct Shown<M>(pub(crate) M);

impl<M: Message> fmt::Debug for Shown<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .encode_to_vec()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A transaction and the log time that passes before it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    subs: Vec<Shown<pb::SubTxn>>,
    pub(crate) passes_ms: i64,
}

impl Step {
    pub(crate) fn subs(&self) -> Vec<pb::SubTxn> {
        self.subs.iter().map(|sub| sub.0.clone()).collect()
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    select(vec![
        "ann/a", "ann/b", "ann/c", "ann/cc", "bob/a", "bob/b", "system:x", "meta:x", "eve/a",
    ])
    .prop_map(key_named)
}

fn prefix() -> impl Strategy<Value = Bytes> {
    select(vec!["ann/", "ann/c", "bob/", "stream:ann", "system:x", "meta:x"]).prop_map(key_named)
}

/// Keys that must be refused.
fn bad_key() -> impl Strategy<Value = Bytes> {
    select(vec!["request:x", "hex:00", "hex:1000", "long:ann/", "stream:ann"]).prop_map(key_named)
}

fn a_guard() -> impl Strategy<Value = Shown<pb::Guard>> {
    let revision = prop_oneof![8 => 1_u64..40, 1 => Just(guard::THIS_ENTRY), 1 => Just(0)];
    let max = prop_oneof![0_u64..40, Just(u64::MAX)];
    prop_oneof![
        3 => key().prop_map(|key| Shown(txn::absent(key))),
        3 => (key(), revision).prop_map(|(key, revision)| Shown(txn::revision_is(key, revision))),
        2 => (prefix(), 0_u32..5, max)
            .prop_map(|(prefix, count, max)| Shown(txn::range_unchanged(prefix, count, max))),
    ]
}

fn a_mutation() -> impl Strategy<Value = Shown<pb::Mutation>> {
    let value = || any::<[u8; 3]>().prop_map(|bytes| Bytes::copy_from_slice(&bytes));
    let stream = select(vec!["stream:ann", "stream:bob", "system:s"]).prop_map(key_named);
    prop_oneof![
        8 => (key(), 0_u32..3, value()).prop_map(|(key, schema, value)| Shown(txn::put(key, schema, value))),
        3 => key().prop_map(|key| Shown(txn::delete(key))),
        2 => (prefix(), 0_u32..6).prop_map(|(prefix, limit)| Shown(txn::delete_range(prefix, limit))),
        3 => (stream, value(), any::<bool>())
            .prop_map(|(stream, value, chained)| Shown(txn::append(stream, 1, value, chained))),
        1 => (bad_key(), value()).prop_map(|(key, value)| Shown(txn::put(key, 1, value))),
    ]
}

fn request() -> impl Strategy<Value = Shown<pb::RequestKey>> {
    let slot = prop_oneof![20 => 16_000_u32..16_002, 1 => Just(0), 1 => Just(16_384)];
    let session = proptest::option::of((0_i64..3, 1_u64..12, 0_u64..12));
    (0_u32..12, 0_u32..8, slot, session).prop_map(|(id, body, slot, session)| {
        Shown(pb::RequestKey {
            session: session.map(|(opened, sequence, floor)| pb::SessionSequence {
                opened_ms: opened * 1_000,
                sequence,
                floor: floor.min(sequence),
            }),
            id: hash16(&format!("id {id}")),
            // Mostly the same body for an id.
            body_digest: hash16(&format!("body {}", body / 6)),
            slot,
        })
    })
}

/// One SubTxn.
pub(crate) fn sub() -> impl Strategy<Value = Shown<pb::SubTxn>> {
    let guards = prop_oneof![3 => Just(Vec::new()), 2 => vec(a_guard(), 1..3)];
    let request = proptest::option::of(request());
    (request, guards, vec(a_mutation(), 0..5), vec(any::<u8>(), 0..4)).prop_map(
        |(request, guards, mutations, outcome)| {
            Shown(pb::SubTxn {
                request: request.map(|request| request.0),
                guards: guards.into_iter().map(|guard| guard.0).collect(),
                mutations: mutations.into_iter().map(|mutation| mutation.0).collect(),
                outcome: outcome.into(),
            })
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let passes = prop_oneof![6 => 0_i64..2_000, 2 => 0_i64..600_000, 1 => Just(-5_000_000)];
    (vec(sub(), 0..4), passes).prop_map(|(subs, passes_ms)| Step { subs, passes_ms })
}

/// A whole run.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..60)
}
