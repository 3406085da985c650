//! Names that engines make while they open and do not sync.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes the names in a directory and in all directories below it durable.
pub(super) fn sync_names(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_names(&entry.path())?;
        }
    }
    File::open(dir)?.sync_all()
}
