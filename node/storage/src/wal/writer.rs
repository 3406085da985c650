//! The one writer: takes what all groups want, writes it as one batch, syncs once, tells all of them.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::{self, BatchWriter, Record, SEGMENT_HEADER_BYTES, Salt};
use super::index::Place;
use super::recover::{Recovered, segment_path};
use super::shared::{Command, Shared};
use super::{Done, WalOptions};
use crate::disk::{Disk, DiskFile};
use crate::ids::LogId;

/// Segments on the disk before the oldest one in use is emptied by moving its entries forward.
const SEGMENTS_BEFORE_MOVE: usize = 4;
/// Retired segment files kept for the next segments.
const SPARES_MAX: usize = 2;

struct Segment {
    number: u64,
    file: Arc<dyn DiskFile>,
    offset: u64,
    salt: Salt,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store_uuid: [u8; 16],
    options: WalOptions,
    segment: Option<Segment>,
    newest: u64,
    next_sequence: u64,
    next_spare: u64,
    spares: Vec<PathBuf>,
    /// Entries in the cache, oldest first: (group, index, bytes).
    cached: VecDeque<(u64, u64, usize)>,
    cached_bytes: usize,
}

/// A batch being put together.
struct Batch {
    writer: BatchWriter,
    /// Entries in it: (group, entry, start, length).
    places: Vec<(u64, LogId, u32, u32)>,
}

impl Batch {
    fn new() -> Self {
        Self {
            writer: BatchWriter::new(),
            places: Vec::new(),
        }
    }

    fn push(&mut self, group: u64, record: &Record) {
        let (start, len) = self.writer.push(group, record);
        if let Record::Entry(id, _) | Record::Moved(id, _) = record {
            self.places.push((group, *id, start, len));
        }
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        store_uuid: [u8; 16],
        options: WalOptions,
        recovered: &Recovered,
    ) -> Self {
        let segment = recovered.current.and_then(|(number, offset)| {
            let file = Arc::clone(recovered.files.get(&number)?);
            Some(Segment {
                number,
                file,
                offset,
                salt: Salt::of(&store_uuid, number),
            })
        });
        Self {
            shared,
            disk,
            dir,
            store_uuid,
            options,
            segment,
            newest: recovered.newest,
            next_sequence: recovered.next_sequence,
            next_spare: 0,
            spares: recovered.spares.clone(),
            cached: VecDeque::new(),
            cached_bytes: 0,
        }
    }

    /// Carries out what was asked for; every `done` is called exactly once. After a failure nothing is ever written
    /// again: what the disk holds is unknown, and a second fsync would only pretend to know.
    pub(super) fn step(&mut self, commands: Vec<Command>) {
        let mut dones: Vec<Done> = Vec::new();
        let mut batch = Batch::new();
        for command in commands {
            for record in &command.records {
                batch.push(command.group, record);
                if let Record::Entry(id, bytes) = record {
                    self.cached_bytes += bytes.len();
                    self.cached.push_back((command.group, id.index, bytes.len()));
                }
            }
            dones.extend(command.done);
        }
        let result = match self.shared.failure() {
            Some(reason) => Err(io::Error::other(reason)),
            None => self.write(batch, !dones.is_empty()),
        };
        if let Err(error) = &result {
            self.shared.fail(error);
        }
        for done in dones {
            done(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
        self.trim_cache();
    }

    fn write(&mut self, mut batch: Batch, must: bool) -> io::Result<()> {
        for (group, committed) in self.shared.take_committed() {
            batch.push(group, &Record::Committed(committed));
        }
        if batch.writer.is_empty() && !must {
            return Ok(());
        }
        let fits = self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.offset + batch.writer.len() as u64 <= self.options.segment_bytes);
        if !fits {
            batch = self.roll(batch)?;
        }
        self.write_batch(batch)
    }

    /// Writes and syncs one batch at the end of the current segment.
    fn write_batch(&mut self, batch: Batch) -> io::Result<()> {
        let Some(segment) = &mut self.segment else {
            return Err(io::Error::other("no segment"));
        };
        let (number, offset) = (segment.number, segment.offset);
        let bytes = batch.writer.finish(segment.salt, self.next_sequence, offset);
        segment.file.write_all_at(&bytes, offset)?;
        segment.file.sync_data()?;
        segment.offset = frame::next_offset(offset, bytes.len());
        self.next_sequence += 1;
        self.shared.stats.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.shared
            .stats
            .bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        for (group, id, start, len) in batch.places {
            let place = Place {
                segment: number,
                offset: offset + u64::from(start),
                len,
            };
            self.shared.set_place(group, id, place);
        }
        Ok(())
    }

    /// Seals the current segment and begins the next one with everything that would pin an old one.
    fn roll(&mut self, waiting: Batch) -> io::Result<Batch> {
        if self.segment.is_some() {
            let mut seal = Batch::new();
            seal.push(0, &Record::Seal);
            self.write_batch(seal)?;
        }
        self.begin_segment()?;
        let mut batch = Batch::new();
        for (group, records) in self.shared.group_marks() {
            for record in &records {
                batch.push(group, record);
            }
        }
        // The marks are of now, and what waits was asked for before now: votes and purges in it say the same again.
        let oldest = self.move_forward(&mut batch)?;
        self.write_batch(batch)?;
        self.retire(oldest)?;
        Ok(waiting)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.newest + 1;
        let path = segment_path(&self.dir, number);
        let file = match self.spares.pop() {
            Some(spare) => {
                self.disk.rename(&spare, &path)?;
                self.disk.open(&path, false)?
            }
            None => {
                let file = self.disk.open(&path, true)?;
                file.set_len(self.options.segment_bytes)?;
                file
            }
        };
        file.write_all_at(&frame::segment_header(&self.store_uuid, number), 0)?;
        file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        self.shared.files.write().insert(number, Arc::clone(&file));
        self.newest = number;
        let salt = Salt::of(&self.store_uuid, number);
        self.segment = Some(Segment {
            number,
            file,
            offset: SEGMENT_HEADER_BYTES,
            salt,
        });
        Ok(())
    }

    /// Empties the oldest segment into the batch where too many segments are held, if little is left in it.
    fn move_forward(&mut self, batch: &mut Batch) -> io::Result<Option<u64>> {
        if self.shared.files.read().len() <= SEGMENTS_BEFORE_MOVE {
            return Ok(None);
        }
        let Some(oldest) = self.shared.segments_in_use().first().copied() else {
            return Ok(None);
        };
        let entries = self.shared.entries_in(oldest);
        let bytes: u64 = entries.iter().map(|(_, _, place)| u64::from(place.len)).sum();
        if bytes > self.options.segment_bytes / 4 {
            return Ok(None);
        }
        for (group, id, _) in entries {
            let bytes = self.shared.read_entry(group, id.index)?;
            batch.push(group, &Record::Moved(id, bytes));
        }
        Ok(Some(oldest))
    }

    /// Gives up segments in which nothing lives; their files wait as spares.
    fn retire(&mut self, emptied: Option<u64>) -> io::Result<()> {
        let mut used: BTreeSet<u64> = self.shared.segments_in_use().into_iter().collect();
        if let Some(emptied) = emptied {
            used.remove(&emptied);
        }
        let oldest_used = used.first().copied().unwrap_or(self.newest);
        // Only from the oldest end: the sequence of batches must stay whole.
        let retired: Vec<u64> = self
            .shared
            .files
            .read()
            .keys()
            .copied()
            .filter(|number| *number < oldest_used.min(self.newest))
            .collect();
        for number in retired {
            self.shared.files.write().remove(&number);
            let path = segment_path(&self.dir, number);
            if self.spares.len() < SPARES_MAX {
                self.next_spare += 1;
                let spare = self
                    .dir
                    .join(format!("{:016x}-{}.spare", number, self.next_spare));
                self.disk.rename(&path, &spare)?;
                self.spares.push(spare);
            } else {
                self.disk.remove_file(&path)?;
            }
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Drops the oldest entries' bytes; they are read back from their segment when somebody asks.
    fn trim_cache(&mut self) {
        while self.cached_bytes > self.options.cache_bytes {
            let Some((group, index, bytes)) = self.cached.pop_front() else {
                return;
            };
            self.cached_bytes -= bytes;
            self.shared.evict(group, index);
        }
    }
}
