//! What the machine's disk does meanwhile: one small overwrite after another, each made durable, beside the nodes' own.
//! A gap that the disk made is told from one that the cluster made. Whose writes slow the disk down it cannot tell: where
//! many events are set aside, look at what the nodes write.

use std::collections::VecDeque;
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

/// Syncs that take less are as they should be, and not kept.
const KEPT_FROM: Duration = Duration::from_millis(2);
/// The oldest go first.
const KEPT: usize = 65_536;

/// A sync that took its time.
struct Slow {
    began: Instant,
    took: Duration,
}

/// Dropping it ends the thread.
pub(super) struct DiskProbe {
    slow: Arc<Mutex<VecDeque<Slow>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
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
        let (slow, stop) = (
            Arc::<Mutex<VecDeque<Slow>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (told, stopped) = (Arc::clone(&slow), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("disk-probe".into())
            .spawn(move || sync_again_and_again(&file, &told, &stopped))?;
        Ok(Self {
            slow,
            stop,
            thread: Some(thread),
        })
    }

    /// The slowest write with its sync that was under way at any time since then; zero where none was slow.
    pub(super) fn slowest_since(&self, since: Instant) -> Duration {
        let slow = self.slow.lock();
        let late = slow
            .iter()
            .rev()
            .take_while(|sync| sync.began + sync.took >= since);
        late.map(|sync| sync.took).max().unwrap_or_default()
    }
}

impl DiskProbe {
    /// Ends it and tells how many syncs it made.
    fn end(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        // It does not panic.
        thread.map_or(0, |thread| thread.join().unwrap_or(0))
    }
}

impl Drop for DiskProbe {
    fn drop(&mut self) {
        self.end();
    }
}

fn sync_again_and_again(file: &File, told: &Mutex<VecDeque<Slow>>, stopped: &AtomicBool) -> u64 {
    let mut turn = 0;
    while !stopped.load(Ordering::Relaxed) {
        let began = Instant::now();
        let block = turn % BLOCKS;
        let written = file.write_all_at(&BLOCK, block * 4_096);
        if written.and_then(|()| file.sync_data()).is_err() {
            // A disk that fails shows in what the nodes say.
            return turn;
        }
        keep(&mut told.lock(), began, began.elapsed());
        turn += 1;
        thread::sleep(EVERY);
    }
    turn
}

fn keep(slow: &mut VecDeque<Slow>, began: Instant, took: Duration) {
    if took < KEPT_FROM {
        return;
    }
    if slow.len() == KEPT {
        slow.pop_front();
    }
    slow.push_back(Slow { began, took });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sync_is_told_for_as_long_as_it_was_under_way() {
        let ms = Duration::from_millis;
        let began = Instant::now();
        let slow = Arc::<Mutex<VecDeque<Slow>>>::default();
        for (at, took) in [(0, 1), (100, 30), (200, 2), (300, 5)] {
            keep(&mut slow.lock(), began + ms(at), ms(took));
        }
        let probe = DiskProbe {
            slow,
            stop: Arc::default(),
            thread: None,
        };
        let slowest = [0, 130, 131, 305, 306].map(|since| probe.slowest_since(began + ms(since)));
        assert_eq!(slowest, [ms(30), ms(30), ms(5), ms(5), ms(0)]);
    }

    #[test]
    fn the_disk_is_asked_until_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut probe = DiskProbe::start(directory.path()).unwrap();
        thread::sleep(EVERY * 10);
        assert!(probe.end() >= 2, "one sync after the other");
        assert_eq!(probe.end(), 0, "it has ended");
    }
}
