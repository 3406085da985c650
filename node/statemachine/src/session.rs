//! Exactly once for callers that number their calls: one row for each session and shard, with what the calls did that
//! the caller may still ask for.
//!
//! A call whose session's row is forgotten, or may be, is answered as expired and never executed. Whether a session
//! without a row never had one is known without any clock: of the sessions whose rows were forgotten the window keeps
//! when the newest was opened, and a session opened later has lost none.

use bytes::Bytes;
use prost::Message as _;
use spine_proto::storage::v1::{RequestKey, SessionDone, SessionRow, SessionSequence};

use crate::limits::SESSION_DONE_MAX;
use crate::request::Seen;
use crate::store::{ReadError, Record};
use crate::window::RequestWindow;
use crate::{frame, request};

/// Schema number of a session row.
pub const SCHEMA: u32 = 2;
/// Kind of a session row's key.
pub const KIND: u8 = 2;

/// The key under which a call of a session is remembered.
#[must_use]
pub fn key_of(
    principal: &str,
    session_id: &[u8],
    operation: &str,
    call: SessionSequence,
    slot: spine_proto::ids::Slot,
    body: &[u8],
) -> RequestKey {
    RequestKey {
        id: request::bytes(request::hash(&[b"session", principal.as_bytes(), session_id])),
        body_digest: request::bytes(request::hash(&[operation.as_bytes(), body])),
        slot: u32::from(slot.get()),
        session: Some(call),
    }
}

/// Whether its numbers can be.
pub(crate) fn is_well_formed(call: &SessionSequence) -> bool {
    call.sequence > 0 && call.floor <= call.sequence
}

/// What a session's row, if it counts, says of a call.
pub(crate) fn seen(
    row: Option<&SessionRow>,
    window: &RequestWindow,
    key: &RequestKey,
    call: &SessionSequence,
) -> Seen {
    let Some(row) = row else {
        return if call.opened_ms <= window.session_floor_ms() {
            Seen::Expired
        } else {
            Seen::New
        };
    };
    if call.sequence < row.floor {
        return Seen::Expired;
    }
    if let Some(done) = row.done.iter().find(|done| done.sequence == call.sequence) {
        return Seen::Before {
            same: done.body_digest == key.body_digest && done.slot == key.slot,
            revision: done.revision,
            outcome: done.outcome.clone(),
        };
    }
    if kept(row, call).count() >= SESSION_DONE_MAX {
        return Seen::Full;
    }
    Seen::New
}

/// The calls that a later row still remembers.
fn kept<'a>(row: &'a SessionRow, call: &SessionSequence) -> impl Iterator<Item = &'a SessionDone> {
    let floor = row.floor.max(call.floor);
    row.done.iter().filter(move |done| done.sequence >= floor)
}

/// Adds a call that has taken effect at a revision, with its outcome.
pub(crate) fn add(
    row: &mut SessionRow,
    key: &RequestKey,
    call: &SessionSequence,
    (revision, outcome): (u64, Bytes),
) {
    row.floor = row.floor.max(call.floor);
    row.done.retain(|done| done.sequence >= row.floor);
    let place = row
        .done
        .partition_point(|earlier| earlier.sequence < call.sequence);
    row.done.insert(
        place,
        SessionDone {
            sequence: call.sequence,
            // Copied: the row is kept, and what it is given are parts of an entry.
            body_digest: Bytes::copy_from_slice(&key.body_digest),
            revision,
            outcome: Bytes::copy_from_slice(&outcome),
            slot: key.slot,
        },
    );
}

/// A row's stored value.
pub(crate) fn row_value(row: &SessionRow) -> Bytes {
    frame::encode(&row.encode_to_vec())
}

pub(crate) fn parse(record: &Record) -> Result<SessionRow, ReadError> {
    let value = frame::decode(&record.value).map_err(|error| ReadError(error.to_string()))?;
    SessionRow::decode(value).map_err(|error| ReadError(error.to_string()))
}
