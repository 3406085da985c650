//! The newest changes of a replica, entry by entry, for those who watch it.
//!
//! A log entry does not say which of its parts committed; applying it does. So apply notes what it really changed, and
//! a bounded ring keeps the newest of that. Keys and values are those of the delta, not copies. After a restart the
//! replay of the log fills the ring again from the last checkpoint on.

use std::collections::VecDeque;
use std::sync::Arc;

use spine_statemachine::key::{Family, is_patient};
use spine_statemachine::store::{Key, Record};

use super::ReplicaError;

/// Bytes of changes that one replica keeps, unless its options say otherwise.
pub const FEED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Entries with changes that one replica keeps, however small they are.
pub const FEED_ENTRIES_MAX: usize = 65_536;
/// Entries looked at by one read, so that a rare key does not hold up apply.
pub const FEED_SCAN_ENTRIES_MAX: usize = 2_048;
/// Bytes handed out by one read; a larger entry is handed out alone.
pub const FEED_PAGE_BYTES_MAX: usize = 64 * 1024;
/// What an entry costs beside its changes: the two figures together are what small entries were measured to take.
const ENTRY_OVERHEAD_BYTES: usize = 96;
/// What a change costs beside its key and value, with what the allocator adds.
const CHANGE_OVERHEAD_BYTES: usize = 224;

/// One change of one key.
#[derive(Clone)]
pub struct FeedChange {
    /// Which key.
    pub key: Key,
    /// What stands there now; `None` where it was removed.
    pub record: Option<Record>,
}

impl FeedChange {
    fn bytes(&self) -> usize {
        let value = self.record.as_ref().map_or(0, |record| record.value.len());
        CHANGE_OVERHEAD_BYTES + self.key.len() + value
    }
}

/// What one log entry changed, in the order in which it did.
#[derive(Clone)]
pub struct FeedEntry {
    /// The entry's index, which is the revision of what it put.
    pub index: u64,
    /// Never empty.
    pub changes: Arc<[FeedChange]>,
}

impl FeedEntry {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.changes.iter().map(FeedChange::bytes).sum::<usize>()
    }
}

/// Some of the feed.
pub struct FeedPage {
    /// Entries that changed a key asked for; all their changes are there, those of other keys too.
    pub entries: Vec<FeedEntry>,
    /// Where to read on: everything before this index was looked at.
    pub next: u64,
}

/// Whether changes of this key are kept: those of records, streams and current versions of patients. Never the shard's own
/// rows, request ids, or what follows from another change of the entry.
pub(crate) fn is_fed(key: &[u8]) -> bool {
    matches!(Family::of(key), Some(Family::Records | Family::Stream)) || is_patient(key)
}

/// The ring.
pub(crate) struct Feed {
    entries: VecDeque<FeedEntry>,
    /// Every change from this index on is here.
    floor: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Feed {
    /// An empty ring for entries from `floor` on.
    pub(crate) fn new(floor: u64, bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            floor,
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps what the entry at `index` changed. The newest is always kept, whatever its size: else nobody would
    /// ever see it.
    pub(crate) fn push(&mut self, index: u64, changes: Vec<FeedChange>) {
        if changes.is_empty() {
            return;
        }
        let entry = FeedEntry {
            index,
            changes: changes.into(),
        };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > 1 && (self.bytes > self.bytes_max || self.entries.len() > FEED_ENTRIES_MAX)
        {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.bytes();
                self.floor = oldest.index + 1;
            }
        }
    }

    /// Entries from index `from` on that changed a key with this prefix; `applied` is the replica's.
    pub(crate) fn read(
        &self,
        from: u64,
        prefix: &[u8],
        applied: Option<u64>,
    ) -> Result<FeedPage, ReplicaError> {
        if from < self.floor {
            return Err(ReplicaError::Compacted { floor: self.floor });
        }
        let mut page = FeedPage {
            entries: Vec::new(),
            next: from.max(applied.map_or(0, |index| index + 1)),
        };
        let begin = self.entries.partition_point(|entry| entry.index < from);
        let mut bytes = 0;
        for (looked_at, entry) in self.entries.range(begin..).enumerate() {
            if looked_at == FEED_SCAN_ENTRIES_MAX || bytes >= FEED_PAGE_BYTES_MAX {
                page.next = entry.index;
                break;
            }
            if entry.changes.iter().any(|change| change.key.starts_with(prefix)) {
                bytes += entry.bytes();
                page.entries.push(entry.clone());
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn change(key: &'static [u8], index: u64, len: usize) -> FeedChange {
        FeedChange {
            key: Bytes::from_static(key),
            record: Some(Record {
                schema: 1,
                revision: index,
                value: vec![0; len].into(),
            }),
        }
    }

    fn indexes(page: &FeedPage) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.index).collect()
    }

    fn floor_of(result: Result<FeedPage, ReplicaError>) -> u64 {
        match result {
            Err(ReplicaError::Compacted { floor }) => floor,
            Err(other) => panic!("{other}"),
            Ok(page) => panic!("{:?}", indexes(&page)),
        }
    }

    #[test]
    fn the_oldest_goes_and_the_floor_says_so() {
        let one = ENTRY_OVERHEAD_BYTES + CHANGE_OVERHEAD_BYTES + 1 + 100;
        let mut feed = Feed::new(5, 3 * one);
        for index in [6, 8, 9] {
            feed.push(index, vec![change(b"k", index, 100)]);
        }
        assert_eq!((feed.floor(), feed.bytes()), (5, 3 * one));
        feed.push(12, vec![change(b"k", 12, 100)]);
        assert_eq!((feed.floor(), feed.bytes()), (7, 3 * one));
        assert_eq!(floor_of(feed.read(6, b"", Some(12))), 7);
        let page = feed.read(7, b"", Some(14)).expect("kept");
        assert_eq!((indexes(&page), page.next), (vec![8, 9, 12], 15));
    }

    #[test]
    fn an_entry_above_the_bound_is_kept_until_the_next() {
        let mut feed = Feed::new(1, 1_000);
        feed.push(1, vec![change(b"k", 1, 10)]);
        feed.push(2, vec![change(b"k", 2, 5_000)]);
        assert_eq!(indexes(&feed.read(2, b"", Some(2)).expect("the newest")), vec![2]);
        feed.push(3, vec![change(b"k", 3, 10)]);
        assert_eq!(floor_of(feed.read(2, b"", Some(3))), 3);
        assert!(feed.bytes() < 1_000);
    }

    #[test]
    fn small_entries_are_bounded_too() {
        let mut feed = Feed::new(1, usize::MAX);
        let last = u64::try_from(FEED_ENTRIES_MAX).expect("small") + 1;
        for index in 1..=last {
            feed.push(index, vec![change(b"k", index, 0)]);
        }
        assert_eq!((feed.entries.len(), feed.floor()), (FEED_ENTRIES_MAX, 2));
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let mut feed = Feed::new(1, usize::MAX);
        let last = u64::try_from(2 * FEED_SCAN_ENTRIES_MAX).expect("small") + 77;
        for index in 1..=last {
            let (key, len): (&[u8], _) = match index % 3 {
                0 => (b"ka", 10),
                1 => (b"kb", 30_000),
                _ => (b"o", 10),
            };
            feed.push(index, vec![change(key, index, len)]);
        }
        for prefix in [&b""[..], b"k", b"ka", b"kb", b"none"] {
            let (mut seen, mut from, mut pages) = (Vec::new(), 1, 0);
            while from <= last {
                let page = feed.read(from, prefix, Some(last)).expect("kept");
                assert!(page.next > from, "it moves on");
                seen.extend(indexes(&page));
                (from, pages) = (page.next, pages + 1);
            }
            let expected: Vec<u64> = (1..=last)
                .filter(|index| match prefix {
                    b"" => true,
                    b"k" => index % 3 != 2,
                    b"ka" => index % 3 == 0,
                    b"kb" => index % 3 == 1,
                    _ => false,
                })
                .collect();
            assert_eq!(seen, expected);
            assert!(pages > 2);
        }
    }

    #[test]
    fn an_index_still_to_come_is_waited_for_not_answered() {
        let mut feed = Feed::new(0, usize::MAX);
        feed.push(3, vec![change(b"k", 3, 1)]);
        let page = feed.read(9, b"", Some(3)).expect("nothing yet");
        assert_eq!((indexes(&page), page.next), (vec![], 9));
        assert_eq!(Feed::new(0, 1).read(0, b"", None).expect("empty").next, 0);
    }
}
