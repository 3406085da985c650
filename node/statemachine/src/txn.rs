//! Building entries. Only leaders do; apply takes what the log holds.

use std::ops::RangeInclusive;

use bytes::Bytes;
use prost::Message as _;
use spine_proto::ids::Slot;
use spine_proto::storage::v1::{self as pb, entry, guard, mutation};

use crate::digest::Digest;
use crate::key;
use crate::slots;
use crate::store::Key;

/// The entry of a transaction, proposed at this time of the leader's clock.
#[must_use]
pub fn entry(subs: Vec<pb::SubTxn>, proposed_at_ms: i64) -> Bytes {
    encode(entry::Kind::Txn(pb::Txn { subs, proposed_at_ms }))
}

/// The entry that changes nothing.
#[must_use]
pub fn noop() -> Bytes {
    encode(entry::Kind::Noop(pb::Noop {}))
}

/// The entry from which the rules of `level` hold.
#[must_use]
pub fn level(level: u32) -> Bytes {
    encode(entry::Kind::Level(pb::Level { level }))
}

/// The entry with the leader's digest of the state at `index`.
#[must_use]
pub fn verify(index: u64, digest: Digest) -> Bytes {
    let digest = Bytes::copy_from_slice(&digest.to_bytes());
    encode(entry::Kind::Verify(pb::Verify { index, digest }))
}

fn encode(kind: entry::Kind) -> Bytes {
    pb::Entry { kind: Some(kind) }.encode_to_vec().into()
}

/// A data shard's first SubTxn: the slots it owns. A second one fails its guard.
#[must_use]
pub fn first_slots(owned: &RangeInclusive<Slot>) -> pb::SubTxn {
    let row = key::slots_owned();
    pb::SubTxn {
        guards: vec![absent(row.clone())],
        mutations: vec![put(row, slots::SCHEMA, slots::value(owned))],
        ..pb::SubTxn::default()
    }
}

/// Holds if the record was last written at `revision`.
#[must_use]
pub fn revision_is(key: Key, revision: u64) -> pb::Guard {
    let kind = guard::Kind::RevisionIs(pb::RevisionIs { key, revision });
    pb::Guard { kind: Some(kind) }
}

/// Holds if there is no such record.
#[must_use]
pub fn absent(key: Key) -> pb::Guard {
    let kind = guard::Kind::Absent(pb::Absent { key });
    pb::Guard { kind: Some(kind) }
}

/// Holds if exactly `count` records begin with `prefix`, none of them newer than `max_revision`.
#[must_use]
pub fn range_unchanged(prefix: Bytes, count: u32, max_revision: u64) -> pb::Guard {
    let kind = guard::Kind::RangeUnchanged(pb::RangeUnchanged {
        prefix,
        count,
        max_revision,
    });
    pb::Guard { kind: Some(kind) }
}

/// Stores a value frame.
#[must_use]
pub fn put(key: Key, schema: u32, value: Bytes) -> pb::Mutation {
    let kind = mutation::Kind::Put(pb::Put { key, value, schema });
    pb::Mutation { kind: Some(kind) }
}

/// Removes a record, if it is there.
#[must_use]
pub fn delete(key: Key) -> pb::Mutation {
    let kind = mutation::Kind::Delete(pb::Delete { key });
    pb::Mutation { kind: Some(kind) }
}

/// Removes all records that begin with `prefix`; nothing of the SubTxn happens where there are more than `limit`.
#[must_use]
pub fn delete_range(prefix: Bytes, limit: u32) -> pb::Mutation {
    let kind = mutation::Kind::DeleteRange(pb::DeleteRange { prefix, limit });
    pb::Mutation { kind: Some(kind) }
}

/// Adds a value frame to a stream; a chained one moves its head, see [`crate::chain`].
#[must_use]
pub fn append(stream: Bytes, schema: u32, value: Bytes, chained: bool) -> pb::Mutation {
    let kind = mutation::Kind::Append(pb::Append {
        stream,
        value,
        schema,
        chained,
    });
    pb::Mutation { kind: Some(kind) }
}
