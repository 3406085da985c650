//! What the writer and the groups' handles share.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

use super::Done;
use super::frame::{self, Record};
use super::index::{GroupIndex, Place};
use crate::disk::DiskFile;
use crate::ids::LogId;

/// What one group asks of the writer.
pub(super) struct Command {
    pub(super) group: u64,
    pub(super) records: Vec<Record>,
    pub(super) done: Option<Done>,
}

impl Command {
    /// Bytes of its entries.
    pub(super) fn bytes(&self) -> usize {
        let size = |record: &Record| match record {
            Record::Entry(_, bytes) | Record::Moved(_, bytes) => bytes.len(),
            _ => 0,
        };
        self.records.iter().map(size).sum()
    }
}

/// Counters of the log.
#[derive(Default)]
pub(super) struct Stats {
    pub(super) fsyncs: AtomicU64,
    pub(super) bytes: AtomicU64,
}

type Group = Arc<Mutex<GroupIndex>>;

pub(super) struct Shared {
    pub(super) groups: RwLock<BTreeMap<u64, Group>>,
    pub(super) files: RwLock<BTreeMap<u64, Arc<dyn DiskFile>>>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) stats: Stats,
    pub(super) failed: Notify,
    committed: Mutex<BTreeMap<u64, LogId>>,
    failure: OnceLock<String>,
}

impl Shared {
    pub(super) fn new(
        groups: BTreeMap<u64, GroupIndex>,
        files: BTreeMap<u64, Arc<dyn DiskFile>>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let groups = groups
            .into_iter()
            .map(|(id, index)| (id, Arc::new(Mutex::new(index))))
            .collect();
        Self {
            groups: RwLock::new(groups),
            files: RwLock::new(files),
            commands,
            stats: Stats::default(),
            failed: Notify::new(),
            committed: Mutex::default(),
            failure: OnceLock::new(),
        }
    }

    pub(super) fn group(&self, id: u64) -> Group {
        if let Some(group) = self.groups.read().get(&id) {
            return Arc::clone(group);
        }
        Arc::clone(self.groups.write().entry(id).or_default())
    }

    fn known(&self, id: u64) -> Option<Group> {
        self.groups.read().get(&id).cloned()
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    pub(super) fn fail(&self, error: &io::Error) {
        if self.failure.set(error.to_string()).is_ok() {
            tracing::error!(%error, "log cannot be written; this process must end");
            self.failed.notify_waiters();
        }
    }

    /// Remembers the newest committed entry; it rides with the next batch.
    pub(super) fn note_committed(&self, group: u64, id: LogId) {
        self.committed.lock().insert(group, id);
    }

    pub(super) fn take_committed(&self) -> BTreeMap<u64, LogId> {
        std::mem::take(&mut *self.committed.lock())
    }

    /// Says where an entry lies, unless another one has taken its index since.
    pub(super) fn set_place(&self, group: u64, id: LogId, place: Place) {
        let Some(group) = self.known(group) else { return };
        if let Some(slot) = group.lock().slot_mut(id.index)
            && slot.id == id
        {
            slot.place = Some(place);
        }
    }

    pub(super) fn evict(&self, group: u64, index: u64) {
        let Some(group) = self.known(group) else { return };
        if let Some(slot) = group.lock().slot_mut(index)
            && slot.place.is_some()
        {
            slot.bytes = None;
        }
    }

    /// What must be said again in a new segment, so that no older one is needed for it.
    pub(super) fn group_marks(&self) -> Vec<(u64, Vec<Record>)> {
        let groups = self.groups.read();
        groups
            .iter()
            .map(|(id, group)| {
                let group = group.lock();
                let mut records = Vec::new();
                if group.created {
                    records.push(Record::Created);
                }
                records.extend(group.vote.map(Record::Vote));
                records.extend(group.purged.map(Record::Purge));
                records.extend(group.committed.map(Record::Committed));
                (*id, records)
            })
            .collect()
    }

    /// Segments that hold entries, oldest first.
    pub(super) fn segments_in_use(&self) -> Vec<u64> {
        let groups = self.groups.read();
        let mut segments: Vec<u64> = groups
            .values()
            .flat_map(|group| {
                group
                    .lock()
                    .slots()
                    .filter_map(|slot| Some(slot.place?.segment))
                    .collect::<Vec<_>>()
            })
            .collect();
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// Entries that lie in a segment, in order.
    pub(super) fn entries_in(&self, segment: u64) -> Vec<(u64, LogId, Place)> {
        let groups = self.groups.read();
        groups
            .iter()
            .flat_map(|(id, group)| {
                let group = group.lock();
                let here = group.slots().filter_map(|slot| Some((*id, slot.id, slot.place?)));
                here.filter(|(_, _, place)| place.segment == segment)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// An entry's bytes, from memory or from its segment, checksum verified.
    pub(super) fn read_entry(&self, group: u64, index: u64) -> io::Result<Bytes> {
        // Between looking up the place and reading it the entry may be moved: then the new place counts.
        for _ in 0..3 {
            let Some(slot) = self
                .known(group)
                .and_then(|group| group.lock().slot(index).cloned())
            else {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no such log entry"));
            };
            if let Some(bytes) = slot.bytes {
                return Ok(bytes);
            }
            let Some(place) = slot.place else { break };
            let Some(file) = self.files.read().get(&place.segment).cloned() else {
                continue;
            };
            let mut bytes = vec![0; usize::try_from(place.len).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, place.offset)?;
            if let Some((owner, Record::Entry(id, entry) | Record::Moved(id, entry))) =
                frame::read_record(&Bytes::from(bytes))
                && owner == group
                && id == slot.id
            {
                return Ok(entry);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "log entry fails its checksum",
        ))
    }
}
