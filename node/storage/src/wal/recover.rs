//! Reads the segments at start: what is there, and whether a bad place is a torn tail or damage.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, ALIGN_BYTES, HeaderIs, Record, SEGMENT_HEADER_BYTES, Salt};
use super::index::{GroupIndex, Place, Slot};
use crate::disk::{Disk, DiskFile};
use crate::ids::{LogId, Vote};

/// Why a log cannot be opened. Nothing is ever cut to make it open.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk said so.
    #[error("log: {0}")]
    Io(#[from] io::Error),
    /// Bytes that were durable are not what was written.
    #[error("log is damaged: segment {segment} at byte {offset}: {what}")]
    Damaged {
        /// Segment number.
        segment: u64,
        /// Byte in it.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Written by a newer release.
    #[error("log has format {0}, which this release does not read")]
    Format(u32),
    /// The directory belongs to another store.
    #[error("log belongs to another store")]
    OtherStore,
}

/// What was found.
pub(super) struct Recovered {
    pub(super) groups: BTreeMap<u64, GroupIndex>,
    pub(super) files: BTreeMap<u64, Arc<dyn DiskFile>>,
    /// The segment to go on with and the place in it; `None` where a new one must begin.
    pub(super) current: Option<(u64, u64)>,
    /// Number of the newest segment there ever was.
    pub(super) newest: u64,
    pub(super) next_sequence: u64,
    /// Files of segments that were retired.
    pub(super) spares: Vec<PathBuf>,
}

pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.wal"))
}

struct Scan<'a> {
    groups: &'a mut BTreeMap<u64, Found>,
    next_sequence: Option<u64>,
    sealed: bool,
}

pub(super) fn recover(disk: &dyn Disk, dir: &Path, store_uuid: &[u8; 16]) -> Result<Recovered, WalError> {
    let (mut numbers, mut spares) = (Vec::new(), Vec::new());
    for name in disk.list(dir)? {
        if let Some(number) = name
            .strip_suffix(".wal")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        {
            numbers.push(number);
        } else if name.ends_with(".spare") {
            spares.push(dir.join(name));
        } else if name.ends_with(".tmp") {
            disk.remove_file(&dir.join(name))?;
        }
    }
    numbers.sort_unstable();
    let mut groups = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut scan = Scan {
        groups: &mut groups,
        next_sequence: None,
        sealed: true,
    };
    let mut current = None;
    for (at, number) in numbers.iter().enumerate() {
        let newest = at + 1 == numbers.len();
        let file = disk.open(&segment_path(dir, *number), false)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        let bytes = Bytes::from(bytes);
        match frame::read_segment_header(&bytes, store_uuid, *number) {
            HeaderIs::OtherStore => return Err(WalError::OtherStore),
            HeaderIs::OtherFormat(format) => return Err(WalError::Format(format)),
            // A segment that was being begun when the power went: nothing in it was acknowledged.
            HeaderIs::Unfinished if newest && !holds_batches(&bytes, Salt::of(store_uuid, *number), 0) => {
                disk.remove_file(&segment_path(dir, *number))?;
                break;
            }
            HeaderIs::Unfinished => return Err(damaged(*number, 0, "its header is not readable")),
            HeaderIs::Ours => {}
        }
        let end = scan.segment(*number, &bytes, Salt::of(store_uuid, *number), newest)?;
        files.insert(*number, file);
        current = (!scan.sealed).then_some((*number, end));
    }
    let next_sequence = scan.next_sequence.unwrap_or(1);
    let groups = groups
        .into_iter()
        .map(|(id, found)| found.into_index().map(|index| (id, index)))
        .collect::<Result<_, _>>()?;
    let newest = numbers.last().copied().unwrap_or(0);
    Ok(Recovered {
        groups,
        files,
        current,
        newest,
        next_sequence,
        spares,
    })
}

fn damaged(segment: u64, offset: u64, what: &'static str) -> WalError {
    WalError::Damaged {
        segment,
        offset,
        what,
    }
}

/// Whether a valid batch lies anywhere from `offset` on.
fn holds_batches(bytes: &Bytes, salt: Salt, offset: u64) -> bool {
    let mut at = offset.next_multiple_of(ALIGN_BYTES);
    while at < bytes.len() as u64 {
        if frame::read_batch(bytes, at, salt).is_some() {
            return true;
        }
        at += ALIGN_BYTES;
    }
    false
}

impl Scan<'_> {
    /// Takes in one segment; returns where its valid batches end.
    fn segment(&mut self, number: u64, bytes: &Bytes, salt: Salt, newest: bool) -> Result<u64, WalError> {
        self.sealed = false;
        let mut offset = SEGMENT_HEADER_BYTES;
        while !self.sealed {
            let Some((sequence, batch)) = frame::read_batch(bytes, offset, salt) else {
                break;
            };
            if self.next_sequence.is_some_and(|next| next != sequence) {
                return Err(damaged(number, offset, "a batch is missing before it"));
            }
            self.next_sequence = Some(sequence + 1);
            let records =
                frame::records(&batch).ok_or_else(|| damaged(number, offset, "its records do not parse"))?;
            for (start, len, group, record) in records {
                let place = Place {
                    segment: number,
                    offset: offset + u64::from(start),
                    len,
                };
                self.record(group, &record, place);
            }
            offset = frame::next_offset(offset, batch.len());
        }
        if self.sealed {
            return Ok(offset);
        }
        if holds_batches(bytes, salt, offset) {
            return Err(damaged(number, offset, "a valid batch follows a bad one"));
        }
        if !newest {
            return Err(damaged(number, offset, "it ends before its seal"));
        }
        Ok(offset)
    }

    fn record(&mut self, group: u64, record: &Record, place: Place) {
        if *record == Record::Seal {
            self.sealed = true;
            return;
        }
        let found = self.groups.entry(group).or_default();
        match record {
            Record::Created => found.created = true,
            Record::Vote(vote) => found.vote = Some(*vote),
            Record::Committed(id) => found.committed = Some(*id),
            Record::Truncate(keep) => found.truncate_after(*keep),
            Record::Purge(id) => found.purge(*id),
            Record::Entry(id, _) => {
                found.truncate_after(id.index.checked_sub(1));
                found.insert(*id, place);
            }
            // Moved entries come in any order: what lies between them may have been moved later still.
            Record::Moved(id, _) => found.insert(*id, place),
            Record::Seal => {}
        }
    }
}

/// One group as far as the segments were read.
#[derive(Default)]
struct Found {
    created: bool,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, (LogId, Place)>,
}

impl Found {
    fn truncate_after(&mut self, keep: Option<u64>) {
        match keep {
            Some(keep) => drop(self.entries.split_off(&(keep + 1))),
            None => self.entries.clear(),
        }
    }

    fn purge(&mut self, upto: LogId) {
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
        }
        self.entries = self.entries.split_off(&(upto.index + 1));
    }

    fn insert(&mut self, id: LogId, place: Place) {
        if self.purged.is_none_or(|purged| id.index > purged.index) {
            self.entries.insert(id.index, (id, place));
        }
    }

    /// The index, if nothing is missing between the purge mark and the last entry.
    fn into_index(self) -> Result<GroupIndex, WalError> {
        let mut index = GroupIndex::default();
        index.created = self.created;
        index.vote = self.vote;
        index.committed = self.committed;
        if let Some(purged) = self.purged {
            index.purge(purged);
        }
        for (at, (id, place)) in self.entries {
            // A log that was never purged begins at 0 or 1.
            let first = index.last().is_none() && at <= 1;
            if !first && (index.last().is_none() || !index.fits(at)) {
                return Err(damaged(
                    place.segment,
                    place.offset,
                    "log entries before it are missing",
                ));
            }
            index.push(Slot {
                id,
                place: Some(place),
                bytes: None,
            });
        }
        Ok(index)
    }
}
