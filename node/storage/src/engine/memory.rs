//! A map in memory with its durable image in files of a [`Disk`]: the engine of the simulator.
//!
//! `MANIFEST` names the journal and how much of it was synced; `journal-N` holds frames of changes. A power cut loses
//! exactly what was not synced, and a synced byte that is not there any more is noticed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use parking_lot::RwLock;

use super::{
    Change, Engine, EngineError, EngineFactory, classify, read_frames, unwrap_one, wrap_one, write_frame,
};
use crate::disk::{Disk, DiskFile};

/// A journal longer than this and than [`JOURNAL_IMAGE_RATIO`] times its content is written anew, in bytes.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024;
const JOURNAL_IMAGE_RATIO: u64 = 4;
const MANIFEST: &str = "MANIFEST";
/// Marks a removed key in place of a value's length.
const REMOVED: u32 = u32::MAX;

/// Opens memory engines whose images live on one disk.
pub struct MemoryFactory {
    disk: Arc<dyn Disk>,
}

impl MemoryFactory {
    /// A factory over `disk`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }
}

impl EngineFactory for MemoryFactory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        let image = Image::load(Arc::clone(&self.disk), dir)?;
        Ok(Box::new(MemoryEngine {
            image: RwLock::new(image),
        }))
    }
}

struct MemoryEngine {
    image: RwLock<Image>,
}

struct Image {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    map: BTreeMap<Bytes, Bytes>,
    map_bytes: u64,
    journal: Arc<dyn DiskFile>,
    number: u64,
    len: u64,
    synced_len: u64,
    failed: bool,
}

impl Image {
    fn load(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, EngineError> {
        disk.create_dir_all(dir)?;
        let manifest = dir.join(MANIFEST);
        let (number, synced_len) = if disk.exists(&manifest)? {
            let bytes = disk.read(&manifest).map_err(classify)?;
            let mut content = unwrap_one(&bytes, MANIFEST)?;
            if content.len() != 16 {
                return Err(EngineError::Damaged("MANIFEST has another length".into()));
            }
            (content.get_u64_le(), content.get_u64_le())
        } else {
            (0, 0)
        };
        remove_others(disk.as_ref(), dir, number)?;
        let path = journal_path(dir, number);
        let fresh = !disk.exists(&path)?;
        if fresh && synced_len > 0 {
            return Err(EngineError::Damaged("the journal is missing".into()));
        }
        let journal = disk.open(&path, fresh)?;
        let mut image = Self {
            disk,
            dir: dir.to_owned(),
            map: BTreeMap::new(),
            map_bytes: 0,
            journal,
            number,
            len: 0,
            synced_len,
            failed: false,
        };
        image.replay()?;
        Ok(image)
    }

    fn replay(&mut self) -> Result<(), EngineError> {
        let size = usize::try_from(self.journal.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; size];
        self.journal.read_exact_at(&mut bytes, 0).map_err(classify)?;
        let used = read_frames(&bytes, |frame| self.replay_frame(frame))?;
        self.len = u64::try_from(used).map_err(io::Error::other)?;
        if self.len < self.synced_len {
            return Err(EngineError::Damaged(
                "a synced part of the journal is gone".into(),
            ));
        }
        if used < size {
            // A torn tail; cut off, so that nothing written later meets it.
            self.journal.set_len(self.len)?;
        }
        Ok(())
    }

    fn replay_frame(&mut self, mut frame: &[u8]) -> Result<(), EngineError> {
        let broken = || EngineError::Damaged("a journal frame does not parse".into());
        while !frame.is_empty() {
            let key_len = frame.try_get_u32_le().map_err(|_| broken())?;
            let value_len = frame.try_get_u32_le().map_err(|_| broken())?;
            let key = take(&mut frame, key_len).ok_or_else(broken)?;
            let value = if value_len == REMOVED {
                None
            } else {
                Some(take(&mut frame, value_len).ok_or_else(broken)?)
            };
            self.set(key, value);
        }
        Ok(())
    }

    fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        let key_len = key.len();
        let size = |value: &Bytes| u64::try_from(key_len + value.len()).unwrap_or_default();
        let added = value.as_ref().map_or(0, size);
        let old = match value {
            Some(value) => self.map.insert(key, value),
            None => self.map.remove(&key),
        };
        self.map_bytes = self.map_bytes + added - old.as_ref().map_or(0, size);
    }

    fn write(&mut self, batch: &[Change]) -> Result<(), EngineError> {
        self.check()?;
        for changes in batch.chunks(64) {
            let mut frame = Vec::new();
            write_frame(&mut frame, &encode(changes));
            let written = self.journal.write_all_at(&frame, self.len);
            self.latch(written)?;
            self.len += u64::try_from(frame.len()).map_err(io::Error::other)?;
        }
        for (key, value) in batch {
            self.set(key.clone(), value.clone());
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.check()?;
        let synced = if self.len > JOURNAL_BYTES_MIN && self.len > JOURNAL_IMAGE_RATIO * self.map_bytes {
            self.rewrite()
        } else {
            self.journal.sync_data().and_then(|()| self.mark())
        };
        self.latch(synced)
    }

    /// Writes the whole map into a new journal and switches to it.
    fn rewrite(&mut self) -> io::Result<()> {
        let next = self.number + 1;
        let mut bytes = Vec::new();
        let pairs: Vec<Change> = self
            .map
            .iter()
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect();
        for changes in pairs.chunks(64) {
            write_frame(&mut bytes, &encode(changes));
        }
        let journal = self.disk.open(&journal_path(&self.dir, next), true)?;
        journal.write_all_at(&bytes, 0)?;
        journal.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        let old = journal_path(&self.dir, self.number);
        self.journal = journal;
        self.number = next;
        self.len = u64::try_from(bytes.len()).map_err(io::Error::other)?;
        self.mark()?;
        self.disk.remove_file(&old)
    }

    fn mark(&mut self) -> io::Result<()> {
        let mut content = Vec::with_capacity(16);
        content.put_u64_le(self.number);
        content.put_u64_le(self.len);
        self.disk
            .write_atomic(&self.dir.join(MANIFEST), &wrap_one(&content))?;
        self.synced_len = self.len;
        Ok(())
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.failed {
            Err(io::Error::other("an earlier write failed").into())
        } else {
            Ok(())
        }
    }

    fn latch(&mut self, result: io::Result<()>) -> Result<(), EngineError> {
        self.failed |= result.is_err();
        Ok(result?)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.image.read().map.get(key).cloned())
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        if !end.is_empty() && start >= end {
            return Ok(Vec::new());
        }
        let end = if end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(end)
        };
        let image = self.image.read();
        let pairs = image.map.range::<[u8], _>((Bound::Included(start), end));
        Ok(pairs
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError> {
        self.image.write().write(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.image.write().sync()
    }

    fn reopen(&self) -> Result<(), EngineError> {
        let mut image = self.image.write();
        image.check()?;
        *image = Image::load(Arc::clone(&image.disk), &image.dir.clone())?;
        Ok(())
    }

    /// The map is the database: a reopen gives nothing back.
    fn memory_bytes(&self) -> u64 {
        0
    }
}

fn journal_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("journal-{number}"))
}

/// Removes what an interrupted rewrite left.
fn remove_others(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    let keep = format!("journal-{number}");
    for name in disk.list(dir)? {
        if name.starts_with("journal-") && name != keep {
            disk.remove_file(&dir.join(name))?;
        }
    }
    Ok(())
}

fn encode(changes: &[Change]) -> Vec<u8> {
    let size =
        |bytes: &Bytes| u32::try_from(bytes.len()).expect("keys and records are bounded far below 4 GiB");
    let mut out = Vec::new();
    for (key, value) in changes {
        out.put_u32_le(size(key));
        out.put_u32_le(value.as_ref().map_or(REMOVED, size));
        out.put_slice(key);
        out.put_slice(value.as_deref().unwrap_or_default());
    }
    out
}

fn take(frame: &mut &[u8], len: u32) -> Option<Bytes> {
    let (taken, rest) = frame.split_at_checked(usize::try_from(len).ok()?)?;
    *frame = rest;
    Some(Bytes::copy_from_slice(taken))
}
