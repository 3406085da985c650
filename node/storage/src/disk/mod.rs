//! The disk as the storage layer sees it, so that a simulated one can lose, tear, fill and stall on order.

mod real;
mod sim;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use real::RealDisk;
pub use sim::{Counters, DiskImage, SimDisk, TraceEvent};

/// An open file. All methods take `&self`; offsets are absolute.
#[allow(
    clippy::len_without_is_empty,
    reason = "nobody asks whether a file is empty, and both would be fallible"
)]
pub trait DiskFile: Send + Sync {
    /// Reads exactly `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, or what the disk says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`; not durable before [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// What the disk says, for example `StorageFull`.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Writes `len` zeros at `offset`, both whole blocks of 4 KiB; not durable before [`DiskFile::sync_data`]. Nobody else
    /// may use the file meanwhile. They need not go through the cache of the operating system.
    ///
    /// # Errors
    /// What the disk says.
    fn write_zeros_at(&self, len: usize, offset: u64) -> io::Result<()> {
        self.write_all_at(&vec![0; len], offset)
    }
    /// Makes everything written durable (fdatasync). After an error nothing may be assumed and it is never retried.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;
}

/// A directory tree. A created, renamed or removed name is durable only after [`Disk::sync_dir`] of its directory.
pub trait Disk: Send + Sync {
    /// Opens for reading and writing; creates it if `create`, and then fails with `AlreadyExists` if it is there.
    ///
    /// # Errors
    /// What the disk says.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a directory and its parents, their names durable on return.
    ///
    /// # Errors
    /// What the disk says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; empty if it does not exist.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// # Errors
    /// What the disk says.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// # Errors
    /// What the disk says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// # Errors
    /// What the disk says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Whether a sync would hang now. Only a simulated disk knows; who drives one in virtual time waits while it holds.
    fn stalled(&self) -> bool {
        false
    }

    /// Reads a whole small file (metadata, never a log).
    ///
    /// # Errors
    /// What the disk says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, false)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut buf = vec![0; len];
        file.read_exact_at(&mut buf, 0)?;
        Ok(buf)
    }

    /// Replaces a small file so that a crash leaves the old or the new content, durable on return.
    ///
    /// # Errors
    /// What the disk says.
    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let dir = path.parent().map(PathBuf::from).unwrap_or_default();
        let tmp = path.with_extension("tmp");
        if self.exists(&tmp)? {
            self.remove_file(&tmp)?;
        }
        let file = self.open(&tmp, true)?;
        file.write_all_at(content, 0)?;
        file.sync_data()?;
        self.rename(&tmp, path)?;
        self.sync_dir(&dir)
    }
}
