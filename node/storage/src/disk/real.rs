//! The disk of the machine.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile};

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The machine's disk, ready to share.
    #[must_use]
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

struct RealFile(File);

/// What an unbuffered write wants its memory aligned to: the largest block of the disks in use.
#[cfg(target_os = "linux")]
const DIRECT_ALIGN_BYTES: usize = 4096;

impl RealFile {
    /// Writes zeros from memory to the disk. Through the cache they are copied like what is written over them later, and
    /// are as much of it.
    #[cfg(target_os = "linux")]
    fn write_zeros_unbuffered(&self, len: usize, offset: u64) -> io::Result<()> {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

        let memory = vec![0; len + DIRECT_ALIGN_BYTES];
        let aligned = memory.as_ptr().align_offset(DIRECT_ALIGN_BYTES);
        let zeros = memory
            .get(aligned..aligned.saturating_add(len))
            .ok_or(io::ErrorKind::Unsupported)?;
        let flags = fcntl_getfl(&self.0)?;
        fcntl_setfl(&self.0, flags | OFlags::DIRECT)?;
        let written = self.0.write_all_at(zeros, offset);
        fcntl_setfl(&self.0, flags)?;
        written
    }

    #[cfg(not(target_os = "linux"))]
    fn write_zeros_unbuffered(&self, _len: usize, _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl DiskFile for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn write_zeros_at(&self, len: usize, offset: u64) -> io::Result<()> {
        match self.write_zeros_unbuffered(len, offset) {
            // A file system that knows no such writes, or wants them aligned in another way.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                self.write_all_at(&vec![0; len], offset)
            }
            done => done,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// An empty parent means the working directory.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
            .collect();
        fs::create_dir_all(path)?;
        missing
            .iter()
            .rev()
            .try_for_each(|dir| self.sync_dir(parent(dir)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            names.push(
                name.into_string()
                    .map_err(|_| io::Error::other("a file name is not UTF-8"))?,
            );
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let dir = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_there_whatever_was_before_and_other_writes_go_on_as_usual() {
        const LEN: usize = 64 * 1024;
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("file"), true).unwrap();
        file.write_all_at(&[7; 2 * LEN], 0).unwrap();
        file.write_zeros_at(LEN, 4096).unwrap();
        // Neither aligned nor whole blocks.
        file.write_all_at(&[9; 5], 4099).unwrap();
        let mut content = vec![1; 2 * LEN];
        file.read_exact_at(&mut content, 0).unwrap();
        let mut expected = vec![7; 2 * LEN];
        expected[4096..4096 + LEN].fill(0);
        expected[4099..4104].fill(9);
        assert!(content == expected);
    }

    #[test]
    fn zeros_extend_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("file"), true).unwrap();
        file.write_zeros_at(8192, 0).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
    }
}
