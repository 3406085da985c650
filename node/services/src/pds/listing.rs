//! The current versions of all patients of a shard, one after the other, in the order of their keys.
//!
//! That order means nothing to people: subjects are a keyed permutation. Between two steps patients may be written; who
//! was there at the first step and has not been listed yet is listed later, so the list misses nobody.

use spine_proto::pds::v1::Patient;
use spine_statemachine::key::{self, Family, PREFIX_BYTES, SUBJECT_BYTES, SubjectKey};
use spine_statemachine::store::OrderedRead;

use super::watch;
use crate::error::SpineError;
use crate::failure::Failure;

/// Bytes of a [`Position`].
pub const POSITION_BYTES: usize = 2 + SUBJECT_BYTES;

/// Slot and subject: a place in the order of patients.
pub type Position = [u8; POSITION_BYTES];

/// What stands behind a place.
pub enum Next {
    /// A patient.
    Patient {
        /// Where.
        position: Position,
        /// Log index at which its current version was committed.
        index: u64,
        /// That version.
        patient: Patient,
    },
    /// A number under which there is no patient: it was given up.
    Nobody(Position),
    /// No more.
    End,
}

/// Looks behind `after`, or at the first place of all.
///
/// # Errors
/// `STORE_DAMAGED` where a key or a record is not what was written.
pub fn next(
    store: &dyn OrderedRead,
    subject_key: &SubjectKey,
    after: Option<&Position>,
) -> Result<Next, SpineError> {
    let family = [Family::Pds as u8];
    let start = after.map_or_else(
        || family.to_vec().into(),
        |position| key::successor(&[&family[..], position].concat()),
    );
    let end = key::successor(&family);
    let first = store.range(&start, &end, 1).map_err(Failure::from)?.pop();
    let Some((key, record)) = first else {
        return Ok(Next::End);
    };
    let position = key
        .get(1..PREFIX_BYTES - 1)
        .and_then(|bytes| bytes.try_into().ok());
    let position = position.ok_or_else(watch::unreadable_key)?;
    // Of all rows of a subject the current version comes first.
    if !key::is_patient(&key) {
        return Ok(Next::Nobody(position));
    }
    Ok(Next::Patient {
        position,
        index: record.revision,
        // The current version says for itself what it hides.
        patient: watch::version(subject_key, &key, &record, false)?,
    })
}
