//! A small file that is kept twice: where the one is damaged or gone, the other takes its place. The copy is written first,
//! so it is never older.

use std::io;
use std::path::{Path, PathBuf};

use spine_storage::disk::Disk;

const DIGEST_BYTES: usize = 32;

fn copy_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}-copy"))
}

/// Durable on return.
///
/// # Errors
/// What the disk says.
pub(crate) fn write(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let digest = blake3::hash(content);
    let bytes = [content, digest.as_bytes()].concat();
    disk.write_atomic(&copy_of(path), &bytes)?;
    disk.write_atomic(path, &bytes)
}

/// What was written last; `None` where nothing was.
///
/// # Errors
/// `InvalidData` where neither file is what was written; what the disk says.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let (first, copy) = (read_one(disk, path)?, read_one(disk, &copy_of(path))?);
    match (first, copy) {
        (Found::Sound(first), Found::Sound(_)) => Ok(Some(first)),
        (Found::Nothing, Found::Nothing) => Ok(None),
        (Found::Sound(sound), _) | (_, Found::Sound(sound)) => {
            tracing::error!(file = %path.display(), "a file was damaged or gone; it is mended from its copy");
            write(disk, path, &sound)?;
            Ok(Some(sound))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} and its copy are damaged", path.display()),
        )),
    }
}

/// Removes both files, if they are there.
///
/// # Errors
/// What the disk says.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    // First the one that would otherwise be mended from the other.
    for path in [path.to_path_buf(), copy_of(path)] {
        if disk.exists(&path)? {
            disk.remove_file(&path)?;
        }
    }
    path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
}

enum Found {
    Nothing,
    Damaged,
    Sound(Vec<u8>),
}

fn read_one(disk: &dyn Disk, path: &Path) -> io::Result<Found> {
    if !disk.exists(path)? {
        return Ok(Found::Nothing);
    }
    let mut bytes = disk.read(path)?;
    let Some(at) = bytes.len().checked_sub(DIGEST_BYTES) else {
        return Ok(Found::Damaged);
    };
    let digest = bytes.split_off(at);
    if blake3::hash(&bytes).as_bytes()[..] == digest {
        Ok(Found::Sound(bytes))
    } else {
        Ok(Found::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use spine_storage::disk::SimDisk;

    use super::*;

    #[test]
    fn either_file_is_enough_and_both_are_whole_again() {
        let disk = SimDisk::new(1);
        let path = Path::new("/data/FILE");
        disk.create_dir_all(Path::new("/data")).unwrap();
        assert_eq!(read(&disk, path).unwrap(), None);
        for content in ["first", "second"] {
            write(&disk, path, content.as_bytes()).unwrap();
            for spoilt in [path.to_path_buf(), copy_of(path)] {
                disk.corrupt(&spoilt, 3, 1).unwrap();
                assert_eq!(read(&disk, path).unwrap().as_deref(), Some(content.as_bytes()));
                disk.remove_file(&spoilt).unwrap();
                assert_eq!(read(&disk, path).unwrap().as_deref(), Some(content.as_bytes()));
                assert!(disk.exists(&spoilt).unwrap());
            }
        }
        disk.corrupt(path, 0, 1).unwrap();
        disk.corrupt(&copy_of(path), 0, 1).unwrap();
        assert_eq!(read(&disk, path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
