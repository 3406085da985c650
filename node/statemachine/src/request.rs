//! Exactly once: a row for each request id that took effect, kept for a window of log time.
//!
//! Rows are ordinary records. Those of sessions, and all of them before [`crate::Rule::REQUESTS_BY_BUCKET`], are
//! *scattered*: family, 0 in the place of a slot, the request's id as subject, kind. The others stand *together* by the
//! bucket that they are of: family, 1, bucket, id, kind in its place. Ids are hashes: were rows scattered that nobody
//! writes again, each checkpoint would write nearly every leaf of the family. The slot is in the row and not in its
//! key, so that an id used again for another slot of the shard is noticed. Which rows still count is in
//! [`crate::window`].

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_proto::ids::{RequestId, SLOTS, Slot};
use spine_proto::storage::v1::{RequestKey, RequestRow};

use crate::key::{Family, PREFIX_BYTES, SUBJECT_BYTES};
use crate::state::SystemState;
use crate::store::{OrderedRead, ReadError, Record};
use crate::{frame, session};

/// Schema number of a request row.
pub const SCHEMA: u32 = 1;
/// Kind of a request row's key.
pub const KIND: u8 = 1;
/// The same where the rows of a bucket stand together.
pub const KIND_TOGETHER: u8 = 3;
/// Bytes of a request key's id and digest.
pub const HASH_BYTES: usize = SUBJECT_BYTES;

/// What stands in the place of a slot.
const SCATTERED: u16 = 0;
const TOGETHER: u16 = 1;
const BUCKET_BEGIN: usize = 1 + 2;
const BUCKET_END: usize = BUCKET_BEGIN + 8;
const TOGETHER_KEY_BYTES: usize = BUCKET_END + HASH_BYTES + 1;

/// What is known of a call before it is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it may be executed.
    New,
    /// It took effect.
    Before {
        /// Whether it was this call; else the id was used for another one.
        same: bool,
        /// Revision of that time.
        revision: u64,
        /// Outcome of that time.
        outcome: Bytes,
    },
    /// Its session is, or may be, forgotten: it must not be executed.
    Expired,
    /// Its session has too many calls that may still be asked for.
    Full,
}

/// The key under which a caller's request id is remembered.
#[must_use]
pub fn key_of(
    principal: &str,
    operation: &str,
    request_id: &RequestId,
    slot: Slot,
    body: &[u8],
) -> RequestKey {
    RequestKey {
        id: bytes(hash(&[
            principal.as_bytes(),
            operation.as_bytes(),
            request_id.as_str().as_bytes(),
        ])),
        body_digest: bytes(half(&blake3::hash(body))),
        slot: u32::from(slot.get()),
        session: None,
    }
}

/// The key that takes the place of a call which is given up: under the same id, with a digest that no call has. Once it
/// is remembered, no try of that call takes effect any more.
#[must_use]
pub fn void_of(key: &RequestKey) -> RequestKey {
    RequestKey {
        body_digest: bytes(hash(&[b"void", &key.body_digest])),
        ..key.clone()
    }
}

/// A hash of parts, none of which runs into the next.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    half(&hasher.finalize())
}

fn half(hash: &blake3::Hash) -> [u8; HASH_BYTES] {
    let mut half = [0; HASH_BYTES];
    half.copy_from_slice(&hash.as_bytes()[..HASH_BYTES]);
    half
}

pub(crate) fn bytes(hash: [u8; HASH_BYTES]) -> Bytes {
    Bytes::copy_from_slice(&hash)
}

/// Whether id, digest and slot have their sizes.
pub(crate) fn is_well_formed(key: &RequestKey) -> bool {
    key.id.len() == HASH_BYTES
        && key.body_digest.len() == HASH_BYTES
        && key.slot < u32::from(SLOTS)
        && key.session.as_ref().is_none_or(session::is_well_formed)
}

/// Where the row of a well-formed request key is if it is scattered.
pub(crate) fn scattered_key(key: &RequestKey) -> Bytes {
    let mut row = BytesMut::with_capacity(PREFIX_BYTES);
    row.put_u8(Family::Request as u8);
    row.put_u16(SCATTERED);
    row.put_slice(&key.id);
    row.put_u8(if key.session.is_some() {
        session::KIND
    } else {
        KIND
    });
    row.freeze()
}

/// Where the row of a well-formed request key is in a bucket whose rows stand together.
pub(crate) fn together_key(key: &RequestKey, bucket: u64) -> [u8; TOGETHER_KEY_BYTES] {
    let mut row = [0; TOGETHER_KEY_BYTES];
    row[..BUCKET_END].copy_from_slice(&together_prefix(bucket));
    let (first, rest) = key.id.split_at(PREFIX_BYTES - 1 - BUCKET_END);
    row[BUCKET_END..PREFIX_BYTES - 1].copy_from_slice(first);
    row[PREFIX_BYTES - 1] = KIND_TOGETHER;
    row[PREFIX_BYTES..].copy_from_slice(rest);
    row
}

/// What the keys of a bucket's rows begin with; those of older buckets sort before it, scattered rows before all.
pub(crate) fn together_prefix(bucket: u64) -> [u8; BUCKET_END] {
    let mut prefix = [0; BUCKET_END];
    prefix[0] = Family::Request as u8;
    prefix[1..BUCKET_BEGIN].copy_from_slice(&TOGETHER.to_be_bytes());
    prefix[BUCKET_BEGIN..].copy_from_slice(&bucket.to_be_bytes());
    prefix
}

/// Bucket and id of a row that stands together with others of its bucket; `None` for every other key.
#[must_use]
pub fn together(key: &[u8]) -> Option<(u64, [u8; HASH_BYTES])> {
    let key: &[u8; TOGETHER_KEY_BYTES] = key.try_into().ok()?;
    let (prefix, rest) = key.split_first_chunk::<BUCKET_END>()?;
    let bucket = u64::from_be_bytes(*prefix.last_chunk()?);
    if *prefix != together_prefix(bucket) || key[PREFIX_BYTES - 1] != KIND_TOGETHER {
        return None;
    }
    let mut id = [0; HASH_BYTES];
    let (first, last) = id.split_at_mut(PREFIX_BYTES - 1 - BUCKET_END);
    first.copy_from_slice(&rest[..first.len()]);
    last.copy_from_slice(&rest[first.len() + 1..]);
    Some((bucket, id))
}

/// What the store remembers of a call.
///
/// # Errors
/// [`ReadError`]
pub fn look(
    store: &(impl OrderedRead + ?Sized),
    state: &SystemState,
    key: &RequestKey,
) -> Result<Seen, ReadError> {
    seen(find(store, state, key)?.as_ref(), state, key)
}

/// The row of a call, or one that was its row and counts no more.
pub(crate) fn find(
    store: &(impl OrderedRead + ?Sized),
    state: &SystemState,
    key: &RequestKey,
) -> Result<Option<Record>, ReadError> {
    if key.session.is_none() {
        for bucket in state.requests.buckets_together() {
            let place = together_key(key, bucket);
            if store.surely_lacks(&place) {
                continue;
            }
            if let Some(record) = store.get(&place)? {
                return Ok(Some(record));
            }
        }
        if !state.requests.has_scattered() {
            return Ok(None);
        }
    }
    store.get(&scattered_key(key))
}

/// The same as [`look`], of the row that [`find`] found.
pub(crate) fn seen(
    record: Option<&Record>,
    state: &SystemState,
    key: &RequestKey,
) -> Result<Seen, ReadError> {
    let record = record.filter(|record| state.requests.remembers(record.revision));
    if let Some(call) = &key.session {
        let row = record.map(session::parse).transpose()?;
        return Ok(session::seen(row.as_ref(), &state.requests, key, call));
    }
    let Some(record) = record else {
        return Ok(Seen::New);
    };
    let row = parse(record)?;
    Ok(Seen::Before {
        same: row.body_digest == key.body_digest,
        revision: row.revision,
        outcome: row.outcome,
    })
}

/// The stored value of a call without a session that has taken effect at `revision`.
pub(crate) fn row_after(key: &RequestKey, at_ms: i64, revision: u64, outcome: Bytes) -> Bytes {
    let row = RequestRow {
        body_digest: key.body_digest.clone(),
        revision,
        outcome,
        at_ms,
        slot: key.slot,
    };
    frame::encode(&row.encode_to_vec())
}

fn parse(record: &Record) -> Result<RequestRow, ReadError> {
    let value = frame::decode(&record.value).map_err(|error| ReadError(error.to_string()))?;
    RequestRow::decode(value).map_err(|error| ReadError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(principal: &str, operation: &str, id: &str, body: &[u8]) -> RequestKey {
        let id = RequestId::parse(id).unwrap();
        key_of(principal, operation, &id, Slot::new(5).unwrap(), body)
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let one = key("p", "op", "id", b"body");
        assert_eq!(one.id, key("p", "op", "id", b"other").id);
        assert_ne!(one.body_digest, key("p", "op", "id", b"other").body_digest);
        assert_ne!(one.id, key("po", "p", "id", b"body").id);
        assert_ne!(one.id, key("p", "opi", "d", b"body").id);
        assert!(is_well_formed(&one));
    }

    #[test]
    fn rows_of_a_bucket_stand_together_behind_those_of_older_ones_and_say_whose_they_are() {
        let one = key("p", "op", "id", b"body");
        let row = together_key(&one, 7);
        let (bucket, id) = together(&row).unwrap();
        assert_eq!((bucket, &id[..]), (7, &one.id[..]));
        assert!(row.starts_with(&together_prefix(7)) && together_key(&one, 6)[..] < together_prefix(7)[..]);
        assert!(scattered_key(&one)[..] < together_prefix(0)[..]);
        let other_kind = [&row[..PREFIX_BYTES - 1], &[KIND], &row[PREFIX_BYTES..]].concat();
        for other in [&scattered_key(&one)[..], &row[1..], &other_kind] {
            assert_eq!(together(other), None);
        }
    }

    #[test]
    fn a_key_with_wrong_sizes_is_noticed() {
        let good = key("p", "op", "id", b"body");
        let wrong_slot = RequestKey {
            slot: 16_384,
            ..good.clone()
        };
        let wrong_id = RequestKey {
            id: Bytes::new(),
            ..good
        };
        assert!(!is_well_formed(&wrong_slot) && !is_well_formed(&wrong_id));
    }
}
