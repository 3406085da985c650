//! What the handles and the writer of one log share.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use spine_mutants::mutant;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::cache::Cache;
use super::error::{Damage, closed, poisoned};
use super::index::{GroupIndex, Place, Slot};
use super::options::WalOptions;
use crate::disk::DiskFile;
use crate::ids::LogId;

pub(super) type Group = Arc<Mutex<GroupIndex>>;

/// Figures of a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Syncs of segment files in the commit path.
    pub fsyncs: u64,
    /// Bytes of frames written.
    pub bytes: u64,
    /// Commands written.
    pub appends: u64,
    /// What the last sync took; zero in simulation.
    pub last_fsync: Duration,
    /// Bytes of commands that wait or are being written.
    pub queue_bytes: u64,
    /// Segment files in use, the prepared one left out.
    pub segments: u64,
    /// Bytes that the entries of all groups take on disk.
    pub live_bytes: u64,
    /// Bytes of entries kept in memory.
    pub cache_bytes: u64,
    /// Bytes of entries moved forward so that old segments could go.
    pub relocated_bytes: u64,
    /// Times that the writer had to make its next segment itself.
    pub late_segments: u64,
}

/// Counters that the writer alone changes.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) fsyncs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) appends: AtomicU64,
    pub(super) last_fsync_nanos: AtomicU64,
    pub(super) relocated_bytes: AtomicU64,
    pub(super) late_segments: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// See the module.
pub(super) struct Shared {
    pub(super) options: WalOptions,
    pub(super) groups: Mutex<BTreeMap<u64, Group>>,
    pub(super) segments: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
    pub(super) cache: Mutex<Cache>,
    pub(super) live_bytes: AtomicU64,
    /// Committed positions not written yet; they ride with the next batch that anybody waits for.
    pub(super) committed: Mutex<BTreeMap<u64, LogId>>,
    pub(super) tickets: AtomicU64,
    pub(super) counts: Counts,
    /// Room for commands, in bytes. Closed when no more are taken.
    pub(super) room: Arc<Semaphore>,
    /// Since when the writer has been at one and the same batch.
    pub(super) busy_since: Mutex<Option<Instant>>,
    /// What the longest batch took since somebody asked, nanoseconds.
    pub(super) slowest_batch_nanos: AtomicU64,
    /// The writer waits for room on the disk.
    pub(super) full: AtomicBool,
    /// Everything up to here is durable: segment in the upper half, offset in the lower.
    pub(super) position: AtomicU64,
    poison: OnceLock<String>,
    fatal: watch::Sender<Option<Arc<str>>>,
}

impl Shared {
    pub(super) fn new(options: WalOptions) -> Self {
        let room = usize::try_from(options.queue_bytes).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            options,
            committed: Mutex::default(),
            groups: Mutex::new(BTreeMap::new()),
            segments: Mutex::new(BTreeMap::new()),
            cache: Mutex::new(Cache::new(options.cache_bytes)),
            live_bytes: AtomicU64::new(0),
            tickets: AtomicU64::new(1),
            counts: Counts::default(),
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            busy_since: Mutex::new(None),
            slowest_batch_nanos: AtomicU64::new(0),
            full: AtomicBool::new(false),
            position: AtomicU64::new(0),
            poison: OnceLock::new(),
            fatal: watch::Sender::new(None),
        }
    }

    /// Ends the log: nothing is written any more, every waiting and later command fails.
    pub(super) fn poison(&self, error: &io::Error) {
        let reason = error.to_string();
        if mutant!("log-survives-failed-sync") {
            return;
        }
        tracing::error!(error = %reason, "log stopped: its last write or sync failed and the process must end");
        if self.poison.set(reason.clone()).is_ok() {
            self.room.close();
            self.fatal.send_replace(Some(reason.into()));
        }
    }

    pub(super) fn poison_reason(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    pub(super) fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.fatal.subscribe()
    }

    /// Why no more commands are taken.
    pub(super) fn refusal(&self) -> io::Error {
        self.poison_reason().map_or_else(closed, poisoned)
    }

    pub(super) fn group(&self, group: u64) -> Group {
        Arc::clone(self.groups.lock().entry(group).or_default())
    }

    /// Changes a group's index and keeps the sum of live bytes.
    pub(super) fn with_index<T>(
        &self,
        index: &mut GroupIndex,
        change: impl FnOnce(&mut GroupIndex) -> T,
    ) -> T {
        let before = index.disk_bytes();
        let result = change(index);
        let after = index.disk_bytes();
        if after >= before {
            self.live_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.live_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
        result
    }

    /// Drops bytes of the oldest cached entries until the limit holds.
    pub(super) fn evict(&self) {
        loop {
            let Some(victim) = self.cache.lock().pop_victim() else {
                return;
            };
            let group = self.groups.lock().get(&victim.group).cloned();
            if let Some(group) = group {
                group.lock().evict(victim.index, victim.ticket);
            }
        }
    }

    /// What is needed to read an entry after the group's lock is released; call it under that lock, for then its
    /// segment cannot be recycled.
    pub(super) fn source(&self, slot: &Slot) -> io::Result<Source> {
        if let Some(bytes) = &slot.bytes {
            return Ok(Source::Memory(bytes.clone()));
        }
        let place = slot
            .place
            .ok_or_else(|| io::Error::other("entry is neither in memory nor on disk"))?;
        let file = self.segments.lock().get(&place.segment).map(Arc::clone);
        let file = file.ok_or_else(|| Damage {
            segment: place.segment,
            offset: u64::from(place.offset),
            reason: "segment of a live entry is gone",
        })?;
        Ok(Source::Disk {
            file,
            place,
            len: slot.len,
        })
    }
}

/// Where to read an entry from.
pub(super) enum Source {
    Memory(Bytes),
    Disk {
        file: Arc<dyn DiskFile>,
        place: Place,
        len: u32,
    },
}

impl Source {
    pub(super) fn read(self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes),
            Self::Disk { file, place, len } => {
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, u64::from(place.offset))?;
                if crc32c::crc32c(&bytes) != place.crc && !mutant!("rotten-entry-read") {
                    let offset = u64::from(place.offset);
                    return Err(Damage {
                        segment: place.segment,
                        offset,
                        reason: "entry read back",
                    }
                    .into());
                }
                Ok(bytes.into())
            }
        }
    }
}
