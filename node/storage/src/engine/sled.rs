//! sled 1.0 alpha as an engine. What its sources made necessary stands in `docs/adr/0003-which-sled.md`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{Change, Engine, EngineError, EngineFactory, classify, guarded, noted, sled_files};

/// Pairs in a leaf: 128 scans four times as fast as the default 1,024 and rewrites less. Part of the file format.
const LEAF_FANOUT: usize = 128;
/// zstd level of a leaf; higher costs more than it saves here.
const ZSTD_LEVEL: i32 = 1;
/// Cache of one replica in bytes. It bounds only what was read, see [`SledEngine::memory_bytes`].
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// "Never", ten years: with `None` every dropped iterator and handle flushes on its reader's thread, and two
/// flushing threads are how `flush` was seen to hang. With `Some` only the idle flusher thread may, at the very end.
const FLUSH_NEVER_MS: usize = 10 * 365 * 24 * 3600 * 1000;
/// A range counts the leaf of each so manieth pair as used: at most leaves that are less than half full are passed over.
const TOUCH_PAIRS: usize = LEAF_FANOUT / 2;
/// Handles for readers. A handle may not be shared between threads, and making one is too dear for each read.
const READERS: usize = 3;

type Db = sled::Db<LEAF_FANOUT>;

/// Tries to lock a database's files, and the pause between them: half a second together.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Opens sled databases.
#[derive(Default)]
pub struct SledFactory {
    _private: (),
}

impl EngineFactory for SledFactory {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(SledEngine {
            dir: dir.to_owned(),
            open: RwLock::new(Some(Open::new(dir)?)),
            written_leaf_bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            next_reader: AtomicU64::new(0),
        }))
    }
}

struct SledEngine {
    dir: PathBuf,
    open: RwLock<Option<Open>>,
    /// Bytes held by leaves that were written since the files were opened, estimated.
    written_leaf_bytes: AtomicU64,
    failed: AtomicBool,
    next_reader: AtomicU64,
}

struct Open {
    /// Boxed: a handle is 100 KB by value, and moving a few of them overflows a thread's stack.
    writer: Mutex<Box<Db>>,
    readers: Vec<Mutex<Box<Db>>>,
}

/// sled starts a program while it opens a database, and between fork and exec that child holds the locks of all others
/// of this process. One that was closed a moment ago may so look open for an instant.
fn open_unlocked(config: &sled::Config) -> std::io::Result<Db> {
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    config.open()
}

impl Open {
    fn new(dir: &Path) -> Result<Self, EngineError> {
        guarded(|| {
            sled_files::before_open(dir).map_err(EngineError::Io)?;
            let config = sled::Config::new()
                .path(dir)
                .flush_every_ms(Some(FLUSH_NEVER_MS))
                .cache_capacity_bytes(CACHE_BYTES)
                .zstd_compression_level(ZSTD_LEVEL);
            let writer: Box<Db> = Box::new(open_unlocked(&config).map_err(classify)?);
            sled_files::after_open(dir).map_err(EngineError::Io)?;
            let readers = (0..READERS).map(|_| Mutex::new(writer.clone())).collect();
            Ok(Self {
                writer: Mutex::new(writer),
                readers,
            })
        })
    }
}

impl SledEngine {
    fn read<T>(&self, work: impl FnOnce(&Db) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let open = self.open.read();
        let open = open.as_ref().ok_or_else(closed)?;
        let first = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let first = usize::try_from(first % READERS as u64).unwrap_or_default();
        let free = (0..READERS).find_map(|step| open.readers[(first + step) % READERS].try_lock());
        let reader = free.unwrap_or_else(|| open.readers[first].lock());
        noted(|| guarded(|| work(&reader)))
    }

    /// Runs a write; after one failure none is tried again, since sled's next flush would wait for the failed one.
    fn write<T>(&self, work: impl FnOnce(&Db) -> Result<T, EngineError>) -> Result<T, EngineError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(EngineError::Io(std::io::Error::other("an earlier write failed")));
        }
        let open = self.open.read();
        let writer = open.as_ref().ok_or_else(closed)?.writer.lock();
        guarded(|| work(&writer)).inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.read(|db| {
            Ok(db
                .get(key)
                .map_err(classify)?
                .map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        if limit == 0 || (!end.is_empty() && start >= end) {
            return Ok(Vec::new());
        }
        self.read(|db| {
            touch(db, start)?;
            let mut found = Vec::new();
            // Without an end: sled's iterator looks for a pair before its end in each leaf up to the last one of the tree.
            for pair in db.range(start..) {
                let (key, value) = pair.map_err(classify)?;
                let is_behind = !end.is_empty() && &key[..] >= end;
                if is_behind || found.len() % TOUCH_PAIRS == TOUCH_PAIRS - 1 {
                    touch(db, &key)?;
                }
                if is_behind {
                    break;
                }
                found.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
                if found.len() == limit {
                    touch(db, &key)?;
                    break;
                }
            }
            Ok(found)
        })
    }

    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError> {
        self.write(|db| {
            let misses = || db.stats().cache.cache_misses;
            let (mut bytes, misses_before) = (0, misses());
            for (key, value) in batch {
                bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
                match value {
                    Some(value) => db.insert(key, &value[..]).map_err(EngineError::Io)?,
                    None => db.remove(key).map_err(EngineError::Io)?,
                };
            }
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let paged_in = misses().saturating_sub(misses_before);
            let grown = bytes.saturating_add(paged_in.saturating_mul(leaf_bytes(bytes, batch.len())));
            self.written_leaf_bytes.fetch_add(grown, Ordering::Relaxed);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.write(|db| db.flush().map(drop).map_err(EngineError::Io))
    }

    fn reopen(&self) -> Result<(), EngineError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(EngineError::Io(std::io::Error::other("an earlier write failed")));
        }
        let mut open = self.open.write();
        // The old one first: it holds the directory's lock.
        drop(open.take());
        *open = Some(Open::new(&self.dir)?);
        self.written_leaf_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// A written leaf stays in memory until a reopen: it never meets sled's test for eviction. So a single changed
    /// record keeps the whole leaf that it was paged in with.
    fn memory_bytes(&self) -> u64 {
        self.written_leaf_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        // Closing flushes, and a flush after a failed one waits for ever. The process ends after such a failure
        // anyway, so the handles are left to it.
        if self.failed.load(Ordering::Acquire) {
            Box::leak(Box::new(self.open.get_mut().take()));
        }
    }
}

/// What a leaf holds if its pairs are like these: leaves are three quarters full on average.
fn leaf_bytes(bytes: u64, pairs: usize) -> u64 {
    let pairs = u64::try_from(pairs).unwrap_or(u64::MAX).max(1);
    (bytes / pairs).saturating_mul(LEAF_FANOUT as u64 * 3 / 4)
}

/// Counts a leaf as used. An iterator counts those that it reads with a counter of its own, which is thrown away with it
/// unless it has read 32 of them: a leaf that only short ranges read would never leave the memory.
fn touch(db: &Db, key: &[u8]) -> Result<(), EngineError> {
    db.get(key).map(drop).map_err(classify)
}

fn closed() -> EngineError {
    EngineError::Io(std::io::Error::other("the engine did not reopen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cache keeps 256 leaves, however large they are, and each reader has up to 32 that it has not yet counted.
    const LEAVES: u32 = 800;
    const RECORDS: u32 = LEAVES * 128;
    const RECORD_BYTES: usize = 400;

    fn key(number: u32) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    /// Whose records are several times what the cache holds, none of them read so far.
    fn filled(dir: &Path) -> SledEngine {
        let engine = SledEngine {
            dir: dir.to_owned(),
            open: RwLock::new(Some(Open::new(dir).unwrap())),
            written_leaf_bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            next_reader: AtomicU64::new(0),
        };
        let value = Bytes::from(vec![7; RECORD_BYTES]);
        let batch: Vec<Change> = (0..RECORDS)
            .map(|number| (key(number), Some(value.clone())))
            .collect();
        engine.write_sorted(&batch).unwrap();
        engine.sync().unwrap();
        engine.reopen().unwrap();
        engine
    }

    /// Leaves that were read from the disk since the last time.
    fn read_leaves(engine: &SledEngine, before: &mut u64) -> u64 {
        let all = engine.read(|db| Ok(db.stats().cache.cache_misses)).unwrap();
        all - std::mem::replace(before, all)
    }

    #[test]
    fn a_range_reads_its_own_leaves_and_leaves_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let engine = filled(dir.path());
        let mut before = 0;
        read_leaves(&engine, &mut before);
        let found = engine.range(&key(100), &key(103), 256).unwrap();
        assert_eq!(found.len(), 3);
        assert!(read_leaves(&engine, &mut before) <= 2);
        let nothing = engine.range(&[0, 0, 0, 100, 1], &[0, 0, 0, 100, 2], 256).unwrap();
        assert!(nothing.is_empty());
        assert!(read_leaves(&engine, &mut before) <= 1);

        for _ in 0..2 {
            for number in (0..RECORDS).step_by(100) {
                engine.range(&key(number), &key(number + 3), 256).unwrap();
            }
            let read = read_leaves(&engine, &mut before);
            assert!(
                read > u64::from(LEAVES / 4),
                "{read}: the others were kept in memory"
            );
        }
    }
}
