//! Opening logs and talking to them, for every test here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spine_storage::Driver;
use spine_storage::disk::{Disk, RealDisk, SimDisk};
use spine_storage::ids::{LogId, Vote};
use spine_storage::wal::{Done, GroupLog, Wal, WalError, WalOptions};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::machine::Machine;

/// The store of every test.
pub(crate) const STORE: [u8; 16] = [7; 16];
/// Small files, so that a few entries fill one.
pub(crate) const SMALL: WalOptions = WalOptions {
    segment_bytes: 16 * 1024,
    cache_bytes: 1024 * 1024,
};
/// Room for commands that wait, bytes.
pub(crate) const QUEUE_BYTES: u64 = 64 * 1024;
/// The simulator's driver, with a sync that takes no time.
pub(crate) const TASKS: Driver = Driver::Tasks {
    sync_latency: Duration::ZERO,
};

/// Where a log lives; the same place can be opened again.
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) driver: Driver,
    pub(crate) options: WalOptions,
    pub(crate) queue_bytes: u64,
    simulated: Option<SimDisk>,
    _keep: Option<TempDir>,
}

impl Place {
    pub(crate) fn real() -> Self {
        let keep = TempDir::new().unwrap();
        Self {
            disk: Arc::new(RealDisk),
            dir: keep.path().join("wal"),
            driver: Driver::Threads,
            options: SMALL,
            queue_bytes: QUEUE_BYTES,
            simulated: None,
            _keep: Some(keep),
        }
    }

    pub(crate) fn simulated(disk: &SimDisk, driver: Driver) -> Self {
        Self {
            disk: Arc::new(disk.clone()),
            dir: PathBuf::from("/node/wal"),
            driver,
            options: SMALL,
            queue_bytes: QUEUE_BYTES,
            simulated: Some(disk.clone()),
            _keep: None,
        }
    }

    pub(crate) fn try_open_as(&self, store: [u8; 16]) -> Result<Wal, WalError> {
        // A process that outlives a power cut touches nothing any more.
        let disk = self
            .simulated
            .as_ref()
            .map_or_else(|| Arc::clone(&self.disk), Machine::boot);
        Wal::open_with_queue(
            disk,
            &self.dir,
            store,
            self.options,
            self.queue_bytes,
            self.driver,
        )
    }

    pub(crate) fn try_open(&self) -> Result<Wal, WalError> {
        self.try_open_as(STORE)
    }

    pub(crate) fn open(&self) -> Wal {
        self.try_open().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Segment files, oldest first.
    pub(crate) fn segments(&self) -> Vec<String> {
        let names = self.disk.list(&self.dir).unwrap();
        names
            .into_iter()
            .filter(|name| Path::new(name).extension().is_some_and(|end| end == "wal"))
            .collect()
    }
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId {
        term,
        leader: 100 + term,
        index,
    }
}

pub(crate) fn vote(term: u64) -> Vote {
    Vote {
        term,
        leader: 100 + term,
        committed: term.is_multiple_of(2),
    }
}

/// Bytes that only this entry has.
pub(crate) fn body(id: LogId, len: usize) -> Bytes {
    let seed = [id.term.to_le_bytes(), id.index.to_le_bytes()].concat();
    seed.into_iter().cycle().take(len).collect()
}

pub(crate) fn entries(term: u64, range: std::ops::RangeInclusive<u64>, len: usize) -> Vec<(LogId, Bytes)> {
    range
        .map(|index| (id(term, index), body(id(term, index), len)))
        .collect()
}

/// A callback, and what waits for it.
pub(crate) fn done() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (tx, rx) = oneshot::channel();
    (Box::new(move |result| drop(tx.send(result))), rx)
}

/// Appends and waits until it is durable.
pub(crate) async fn append(
    log: &GroupLog,
    term: u64,
    range: std::ops::RangeInclusive<u64>,
    len: usize,
) -> io::Result<()> {
    let (done, rx) = done();
    log.append(entries(term, range, len), done).await?;
    rx.await.expect("every callback is called")
}

/// Votes and waits until it is durable.
pub(crate) async fn save_vote(log: &GroupLog, vote: Vote) -> io::Result<()> {
    let (done, rx) = done();
    log.save_vote(vote, done).await?;
    rx.await.expect("every callback is called")
}

/// Everything the log holds is whole, without holes, and every entry has the bytes it was given.
pub(crate) fn check_whole(log: &GroupLog) -> Vec<LogId> {
    let first = log.purged().map_or(1, |id| id.index + 1);
    let end = log.last().map_or(first, |id| id.index + 1);
    let read = log.read(first..end, usize::MAX).unwrap();
    let ids: Vec<LogId> = read.iter().map(|(id, _)| *id).collect();
    let indexes: Vec<u64> = ids.iter().map(|id| id.index).collect();
    assert_eq!(indexes, (first..end).collect::<Vec<_>>(), "holes in the log");
    for (id, bytes) in read {
        assert_eq!(bytes, body(id, bytes.len()), "entry {} has other bytes", id.index);
    }
    ids
}

/// Flips bits of some bytes.
pub(crate) fn corrupt(disk: &SimDisk, path: &Path, offset: u64, len: u64) {
    for byte in offset..offset + len {
        disk.flip_bit(path, byte * 8 + byte % 8).unwrap();
    }
}
