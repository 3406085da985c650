//! A segment's bytes, a part at a time: a start takes a part's memory and not a segment's, whose pages would be new ones.

use std::io;

use crate::disk::DiskFile;

/// Bytes of a part, unless more are asked for at once. Stays in a processor's cache.
const PART_BYTES: usize = 256 * 1024;

/// The part of a file that was asked for last.
pub(super) struct Window<'a> {
    pub(super) file: &'a dyn DiskFile,
    file_bytes: u64,
    start: u64,
    part: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self {
            file,
            file_bytes: file.len()?,
            start: 0,
            part: Vec::new(),
        })
    }

    /// So many bytes from `offset` on, or those that there are.
    pub(super) fn at(&mut self, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.file_bytes.saturating_sub(offset)).map_err(io::Error::other)?;
        let bytes = bytes.min(left);
        if bytes == 0 {
            return Ok(&[]);
        }
        if !self.holds(offset, bytes) {
            self.part.resize(bytes.max(PART_BYTES).min(left), 0);
            self.start = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.part, offset) {
                self.part.clear();
                return Err(error);
            }
        }
        let first = usize::try_from(offset - self.start).map_err(io::Error::other)?;
        Ok(&self.part[first..first + bytes])
    }

    fn holds(&self, offset: u64, bytes: usize) -> bool {
        let end = self.start + self.part.len() as u64;
        self.start <= offset && offset + bytes as u64 <= end
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, RealDisk, SimDisk};

    #[test]
    fn every_part_is_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let simulated = SimDisk::new(1);
        simulated.create_dir_all(dir.path()).unwrap();
        for disk in [&RealDisk as &dyn Disk, &simulated] {
            parts(disk, &dir.path().join("file"));
        }
    }

    fn parts(disk: &dyn Disk, path: &Path) {
        let content: Vec<u8> = (0..251_u8).cycle().take(3 * PART_BYTES + 5).collect();
        let file = disk.open(path, true).unwrap();
        file.write_all_at(&content, 0).unwrap();
        let mut window = Window::new(file.as_ref()).unwrap();
        let end = content.len();
        let asked = [
            (0, 32),
            (PART_BYTES - 8, 32),
            (PART_BYTES - 8, 2 * PART_BYTES),
            (16, 16),
            (end - 4, 32),
            (end, 32),
            (end + 9, 32),
            (0, 2 * end),
        ];
        for (offset, bytes) in asked {
            let right = &content[offset.min(end)..(offset + bytes).min(end)];
            let found = window.at(offset as u64, bytes).unwrap();
            assert!(found == right, "{bytes} bytes at {offset}");
        }
    }
}
