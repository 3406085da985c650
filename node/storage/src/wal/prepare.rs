//! Segment files before and after their use: zero-written ahead of need, recycled when nothing in them is needed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

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

/// Makes and recycles segment files.
pub(super) struct Preparer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store_uuid: [u8; 16],
    segment_bytes: u64,
    /// Held while a segment is made. Never take it while holding `spares`.
    ready: Mutex<Option<Prepared>>,
    spares: Mutex<Vec<String>>,
}

impl Preparer {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, store_uuid: [u8; 16], segment_bytes: u64) -> Self {
        Self {
            disk,
            dir,
            store_uuid,
            segment_bytes,
            ready: Mutex::new(None),
            spares: Mutex::new(Vec::new()),
        }
    }

    /// What a recovery found: a prepared segment, and spare files.
    pub(super) fn adopt(&self, ready: Option<Prepared>, spares: Vec<String>) {
        *self.ready.lock() = ready;
        *self.spares.lock() = spares;
    }

    /// Makes a segment ready unless one is. Slow: not for the commit path.
    pub(super) fn prepare(&self, segment: u64) -> io::Result<()> {
        let mut ready = self.ready.lock();
        if ready.is_none() {
            *ready = Some(self.make(segment)?);
        }
        Ok(())
    }

    /// Takes the ready segment; makes it here if there is none. The flag says that it was not ready.
    pub(super) fn take(&self, segment: u64) -> io::Result<(Prepared, bool)> {
        let mut ready = self.ready.lock();
        match ready.take() {
            Some(prepared) if prepared.segment == segment => Ok((prepared, false)),
            Some(prepared) => Err(io::Error::other(format!(
                "segment {} is prepared where {segment} is needed",
                prepared.segment
            ))),
            None => Ok((self.make(segment)?, true)),
        }
    }

    fn make(&self, segment: u64) -> io::Result<Prepared> {
        let (name, file) = match self.take_spare()? {
            Some(spare) => spare,
            None => self.make_file(segment)?,
        };
        write_head(file.as_ref(), &self.store_uuid, segment)?;
        file.sync_data()?;
        self.disk
            .rename(&self.dir.join(name), &segment_path(&self.dir, segment))?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Prepared { segment, file })
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
