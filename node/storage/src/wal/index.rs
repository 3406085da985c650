//! What a group's log holds, in memory: the truth for readers from the moment a command is queued.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::frame::HEADER_BYTES;
use super::record::{ENTRIES_HEADER_BYTES, ENTRY_HEADER_BYTES, Facts};
use crate::ids::LogId;

/// Where an entry's bytes are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u32,
    pub(super) crc: u32,
}

/// One entry. It has bytes, a place, or both.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) id: LogId,
    /// Tells this entry from another that stood at the same index before a truncation.
    pub(super) ticket: u64,
    pub(super) len: u32,
    pub(super) place: Option<Place>,
    pub(super) bytes: Option<Bytes>,
}

impl Slot {
    /// Bytes on disk, in a frame of its own at worst.
    fn disk_bytes(&self) -> u64 {
        u64::from(self.len) + ENTRY_HEADER_BYTES + ENTRIES_HEADER_BYTES + u64::from(HEADER_BYTES)
    }
}

/// One group.
#[derive(Debug, Default)]
pub(super) struct GroupIndex {
    pub(super) exists: bool,
    /// What a reader found that is not as it was written.
    pub(super) damage: Option<String>,
    pub(super) facts: Facts,
    slots: VecDeque<Slot>,
    disk_bytes: u64,
}

impl GroupIndex {
    /// A replica that exists, without entries yet.
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            exists: true,
            facts,
            ..Self::default()
        }
    }

    /// Last entry, or the purge marker of an empty log.
    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.id).or(self.facts.purged)
    }

    /// Index of the first entry held.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.id.index)
    }

    /// The index that an append must begin with; `None` if any will do.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.last().map(|id| id.index + 1)
    }

    fn position(&self, index: u64) -> Option<usize> {
        let position = usize::try_from(index.checked_sub(self.first_index()?)?).ok()?;
        (position < self.slots.len()).then_some(position)
    }

    pub(super) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(self.position(index)?)
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let position = self.position(index)?;
        self.slots.get_mut(position)
    }

    pub(super) fn slots(&self, range: Range<u64>) -> impl Iterator<Item = &Slot> {
        let start = self.position(range.start).unwrap_or(self.slots.len());
        self.slots
            .range(start..)
            .take_while(move |slot| slot.id.index < range.end)
    }

    /// Bytes that the entries take on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Adds an entry behind the last one; the caller has checked that it fits there.
    pub(super) fn push(&mut self, slot: Slot) {
        self.disk_bytes += slot.disk_bytes();
        self.slots.push_back(slot);
    }

    /// Forgets the entries after `keep`.
    pub(super) fn truncate_after(&mut self, keep: Option<u64>) {
        while let Some(slot) = self
            .slots
            .pop_back_if(|slot| keep.is_none_or(|keep| slot.id.index > keep))
        {
            self.disk_bytes -= slot.disk_bytes();
        }
    }

    /// Forgets the entries up to `upto`, and remembers it as purged.
    pub(super) fn purge(&mut self, upto: LogId) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.id.index <= upto.index) {
            self.disk_bytes -= slot.disk_bytes();
        }
        self.facts.purged = Some(upto);
    }

    /// Notes where an entry is on disk, unless it has gone meanwhile.
    pub(super) fn place(&mut self, index: u64, ticket: u64, place: Place) {
        if let Some(slot) = self.slot_mut(index)
            && slot.ticket == ticket
        {
            slot.place = Some(place);
        }
    }

    /// Drops an entry's bytes from memory; they are on disk.
    pub(super) fn evict(&mut self, index: u64, ticket: u64) {
        if let Some(slot) = self.slot_mut(index)
            && slot.ticket == ticket
            && slot.place.is_some()
        {
            slot.bytes = None;
        }
    }
}
