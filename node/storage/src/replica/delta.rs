//! The changes in memory in front of the engine.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::convert::Infallible;
use std::ops::Bound;

use spine_statemachine::digest::Digest;
use spine_statemachine::store::{Key, Record};

/// What an entry of the map costs beside its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// Changes by key; `None` removes.
#[derive(Default)]
pub(crate) struct Delta {
    changes: BTreeMap<Place, Change>,
    bytes: usize,
}

struct Change {
    record: Option<Record>,
    /// Of the record; kept, for the change after this one asks for it.
    digest: Digest,
}

impl Change {
    fn digested(&self) -> Option<(u64, Digest)> {
        self.record.as_ref().map(|record| (record.revision, self.digest))
    }
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
        self.changes
            .get(&Sought::of(key) as &dyn Placed)
            .map(|change| &change.record)
    }

    /// Revision and digest of the record at `key`: `Some(None)` where it was removed, `None` where it did not change.
    pub(crate) fn digested(&self, key: &[u8]) -> Option<Option<(u64, Digest)>> {
        self.changes
            .get(&Sought::of(key) as &dyn Placed)
            .map(Change::digested)
    }

    /// Stores a change; `digest` is of the record.
    pub(crate) fn set(&mut self, key: Key, record: Option<Record>, digest: Digest) {
        let below = |_: &[u8]| Ok::<_, Infallible>(None);
        let Ok(_) = self.replace(key, record, digest, below);
    }

    /// The same; gives revision and digest of the record that was there, asking `below` where the key did not change.
    ///
    /// # Errors
    /// That of `below`; then nothing is stored.
    pub(crate) fn replace<E>(
        &mut self,
        key: Key,
        record: Option<Record>,
        digest: Digest,
        below: impl FnOnce(&[u8]) -> Result<Option<(u64, Digest)>, E>,
    ) -> Result<Option<(u64, Digest)>, E> {
        let key_bytes = key.len();
        let value_bytes = |record: &Option<Record>| record.as_ref().map_or(0, |record| record.value.len());
        let added = value_bytes(&record);
        let change = Change { record, digest };
        let replaced = match self.changes.entry(Place::of(key)) {
            Entry::Occupied(mut present) => {
                let old = present.insert(change);
                self.bytes -= value_bytes(&old.record);
                old.digested()
            }
            Entry::Vacant(place) => {
                let replaced = below(&place.key().key)?;
                place.insert(change);
                self.bytes += key_bytes + ENTRY_OVERHEAD_BYTES;
                replaced
            }
        };
        self.bytes += added;
        Ok(replaced)
    }

    /// Changes with `start <= key < end`, in order. `start` must lie before `end`.
    pub(crate) fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> impl Iterator<Item = (&'a Key, &'a Option<Record>)> + use<'a> {
        self.between(Bound::Included(start), Bound::Excluded(end))
    }

    /// At most `limit` changes after `after`, in order; from the first if there is no `after`.
    pub(crate) fn slice_after<'a>(
        &'a self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> impl Iterator<Item = (&'a Key, &'a Option<Record>)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.between(from, Bound::Unbounded).take(limit)
    }

    fn between<'a>(
        &'a self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&'a Key, &'a Option<Record>)> + use<'a> {
        let (from, to) = (from.map(Sought::of), to.map(Sought::of));
        let from = from.as_ref().map(|sought| sought as &dyn Placed);
        let to = to.as_ref().map(|sought| sought as &dyn Placed);
        let range = self.changes.range::<dyn Placed, _>((from, to));
        range.map(|(place, change)| (&place.key, &change.record))
    }
}

/// Where a key stands among others. Its first bytes are compared as one number: nearly all keys differ in them, and they
/// are in the map itself, where the others are a pointer away, which is a cache miss for each comparison.
trait Placed {
    fn place(&self) -> (u128, &[u8]);
}

struct Place {
    head: u128,
    key: Key,
}

/// The place of a key that is looked for.
struct Sought<'a> {
    head: u128,
    key: &'a [u8],
}

/// The first bytes of a key, with zeros behind one that is shorter: no number is less than that of a key before it.
fn head(key: &[u8]) -> u128 {
    if let Some(head) = key.first_chunk() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; size_of::<u128>()];
    head[..key.len()].copy_from_slice(key);
    u128::from_be_bytes(head)
}

impl Place {
    fn of(key: Key) -> Self {
        Self {
            head: head(&key),
            key,
        }
    }
}

impl<'a> Sought<'a> {
    fn of(key: &'a [u8]) -> Self {
        Self { head: head(key), key }
    }
}

impl Placed for Place {
    fn place(&self) -> (u128, &[u8]) {
        (self.head, &self.key)
    }
}

impl Placed for Sought<'_> {
    fn place(&self) -> (u128, &[u8]) {
        (self.head, self.key)
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Placed + '_ {}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Place {}

impl<'a> Borrow<dyn Placed + 'a> for Place {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
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
