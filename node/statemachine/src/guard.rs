//! Conditions on the state. All of a SubTxn's guards hold, or nothing of it happens.

use spine_proto::storage::v1::{self as pb, guard::Kind};

use crate::key;
use crate::limits::RANGE_RECORDS_MAX;
use crate::store::{OrderedRead, ReadError};

/// In [`pb::RevisionIs`]: the record was written by an earlier SubTxn of the same entry, whose index its proposer
/// cannot know yet.
pub const THIS_ENTRY: u64 = u64::MAX;

/// Whether a guard holds before the next SubTxn of the entry at `index`.
///
/// # Errors
/// [`ReadError`]
pub(crate) fn holds(store: &impl OrderedRead, index: u64, guard: &pb::Guard) -> Result<bool, ReadError> {
    match &guard.kind {
        Some(Kind::RevisionIs(guard)) if guard.revision == THIS_ENTRY => Ok(store
            .get(&guard.key)?
            .is_some_and(|record| record.revision == index)),
        Some(Kind::RevisionIs(guard)) => Ok(store
            .get(&guard.key)?
            .is_some_and(|record| record.revision == guard.revision)),
        Some(Kind::Absent(guard)) => Ok(store.get(&guard.key)?.is_none()),
        Some(Kind::RangeUnchanged(guard)) => range_unchanged(store, guard),
        // Refused as unknown before anything was applied.
        None => Ok(false),
    }
}

fn range_unchanged(store: &impl OrderedRead, guard: &pb::RangeUnchanged) -> Result<bool, ReadError> {
    let count = usize::try_from(guard.count).unwrap_or(usize::MAX);
    if count > RANGE_RECORDS_MAX {
        return Ok(false);
    }
    let records = store.range(&guard.prefix, &key::successor(&guard.prefix), count + 1)?;
    Ok(records.len() == count
        && records
            .iter()
            .all(|(_, record)| record.revision <= guard.max_revision))
}
