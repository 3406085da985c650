//! What a frame says: kinds (numbers never reused) and the encoding of their payloads, little endian.

use bytes::Bytes;

use crate::ids::{LogId, Vote};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The replica begins: its first record.
    Created = 1,
    /// Entries appended at the end of the group's log.
    Entries = 2,
    /// A vote.
    Vote = 3,
    /// What is known to be committed.
    Committed = 4,
    /// Entries after this position are gone.
    Truncate = 5,
    /// Entries up to this position are gone.
    Purge = 6,
    /// Entries of the log, unchanged, moved here so that their old segment can go.
    Relocated = 7,
    /// Created, vote, committed and purged together, moved here so that their old segment can go.
    State = 8,
    /// The segment ends here and the next one goes on.
    Seal = 9,
    /// Everything before was looked at, or is complete: written at open and at close.
    Checked = 10,
    /// First frame of a segment: which one it is.
    Segment = 11,
    /// The replica is gone from this node.
    Removed = 12,
}

impl Kind {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Created,
            2 => Self::Entries,
            3 => Self::Vote,
            4 => Self::Committed,
            5 => Self::Truncate,
            6 => Self::Purge,
            7 => Self::Relocated,
            8 => Self::State,
            9 => Self::Seal,
            10 => Self::Checked,
            11 => Self::Segment,
            12 => Self::Removed,
            _ => return None,
        })
    }
}

/// Bytes of an entry in a payload beside its own.
pub(super) const ENTRY_HEADER_BYTES: u64 = 28;
/// Bytes before the first entry of a payload.
pub(super) const ENTRIES_HEADER_BYTES: u64 = 4;

/// A group's small facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
}

/// An entry of a payload.
pub(super) struct EntryView<'a> {
    pub(super) id: LogId,
    /// Where its bytes begin in the payload.
    pub(super) at: usize,
    pub(super) bytes: &'a [u8],
}

pub(super) fn put_log_id(buffer: &mut Vec<u8>, id: LogId) {
    for number in [id.term, id.leader, id.index] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn put_vote(buffer: &mut Vec<u8>, vote: Vote) {
    buffer.extend_from_slice(&vote.term.to_le_bytes());
    buffer.extend_from_slice(&vote.leader.to_le_bytes());
    buffer.push(u8::from(vote.committed));
}

fn put_option<T>(buffer: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    buffer.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(buffer, value);
    }
}

pub(super) fn put_keep(buffer: &mut Vec<u8>, keep: Option<u64>) {
    put_option(buffer, keep, |buffer, index| {
        buffer.extend_from_slice(&index.to_le_bytes());
    });
}

pub(super) fn put_state(buffer: &mut Vec<u8>, created: bool, facts: &Facts) {
    buffer.push(u8::from(created));
    put_option(buffer, facts.vote, put_vote);
    put_option(buffer, facts.committed, put_log_id);
    put_option(buffer, facts.purged, put_log_id);
}

/// Appends entries; calls `placed` with the place of each one's bytes in `buffer` and their checksum.
pub(super) fn put_entries<'a>(
    buffer: &mut Vec<u8>,
    entries: impl ExactSizeIterator<Item = (LogId, &'a Bytes)>,
    mut placed: impl FnMut(LogId, usize, u32),
) {
    let count = u32::try_from(entries.len()).expect("a frame holds far fewer entries");
    buffer.extend_from_slice(&count.to_le_bytes());
    for (id, bytes) in entries {
        put_log_id(buffer, id);
        let len = u32::try_from(bytes.len()).expect("an entry is smaller than a segment");
        buffer.extend_from_slice(&len.to_le_bytes());
        placed(id, buffer.len(), crc32c::crc32c(bytes));
        buffer.extend_from_slice(bytes);
    }
}

/// Reads a payload from its start; every `None` means that it is malformed.
pub(super) struct Cursor<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.payload.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn number32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn log_id(&mut self) -> Option<LogId> {
        Some(LogId {
            term: self.number()?,
            leader: self.number()?,
            index: self.number()?,
        })
    }

    pub(super) fn vote(&mut self) -> Option<Vote> {
        Some(Vote {
            term: self.number()?,
            leader: self.number()?,
            committed: self.byte()? == 1,
        })
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(read(self)?)),
            _ => None,
        }
    }

    pub(super) fn keep(&mut self) -> Option<Option<u64>> {
        self.option(Self::number)
    }

    /// Whether the replica was created, and its facts.
    pub(super) fn state(&mut self) -> Option<(bool, Facts)> {
        let created = self.byte()? == 1;
        let facts = Facts {
            vote: self.option(Self::vote)?,
            committed: self.option(Self::log_id)?,
            purged: self.option(Self::log_id)?,
        };
        Some((created, facts))
    }

    pub(super) fn entries(&mut self) -> Option<Vec<EntryView<'a>>> {
        let count = self.number32()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let id = self.log_id()?;
            let len = usize::try_from(self.number32()?).ok()?;
            let at = self.at;
            entries.push(EntryView {
                id,
                at,
                bytes: self.take(len)?,
            });
        }
        Some(entries)
    }
}
