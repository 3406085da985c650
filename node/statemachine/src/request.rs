//! Exactly once: a row for each request id that took effect, kept for a window of log time.
//!
//! Rows are ordinary records. Their key begins with a bucket of log time, so a whole bucket is forgotten at once;
//! its rows are then removed a bounded number per entry, the same number on every replica.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_proto::ids::{RequestId, Slot};
use spine_proto::storage::v1::{RequestKey, RequestRow};

use crate::frame;
use crate::key::Family;
use crate::limits::{REQUEST_BUCKET_MS, REQUEST_ROWS_MAX, REQUEST_WINDOW_MS};
use crate::state::SystemState;
use crate::store::{OrderedRead, ReadError};

/// Schema number of a request row.
pub const SCHEMA: u32 = 1;
/// Bytes of a request key's id and digest.
pub const HASH_BYTES: usize = 16;

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

fn bucket_of(log_time_ms: i64) -> u64 {
    u64::try_from(log_time_ms / REQUEST_BUCKET_MS).unwrap_or(0)
}

pub(crate) fn row_key(bucket: u64, id: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + 8 + id.len());
    key.put_u8(Family::Request as u8);
    key.put_u64(bucket);
    key.put_slice(id);
    key.freeze()
}

/// The bucket of a row's key.
pub(crate) fn bucket_in(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// Buckets that count now, newest first.
fn live_buckets(state: &SystemState) -> impl Iterator<Item = u64> {
    let newest = bucket_of(state.log_time_ms);
    let oldest = bucket_of(state.log_time_ms.saturating_sub(REQUEST_WINDOW_MS)).max(state.request_floor);
    (oldest..=newest).rev()
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
    for bucket in live_buckets(state) {
        if !state.request_buckets.contains_key(&bucket) {
            continue;
        }
        if let Some(record) = store.get(&row_key(bucket, &key.id))? {
            let value = frame::decode(&record.value).map_err(|error| ReadError(error.to_string()))?;
            let row = RequestRow::decode(value).map_err(|error| ReadError(error.to_string()))?;
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Where a new row goes.
pub(crate) fn new_row_key(state: &SystemState, id: &[u8]) -> (u64, Bytes) {
    let bucket = bucket_of(state.log_time_ms);
    (bucket, row_key(bucket, id))
}

/// Forgets whole buckets that are too old, or the oldest ones where there are too many rows.
pub(crate) fn raise_floor(state: &mut SystemState) {
    let by_time = bucket_of(state.log_time_ms.saturating_sub(REQUEST_WINDOW_MS));
    state.request_floor = state.request_floor.max(by_time);
    let mut live: u64 = state
        .request_buckets
        .range(state.request_floor..)
        .map(|(_, rows)| rows)
        .sum();
    while live > REQUEST_ROWS_MAX {
        let Some((&oldest, &rows)) = state.request_buckets.range(state.request_floor..).next() else {
            return;
        };
        state.request_floor = oldest + 1;
        live -= rows;
    }
}
