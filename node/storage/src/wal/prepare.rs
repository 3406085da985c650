//! Segment files before and after their use: zero-written ahead of need, recycled when nothing in them is needed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use spine_mutants::mutant;

use super::segment::{HEAD_BYTES, segment_path, spare_name, write_head};
use crate::disk::{Disk, DiskFile};

/// Bytes written at a time.
const ZERO_CHUNK_BYTES: usize = 1024 * 1024;
/// Retired files kept for reuse; more are removed.
const SPARES_MAX: usize = 2;

/// A segment ready for its first record: its file, head and name are durable.
pub(super) struct Prepared {
    pub(super) segment: u64,
    pub(super) file: Arc<dyn DiskFile>,
}

/// The segment that follows those in use.
struct Next {
    segment: u64,
    ready: Option<Prepared>,
    /// Nothing is made any more: whoever opens the log next makes it.
    ended: bool,
}

/// Makes and recycles segment files.
pub(super) struct Preparer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store_uuid: [u8; 16],
    segment_bytes: u64,
    /// Held while a segment is made. Never take it while holding `spares`.
    next: Mutex<Next>,
    spares: Mutex<Vec<String>>,
}

impl Preparer {
    /// Makes segments from `first_segment` on.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        store_uuid: [u8; 16],
        segment_bytes: u64,
        first_segment: u64,
    ) -> Self {
        let next = Mutex::new(Next {
            segment: first_segment,
            ready: None,
            ended: false,
        });
        Self {
            disk,
            dir,
            store_uuid,
            segment_bytes,
            next,
            spares: Mutex::new(Vec::new()),
        }
    }

    /// What a recovery found: the last segment in use, perhaps a prepared one behind it, and spare files.
    pub(super) fn adopt(&self, last_segment: u64, ready: Option<Prepared>, spares: Vec<String>) {
        *self.next.lock() = Next {
            segment: last_segment + 1,
            ready,
            ended: false,
        };
        *self.spares.lock() = spares;
    }

    /// Whether [`Preparer::prepare`] has something to do and nobody is at it.
    pub(super) fn is_wanted(&self) -> bool {
        self.next
            .try_lock()
            .is_some_and(|next| next.ready.is_none() && !next.ended)
    }

    /// Makes the next segment ready unless it is. Slow: not for the commit path.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut next = self.next.lock();
        if next.ready.is_none() && !next.ended {
            next.ready = Some(self.make(next.segment)?);
        }
        Ok(())
    }

    /// Ends [`Preparer::prepare`], waiting for one that is under way.
    pub(super) fn end(&self) {
        self.next.lock().ended = true;
    }

    /// Takes the next segment; makes it here if it is not ready, which the flag tells.
    pub(super) fn take(&self) -> io::Result<(Prepared, bool)> {
        let mut next = self.next.lock();
        let late = next.ready.is_none();
        let prepared = match next.ready.take() {
            Some(prepared) => prepared,
            None => self.make(next.segment)?,
        };
        next.segment += 1;
        Ok((prepared, late))
    }

    fn make(&self, segment: u64) -> io::Result<Prepared> {
        let path = segment_path(&self.dir, segment);
        if self.disk.exists(&path)? {
            return Err(io::Error::other("a log segment of this number is there already"));
        }
        let (name, file) = match self.take_spare()? {
            Some(spare) => spare,
            None => self.make_file(segment)?,
        };
        let named = self.name(&name, file.as_ref(), segment);
        if named.is_err() && self.disk.exists(&self.dir.join(&name))? {
            // Nothing counts on this file yet: what a failed sync left in it is not used again.
            self.disk.remove_file(&self.dir.join(&name))?;
        }
        named?;
        Ok(Prepared { segment, file })
    }

    fn name(&self, name: &str, file: &dyn DiskFile, segment: u64) -> io::Result<()> {
        write_head(file, &self.store_uuid, segment)?;
        file.sync_data()?;
        self.disk
            .rename(&self.dir.join(name), &segment_path(&self.dir, segment))?;
        if mutant!("directory-not-synced") {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir)
    }

    fn take_spare(&self) -> io::Result<Option<(String, Arc<dyn DiskFile>)>> {
        loop {
            let Some(name) = self.spares.lock().pop() else {
                return Ok(None);
            };
            let file = self.disk.open(&self.dir.join(&name), false)?;
            if file.len()? == self.segment_bytes {
                return Ok(Some((name, file)));
            }
            // Half made, or of another configuration.
            self.disk.remove_file(&self.dir.join(&name))?;
        }
    }

    fn make_file(&self, segment: u64) -> io::Result<(String, Arc<dyn DiskFile>)> {
        let name = spare_name(segment);
        let path = self.dir.join(&name);
        if self.disk.exists(&path)? {
            self.disk.remove_file(&path)?;
        }
        let file = self.disk.open(&path, true)?;
        let written = self.write_zeros(file.as_ref());
        if let Err(error) = written {
            drop(file);
            self.disk.remove_file(&path)?;
            return Err(error);
        }
        Ok((name, file))
    }

    fn write_zeros(&self, file: &dyn DiskFile) -> io::Result<()> {
        let zeros = vec![0; ZERO_CHUNK_BYTES];
        let mut at = 0;
        while at < self.segment_bytes {
            let left = usize::try_from(self.segment_bytes - at).unwrap_or(ZERO_CHUNK_BYTES);
            let chunk = &zeros[..left.min(ZERO_CHUNK_BYTES)];
            file.write_all_at(chunk, at)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Takes a segment out of the log, durably: its file becomes a spare or goes. Oldest first, or the log would have
    /// a gap after a power cut. `reusable` says that nobody reads the file any more.
    pub(super) fn retire(&self, segment: u64, reusable: bool) -> io::Result<()> {
        let path = segment_path(&self.dir, segment);
        let mut spares = self.spares.lock();
        if reusable && spares.len() < SPARES_MAX {
            let name = spare_name(segment);
            self.disk.rename(&path, &self.dir.join(&name))?;
            spares.push(name);
        } else {
            self.disk.remove_file(&path)?;
        }
        drop(spares);
        self.disk.sync_dir(&self.dir)
    }

    /// Bytes of a segment that records can use.
    pub(super) fn usable_bytes(&self) -> u64 {
        self.segment_bytes - u64::from(HEAD_BYTES)
    }
}
