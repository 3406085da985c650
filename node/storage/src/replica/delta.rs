//! The changes in memory in front of the engine.

use std::collections::BTreeMap;
use std::ops::Bound;

use spine_statemachine::digest::Digest;
use spine_statemachine::store::{Key, Record};

/// What an entry of the map costs beside its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 144;

/// Changes by key; `None` removes.
#[derive(Default)]
pub(crate) struct Delta {
    changes: BTreeMap<Key, Change>,
    bytes: usize,
}

struct Change {
    record: Option<Record>,
    /// Of the record; kept, for the change after this one asks for it.
    digest: Digest,
}

impl Delta {
    /// Approximate memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Record>> {
        self.changes.get(key).map(|change| &change.record)
    }

    /// Revision and digest of the record at `key`: `Some(None)` where it was removed, `None` where it did not change.
    pub(crate) fn digested(&self, key: &[u8]) -> Option<Option<(u64, Digest)>> {
        let Change { record, digest } = self.changes.get(key)?;
        Some(record.as_ref().map(|record| (record.revision, *digest)))
    }

    /// Stores a change; `digest` is of the record.
    pub(crate) fn set(&mut self, key: Key, record: Option<Record>, digest: Digest) {
        let key_bytes = key.len();
        let value_bytes = |record: &Option<Record>| record.as_ref().map_or(0, |record| record.value.len());
        self.bytes += value_bytes(&record);
        match self.changes.insert(key, Change { record, digest }) {
            Some(old) => self.bytes -= value_bytes(&old.record),
            None => self.bytes += key_bytes + ENTRY_OVERHEAD_BYTES,
        }
    }

    /// Changes with `start <= key < end`, in order. `start` must lie before `end`.
    pub(crate) fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> impl Iterator<Item = (&'a Key, &'a Option<Record>)> + use<'a> {
        self.changes
            .range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
            .map(|(key, change)| (key, &change.record))
    }

    /// At most `limit` changes after `after`, in order; from the first if there is no `after`.
    pub(crate) fn slice_after<'a>(
        &'a self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> impl Iterator<Item = (&'a Key, &'a Option<Record>)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.changes
            .range::<[u8], _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(key, change)| (key, &change.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn bytes_follow_replacements() {
        let record = |len: usize| {
            Some(Record {
                schema: 1,
                revision: 1,
                value: vec![0; len].into(),
            })
        };
        let mut delta = Delta::default();
        delta.set(Bytes::from_static(b"key"), record(100), Digest::default());
        assert_eq!(delta.bytes(), 3 + 100 + ENTRY_OVERHEAD_BYTES);
        delta.set(Bytes::from_static(b"key"), record(10), Digest::default());
        assert_eq!(delta.bytes(), 3 + 10 + ENTRY_OVERHEAD_BYTES);
        delta.set(Bytes::from_static(b"key"), None, Digest::default());
        assert_eq!(
            delta.bytes(),
            3 + ENTRY_OVERHEAD_BYTES,
            "a removal is remembered too"
        );
    }
}
