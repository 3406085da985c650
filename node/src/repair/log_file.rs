//! A damaged log: nobody knows which votes it held, so no replica may go on with it.

use std::io;
use std::path::Path;

use spine_storage::disk::Disk;

/// What a damaged log becomes, beside where it was: evidence, and the last resort of a cluster that lost its majority.
pub const SET_ASIDE: &str = "wal.damaged";

/// Puts a damaged log out of the way, for a new one. Every replica that had a log in it is lost from then on. One that
/// was set aside before goes.
///
/// # Errors
/// What the disk says.
pub fn set_aside(disk: &dyn Disk, wal: &Path) -> io::Result<()> {
    let data = wal.parent().unwrap_or(wal);
    let to = data.join(SET_ASIDE);
    if disk.exists(&to)? {
        disk.remove_dir_all(&to)?;
    }
    disk.rename(wal, &to)?;
    disk.sync_dir(data)
}
