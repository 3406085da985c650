//! The one writer of a log: a synchronous core that drivers call from a thread or a task.
//!
//! A batch goes `write` -> `flush` -> (if somebody waits) `sync` -> `complete`, and after it `collect` (see
//! `collect.rs`) frees old segments. Nothing is written to a segment before the one in front of it is durable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use spine_mutants::mutant;
use tokio::time::Instant;

use super::command::{Command, NewEntry, Record};
use super::frame::{self, HEADER_BYTES, Salt, Spot, frame_bytes};
use super::index::Place;
use super::live::{GroupLive, Live};
use super::prepare::{Prepared, Preparer};
use super::record::{self, ENTRIES_HEADER_BYTES, ENTRY_HEADER_BYTES, Kind};
use super::segment::HEAD_BYTES;
use super::shared::{Shared, add};
use crate::disk::DiskFile;

/// Writes end with whole blocks: of one that is not in the cache of the operating system, and is to be changed in part,
/// the rest would be read first. Segments are of whole blocks, and what follows the last frame in one means nothing.
const BLOCK_BYTES: u32 = 4096;

/// Why a batch was not written.
pub(super) enum WriteError {
    /// No room for another segment; nothing is lost, try again.
    Full,
    /// What reached the disk is unknown.
    Fatal(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Fatal(error)
    }
}

/// Commands that share one sync.
pub(super) struct Batch {
    pub(super) commands: Vec<Command>,
    /// The first one not written yet.
    next: usize,
}

impl Batch {
    pub(super) fn new(commands: Vec<Command>) -> Self {
        Self { commands, next: 0 }
    }

    /// Whether anybody waits for durability.
    pub(super) fn needs_sync(&self) -> bool {
        self.commands.iter().any(|command| command.completion.is_some())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.commands.iter().map(|command| command.bytes).sum()
    }

    /// Tells everybody that it failed.
    pub(super) fn fail(self, error: impl Fn() -> io::Error) {
        for completion in self.commands.into_iter().filter_map(|command| command.completion) {
            completion.complete(Err(error()));
        }
    }
}

/// The segment being written.
pub(super) struct Active {
    pub(super) segment: u64,
    pub(super) file: Arc<dyn DiskFile>,
    salt: Salt,
    /// Where the next frame goes; `buffer` ends here.
    end: u32,
    /// Durable up to here.
    synced: u32,
    /// Frames end here, so that a seal always fits.
    limit: u32,
}

impl Active {
    pub(super) fn new(
        store_uuid: &[u8; 16],
        segment: u64,
        file: Arc<dyn DiskFile>,
        end: u32,
    ) -> io::Result<Self> {
        let len = u32::try_from(file.len()?).map_err(io::Error::other)?;
        let limit = len.saturating_sub(HEADER_BYTES);
        Ok(Self {
            segment,
            file,
            salt: Salt::new(store_uuid, segment),
            end,
            synced: end,
            limit,
        })
    }
}

/// An entry whose place is known but not published.
pub(super) struct Staged {
    pub(super) group: u64,
    pub(super) index: u64,
    pub(super) ticket: u64,
    pub(super) len: u32,
    pub(super) place: Place,
}

/// See the module.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) preparer: Arc<Preparer>,
    pub(super) live: Live,
    pub(super) active: Active,
    store_uuid: [u8; 16],
    buffer: Vec<u8>,
    staged: Vec<Staged>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        preparer: Arc<Preparer>,
        live: Live,
        active: Active,
        store_uuid: [u8; 16],
    ) -> Self {
        Self {
            shared,
            preparer,
            live,
            active,
            store_uuid,
            buffer: Vec::new(),
            staged: Vec::new(),
        }
    }

    /// Encodes the batch, rolling to the next segment where one is full. After `Full` call it again with the same
    /// batch: it goes on where it stopped.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), WriteError> {
        while let Some(command) = batch.commands.get(batch.next) {
            self.put_command(command)?;
            batch.next += 1;
        }
        if batch.needs_sync() {
            self.put_committed()
        } else {
            Ok(())
        }
    }

    /// Writes committed positions, those whose entry is written: a position beyond the log would be of no use.
    pub(super) fn put_committed(&mut self) -> Result<(), WriteError> {
        let positions = std::mem::take(&mut *self.shared.committed.lock());
        for (group, id) in positions {
            let last = self.live.groups.get(&group).and_then(GroupLive::last_index);
            let put = if last.is_some_and(|last| last >= id.index) || mutant!("commit-beyond-log") {
                self.put(group, Kind::Committed, 24, |buffer| {
                    record::put_log_id(buffer, id);
                })
            } else {
                Err(WriteError::Full)
            };
            match put {
                Ok(()) => self.live.committed(group, id, self.active.segment),
                // It goes with a later batch, unless a newer one has come.
                Err(WriteError::Full) => drop(self.shared.committed.lock().entry(group).or_insert(id)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn put_command(&mut self, command: &Command) -> Result<(), WriteError> {
        let group = command.group;
        match &command.record {
            Record::Barrier => return Ok(()),
            Record::Probe => return self.put(0, Kind::Checked, 0, |_| ()),
            Record::Created => {
                self.put(group, Kind::Created, 0, |_| ())?;
                self.live.created(group, self.active.segment);
            }
            Record::Removed => {
                self.put(group, Kind::Removed, 0, |_| ())?;
                self.live.removed(group);
            }
            Record::Vote(vote) => {
                if !mutant!("vote-not-written") {
                    self.put(group, Kind::Vote, 17, |buffer| record::put_vote(buffer, *vote))?;
                }
                self.live.vote(group, *vote, self.active.segment);
            }
            Record::Truncate(keep) => {
                if !mutant!("truncation-not-written") {
                    self.put(group, Kind::Truncate, 9, |buffer| record::put_keep(buffer, *keep))?;
                }
                self.live.truncated(group, *keep);
            }
            Record::Purge(upto) => {
                self.put(group, Kind::Purge, 24, |buffer| record::put_log_id(buffer, *upto))?;
                self.live.purged(group, *upto, self.active.segment);
            }
            Record::Entries(entries) => {
                let staged = self.put_entries(group, Kind::Entries, entries)?;
                if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
                    self.live
                        .entries(group, first.id.index, last.id.index, self.active.segment);
                }
                self.staged.extend(staged);
            }
        }
        add(&self.shared.counts.appends, 1);
        Ok(())
    }

    /// Writes entries as one frame and says where they will stand.
    pub(super) fn put_entries(
        &mut self,
        group: u64,
        kind: Kind,
        entries: &[NewEntry],
    ) -> Result<Vec<Staged>, WriteError> {
        let bytes: u64 = entries
            .iter()
            .map(|entry| entry.bytes.len() as u64 + ENTRY_HEADER_BYTES)
            .sum();
        let mut places = Vec::with_capacity(entries.len());
        self.put(group, kind, ENTRIES_HEADER_BYTES + bytes, |buffer| {
            let pairs = entries.iter().map(|entry| (entry.id, &entry.bytes));
            record::put_entries(buffer, pairs, |_, at, crc| places.push((at, crc)));
        })?;
        let segment = self.active.segment;
        let buffer_start = self.buffer_start();
        let staged = entries.iter().zip(places).map(|(entry, (at, crc))| {
            let at = u32::try_from(at).expect("the buffer is smaller than a segment");
            Staged {
                group,
                index: entry.id.index,
                ticket: entry.ticket,
                len: u32::try_from(entry.bytes.len()).expect("checked when it was appended"),
                place: Place {
                    segment,
                    offset: buffer_start + at,
                    crc,
                },
            }
        });
        Ok(staged.collect())
    }

    /// Appends a frame to the buffer.
    pub(super) fn put(
        &mut self,
        group: u64,
        kind: Kind,
        payload_bytes: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), WriteError> {
        // More than once only where a segment of an earlier, smaller configuration is next.
        while u64::from(self.active.end) + frame_bytes(payload_bytes) > u64::from(self.active.limit) {
            self.roll()?;
        }
        self.put_here(group, kind, write);
        Ok(())
    }

    fn put_here(&mut self, group: u64, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        let spot = Spot {
            salt: self.active.salt,
            offset: self.active.end,
            synced: self.active.synced,
        };
        let before = self.buffer.len();
        frame::put(&mut self.buffer, spot, group, kind, write);
        let written = u32::try_from(self.buffer.len() - before).expect("a frame is smaller than a segment");
        self.active.end += written;
    }

    fn buffer_start(&self) -> u32 {
        self.active.end - u32::try_from(self.buffer.len()).expect("the buffer is smaller than a segment")
    }

    /// Ends the active segment, durably, and goes on in the next.
    fn roll(&mut self) -> Result<(), WriteError> {
        let (Prepared { segment, file }, late) =
            self.preparer.take().map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::Full,
                _ => WriteError::Fatal(error),
            })?;
        if late {
            add(&self.shared.counts.late_segments, 1);
        }
        self.put_here(0, Kind::Seal, |_| ());
        self.sync()?;
        self.shared.segments.lock().insert(segment, Arc::clone(&file));
        self.active = Active::new(&self.store_uuid, segment, file, HEAD_BYTES)?;
        Ok(())
    }

    /// Hands the buffer to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (start, frames) = (u64::from(self.buffer_start()), self.buffer.len());
        let padding = self.active.end.next_multiple_of(BLOCK_BYTES) - self.active.end;
        self.buffer.resize(frames + padding as usize, 0);
        let written = self.active.file.write_all_at(&self.buffer, start);
        self.buffer.truncate(frames);
        written?;
        add(&self.shared.counts.bytes, frames as u64);
        self.buffer.clear();
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.is_synced() {
            return Ok(());
        }
        let started = Instant::now();
        if !mutant!("ack-before-fsync") {
            self.active.file.sync_data()?;
        }
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.shared
            .counts
            .last_fsync_nanos
            .store(nanos, Ordering::Relaxed);
        add(&self.shared.counts.fsyncs, 1);
        self.active.synced = self.active.end;
        let position = self.active.segment << 32 | u64::from(self.active.synced);
        self.shared.position.store(position, Ordering::Release);
        Ok(())
    }

    /// Whether everything written is durable.
    pub(super) fn is_synced(&self) -> bool {
        self.active.synced == self.active.end
    }

    /// Publishes places, lets the cache forget, and tells everybody in the order of the commands.
    pub(super) fn complete(&mut self, batch: Batch) {
        let staged = std::mem::take(&mut self.staged);
        self.publish(&staged);
        for Command {
            completion, permit, ..
        } in batch.commands
        {
            if let Some(completion) = completion {
                completion.complete(Ok(()));
            }
            drop(permit);
        }
    }

    fn publish(&self, staged: &[Staged]) {
        for entries in staged.chunk_by(|a, b| a.group == b.group) {
            let Some(first) = entries.first() else { continue };
            let group = self.shared.group(first.group);
            let mut index = group.lock();
            for entry in entries {
                index.place(entry.index, entry.ticket, entry.place);
            }
            drop(index);
            let mut cache = self.shared.cache.lock();
            for entry in entries {
                cache.insert(entry.group, entry.index, entry.ticket, entry.len);
            }
        }
        self.shared.evict();
    }

    /// Says that everything in front was complete: damage to it can be told from a torn tail from now on.
    pub(super) fn mark_checked(&mut self) -> Result<(), WriteError> {
        self.put(0, Kind::Checked, 0, |_| ())?;
        Ok(self.sync()?)
    }
}
