//! Exactly once: a row for each request id that took effect, kept for a window of log time.
//!
//! Rows are ordinary records: family, slot 0, the request's id as subject, kind. The slot is in the row and not in
//! its key, so that an id used again for another slot of the shard is noticed. Which rows still count is in
//! [`crate::window`].

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_proto::ids::{RequestId, SLOTS, Slot};
use spine_proto::storage::v1::{RequestKey, RequestRow};

use crate::frame;
use crate::key::{Family, PREFIX_BYTES, SUBJECT_BYTES};
use crate::state::SystemState;
use crate::store::{OrderedRead, ReadError, Record};

/// Schema number of a request row.
pub const SCHEMA: u32 = 1;
/// Kind of a request row's key.
pub const KIND: u8 = 1;
/// Bytes of a request key's id and digest.
pub const HASH_BYTES: usize = SUBJECT_BYTES;

/// The key under which a caller's request id is remembered.
#[must_use]
pub fn key_of(
    principal: &str,
    operation: &str,
    request_id: &RequestId,
    slot: Slot,
    body: &[u8],
) -> RequestKey {
    let mut id = blake3::Hasher::new();
    for part in [principal, operation, request_id.as_str()] {
        id.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        id.update(part.as_bytes());
    }
    RequestKey {
        id: half(&id.finalize()),
        body_digest: half(&blake3::hash(body)),
        slot: u32::from(slot.get()),
    }
}

fn half(hash: &blake3::Hash) -> Bytes {
    Bytes::copy_from_slice(&hash.as_bytes()[..HASH_BYTES])
}

/// Whether id, digest and slot have their sizes.
pub(crate) fn is_well_formed(key: &RequestKey) -> bool {
    key.id.len() == HASH_BYTES && key.body_digest.len() == HASH_BYTES && key.slot < u32::from(SLOTS)
}

/// Where the row of a well-formed request key is.
pub(crate) fn row_key(key: &RequestKey) -> Bytes {
    let mut row = BytesMut::with_capacity(PREFIX_BYTES);
    row.put_u8(Family::Request as u8);
    row.put_u16(0);
    row.put_slice(&key.id);
    row.put_u8(KIND);
    row.freeze()
}

/// A new row's value.
pub(crate) fn row_value(row: &RequestRow) -> Bytes {
    frame::encode(&row.encode_to_vec())
}

/// The row of a request id that took effect within the window.
///
/// # Errors
/// [`ReadError`]
pub fn lookup(
    store: &(impl OrderedRead + ?Sized),
    state: &SystemState,
    key: &RequestKey,
) -> Result<Option<RequestRow>, ReadError> {
    match store.get(&row_key(key))? {
        Some(record) if state.requests.remembers(record.revision) => parse(&record).map(Some),
        _ => Ok(None),
    }
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
