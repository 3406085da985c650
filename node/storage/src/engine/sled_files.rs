//! What sled 1.0 alpha leaves undone with its own files.
//!
//! Opening writes `durability_cookie` and creates the next metadata log, and makes neither durable by itself: it runs
//! the program `sync` and goes on where there is none. A power cut may then leave an empty cookie, which sled refuses.
//! And where it finds a metadata snapshot without a later log, it rewrites the snapshot under the same name and
//! removes that name as the old one: all leaves but those written afterwards are gone. So a later log is always there.
//!
//! A process that was killed may leave a metadata log that the kernel has whole and the disk has not. Opening reads it as
//! whole and writes on behind it, in the next log; after a power cut the first would end early, and the second would be
//! applied to less than it was written for. So what opening will read is made durable before. (The leaves that a log
//! names were, before the log was written.)

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::dirs::sync_names;

const COOKIE: &str = "durability_cookie";
const METADATA_DIR: &str = "metadata";
const SNAPSHOT_PREFIX: &str = "snapshot_";
const LOG_PREFIX: &str = "log_";

/// Before sled opens `dir`: makes durable the logs that it will read, and makes the log that a cut took, so that the
/// snapshot in front of it stays.
pub(super) fn before_open(dir: &Path) -> io::Result<()> {
    let metadata = dir.join(METADATA_DIR);
    let names = match fs::read_dir(&metadata) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let numbers = |prefix: &'static str| {
        let names = names.iter().filter_map(|name| name.to_str());
        names.filter_map(move |name| u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok())
    };
    for log in numbers(LOG_PREFIX) {
        File::open(log_path(&metadata, log))?.sync_all()?;
    }
    let newest = |prefix| numbers(prefix).max();
    let Some(snapshot) = newest(SNAPSHOT_PREFIX) else {
        return Ok(());
    };
    if newest(LOG_PREFIX).is_none_or(|log| log <= snapshot) {
        let log = log_path(&metadata, snapshot + 1);
        OpenOptions::new().write(true).create_new(true).open(log)?;
        File::open(metadata)?.sync_all()?;
    }
    Ok(())
}

fn log_path(metadata: &Path, number: u64) -> PathBuf {
    metadata.join(format!("{LOG_PREFIX}{number:016x}"))
}

/// After sled opened `dir`: makes durable what it made.
pub(super) fn after_open(dir: &Path) -> io::Result<()> {
    File::open(dir.join(COOKIE))?.sync_all()?;
    sync_names(dir)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::{Change, Engine, EngineFactory, SledFactory};

    const RECORDS: u32 = 3_000;

    fn key(number: u32) -> Bytes {
        Bytes::from(format!("key-{number:06}"))
    }

    fn put(engine: &dyn Engine, numbers: impl Iterator<Item = u32>) {
        let batch: Vec<Change> = numbers.map(|number| (key(number), Some(key(number)))).collect();
        engine.write_sorted(&batch).unwrap();
        engine.sync().unwrap();
    }

    /// The new log's name goes with the power, or the process is killed just before it makes it.
    fn take_the_log(dir: &Path) {
        for entry in fs::read_dir(dir.join(METADATA_DIR)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(LOG_PREFIX)
            {
                assert_eq!(fs::metadata(&path).unwrap().len(), 0, "only an empty log may go");
                fs::remove_file(path).unwrap();
            }
        }
    }

    #[test]
    fn a_snapshot_without_a_later_log_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let open = || SledFactory::default().open(dir.path()).unwrap();
        let engine = open();
        put(engine.as_ref(), 0..RECORDS);
        drop(engine);
        drop(open());
        take_the_log(dir.path());
        let engine = open();
        put(engine.as_ref(), 0..1);
        drop(engine);
        let engine = open();
        let found = engine.range(b"", b"", usize::MAX).unwrap();
        assert_eq!(found.len(), RECORDS as usize);
    }
}
