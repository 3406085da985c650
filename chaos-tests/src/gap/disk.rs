//! What the machine's disk does meanwhile: one small overwrite after another, each made durable, beside the nodes' own.
//! A gap that the disk made is told from one that the cluster made.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Of the file, written once before: its overwrites change nothing but its blocks.
const BLOCKS: u64 = 64;
const BLOCK: [u8; 4_096] = [0x5a; 4_096];
/// Between two syncs. The nodes make hundreds in a second.
const EVERY: Duration = Duration::from_millis(20);

/// Dropping it ends the thread.
pub(super) struct DiskProbe {
    slowest: Arc<Mutex<Duration>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DiskProbe {
    /// Begins in this directory.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn start(directory: &Path) -> io::Result<Self> {
        let path = directory.join("disk-probe");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)?;
        for block in 0..BLOCKS {
            file.write_all_at(&BLOCK, block * 4_096)?;
        }
        file.sync_all()?;
        let (slowest, stop) = (Arc::<Mutex<Duration>>::default(), Arc::<AtomicBool>::default());
        let (told, stopped) = (Arc::clone(&slowest), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("disk-probe".into())
            .spawn(move || sync_again_and_again(&file, &told, &stopped))?;
        Ok(Self {
            slowest,
            stop,
            thread: Some(thread),
        })
    }

    /// The slowest write with its sync since the last question.
    pub(super) fn take(&self) -> Duration {
        std::mem::take(&mut *self.slowest.lock())
    }
}

impl Drop for DiskProbe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

fn sync_again_and_again(file: &File, told: &Mutex<Duration>, stopped: &AtomicBool) {
    let mut turn = 0;
    while !stopped.load(Ordering::Relaxed) {
        let began = Instant::now();
        let block = turn % BLOCKS;
        let written = file.write_all_at(&BLOCK, block * 4_096);
        if written.and_then(|()| file.sync_data()).is_err() {
            // A disk that fails shows in what the nodes say.
            return;
        }
        let took = began.elapsed();
        let mut slowest = told.lock();
        *slowest = took.max(*slowest);
        drop(slowest);
        turn += 1;
        thread::sleep(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_sync_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let probe = DiskProbe::start(directory.path()).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while probe.take().is_zero() {
            assert!(Instant::now() < end, "a sync takes no ten seconds");
            thread::sleep(EVERY);
        }
        drop(probe);
    }
}
