//! What one group has in the log, in memory: where each entry lies, and the newest entries themselves.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::ids::{LogId, Vote};

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) id: LogId,
    /// `None` until the writer has put it somewhere.
    pub(super) place: Option<Place>,
    /// `None` once it has left the cache.
    pub(super) bytes: Option<Bytes>,
}

/// Everything the log knows of one group.
#[derive(Default)]
pub(super) struct GroupIndex {
    pub(super) created: bool,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    first: u64,
    slots: VecDeque<Slot>,
}

impl GroupIndex {
    /// Newest entry, or the purge mark of an empty log.
    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.id).or(self.purged)
    }

    /// Index of the oldest entry that is there.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots
            .get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Whether an entry may come next: nothing may be left out.
    pub(super) fn fits(&self, index: u64) -> bool {
        match self.last() {
            Some(last) => index == last.index + 1,
            None => true,
        }
    }

    pub(super) fn push(&mut self, slot: Slot) {
        if self.slots.is_empty() {
            self.first = slot.id.index;
        }
        self.slots.push_back(slot);
    }

    /// Drops entries above `keep`.
    pub(super) fn truncate_after(&mut self, keep: Option<u64>) {
        let left = keep.map_or(0, |keep| (keep + 1).saturating_sub(self.first));
        self.slots.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    }

    /// Drops entries up to `upto`, which may lie beyond the last one.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.id.index <= upto.index) {
            self.slots.pop_front();
        }
        self.first = self.slots.front().map_or(upto.index + 1, |slot| slot.id.index);
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
        }
    }
}
