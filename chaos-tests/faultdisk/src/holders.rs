//! Processes that have a file of the disk open.

use std::fs;
use std::path::Path;
use std::process;

use rustix::process::{Pid, Signal, getppid, kill_process};

/// Ends at once every process that has something open below `directory`, except this one and its parent.
///
/// The directory is a mount of our own, so whoever uses it was started for it.
pub(crate) fn kill(directory: &Path) {
    let parent = getppid().map(Pid::as_raw_nonzero);
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for entry in processes.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        let own = pid.as_raw_nonzero().get().unsigned_abs() == process::id();
        if own || Some(pid.as_raw_nonzero()) == parent || !uses(&entry.path(), directory) {
            continue;
        }
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn uses(process: &Path, directory: &Path) -> bool {
    let Ok(open) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    open.flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(directory)))
}
