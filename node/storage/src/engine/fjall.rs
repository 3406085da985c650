//! fjall as an engine: the second implementation, which checks the first and which operators may choose.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::RwLock;

use super::dirs::sync_names;
use super::{Change, Engine, EngineError, EngineFactory, guarded};

/// Block cache of one replica, in bytes.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// A memory table is written out at this size, in bytes.
const MEMTABLE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Journals of one replica, in bytes; the least fjall takes.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Open files of one replica.
const FILES_MAX: usize = 64;
/// Changes of one journal write.
const COMMIT_CHANGES: usize = 1024;
const KEYSPACE: &str = "records";

/// Opens fjall databases.
#[derive(Default)]
pub struct FjallFactory {
    _private: (),
}

impl EngineFactory for FjallFactory {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(FjallEngine {
            dir: dir.to_owned(),
            open: RwLock::new(Some(Open::new(dir)?)),
        }))
    }
}

struct FjallEngine {
    dir: PathBuf,
    open: RwLock<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    records: Keyspace,
    database: Database,
}

impl Open {
    fn new(dir: &Path) -> Result<Self, EngineError> {
        guarded(|| {
            let database = Database::builder(dir)
                .cache_size(CACHE_BYTES)
                .max_cached_files(Some(FILES_MAX))
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .manual_journal_persist(true)
                .worker_threads(1)
                .open()
                .map_err(classify)?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
            let records = database.keyspace(KEYSPACE, options).map_err(classify)?;
            // The directories of new keyspaces; fjall syncs what is in them, and not their own names.
            sync_names(dir).map_err(EngineError::Io)?;
            Ok(Self { records, database })
        })
    }
}

impl FjallEngine {
    fn with<T>(&self, work: impl FnOnce(&Open) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let open = self.open.read();
        let open = open
            .as_ref()
            .ok_or_else(|| EngineError::Io(std::io::Error::other("the engine did not reopen")))?;
        guarded(|| work(open))
    }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.with(|open| {
            Ok(open
                .records
                .get(key)
                .map_err(classify)?
                .map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        if limit == 0 || (!end.is_empty() && start >= end) {
            return Ok(Vec::new());
        }
        self.with(|open| {
            let pairs = if end.is_empty() {
                open.records.range(start..)
            } else {
                open.records.range(start..end)
            };
            let copy = |pair: fjall::Guard| {
                let (key, value) = pair.into_inner().map_err(classify)?;
                Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
            };
            pairs.take(limit).map(copy).collect()
        })
    }

    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError> {
        self.with(|open| {
            for changes in batch.chunks(COMMIT_CHANGES) {
                let mut commit = open.database.batch();
                for (key, value) in changes {
                    match value {
                        Some(value) => commit.insert(&open.records, &key[..], &value[..]),
                        None => commit.remove(&open.records, &key[..]),
                    }
                }
                commit.commit().map_err(classify)?;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.with(|open| open.database.persist(PersistMode::SyncAll).map_err(classify))
    }

    fn reopen(&self) -> Result<(), EngineError> {
        let mut open = self.open.write();
        // The old one first: it holds the directory's lock.
        drop(open.take());
        *open = Some(Open::new(&self.dir)?);
        Ok(())
    }

    fn memory_bytes(&self) -> u64 {
        self.with(|open| Ok(open.database.write_buffer_size()))
            .unwrap_or_default()
    }
}

/// fjall names damage by many variants; only the disk's own errors are not damage.
fn classify(error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Io(error) => super::classify(error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => super::classify(error),
        fjall::Error::Locked => EngineError::Io(std::io::ErrorKind::WouldBlock.into()),
        fjall::Error::Poisoned => EngineError::Io(std::io::Error::other("an earlier write failed")),
        other => EngineError::Damaged(format!("{other:?}")),
    }
}
