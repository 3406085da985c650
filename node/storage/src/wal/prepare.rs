//! Segment files before and after their use: zero-written ahead of need, recycled when nothing in them is needed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use spine_mutants::mutant;

use super::segment::{HEAD_BYTES, segment_path, spare_name, write_head};
use crate::disk::{Disk, DiskFile};

/// Bytes written at a time.
const ZERO_CHUNK_BYTES: usize = 1024 * 1024;
/// Rest after each of them while nobody waits for the file. A whole segment in one go keeps the disk from the syncs of
/// this node's log, and of others on the same machine, for 50 ms; so it lasts 2 s, and a segment lasts longer than that.
const ZERO_PAUSE: Duration = Duration::from_millis(25);
/// Retired files kept for reuse; more are removed.
const SPARES_MAX: usize = 2;

/// A segment ready for its first record: its file, head and name are durable.
pub(super) struct Prepared {
    pub(super) segment: u64,
    pub(super) file: Arc<dyn DiskFile>,
}

/// The segment that follows those in use.
struct Next {
    segment: u64,
    ready: Option<Prepared>,
}

/// How a file is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Piece by piece, each durable before the next, with rests: for a thread of its own.
    Calm,
    /// Somebody waits, or time is simulated.
    Hurried,
}

/// Makes and recycles segment files.
pub(super) struct Preparer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store_uuid: [u8; 16],
    segment_bytes: u64,
    /// Held while a segment is made. Never take it while holding `spares`.
    next: Mutex<Next>,
    spares: Mutex<Vec<String>>,
    /// Somebody waits for the segment that is being made.
    awaited: AtomicBool,
    /// Nothing is made any more: whoever opens the log next makes it.
    ended: AtomicBool,
}

impl Preparer {
    /// Makes segments from `first_segment` on.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        store_uuid: [u8; 16],
        segment_bytes: u64,
        first_segment: u64,
    ) -> Self {
        let next = Mutex::new(Next {
            segment: first_segment,
            ready: None,
        });
        Self {
            disk,
            dir,
            store_uuid,
            segment_bytes,
            next,
            spares: Mutex::new(Vec::new()),
            awaited: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// What a recovery found: the last segment in use, perhaps a prepared one behind it, and spare files.
    pub(super) fn adopt(&self, last_segment: u64, ready: Option<Prepared>, spares: Vec<String>) {
        *self.next.lock() = Next {
            segment: last_segment + 1,
            ready,
        };
        *self.spares.lock() = spares;
    }

    /// Whether [`Preparer::prepare`] has something to do and nobody is at it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.has_ended() && self.next.try_lock().is_some_and(|next| next.ready.is_none())
    }

    /// Makes the next segment ready unless it is. Slow: not for the commit path.
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.prepare_at(Pace::Hurried)
    }

    /// The same over seconds, for a thread of its own: whoever syncs meanwhile does not notice.
    pub(super) fn prepare_calmly(&self) -> io::Result<()> {
        self.prepare_at(Pace::Calm)
    }

    fn prepare_at(&self, pace: Pace) -> io::Result<()> {
        let mut next = self.next.lock();
        if next.ready.is_some() || self.has_ended() {
            return Ok(());
        }
        match self.make(next.segment, pace) {
            Ok(prepared) => next.ready = Some(prepared),
            // Given up in the middle; nothing is wrong.
            Err(_) if self.has_ended() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Ends [`Preparer::prepare`]; one that is under way is given up.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        drop(self.next.lock());
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes the next segment; makes it here if it is not ready, which the flag tells.
    pub(super) fn take(&self) -> io::Result<(Prepared, bool)> {
        self.awaited.store(true, Ordering::Release);
        let mut next = self.next.lock();
        self.awaited.store(false, Ordering::Release);
        let late = next.ready.is_none();
        let prepared = match next.ready.take() {
            Some(prepared) => prepared,
            None => self.make(next.segment, Pace::Hurried)?,
        };
        next.segment += 1;
        Ok((prepared, late))
    }

    fn make(&self, segment: u64, pace: Pace) -> io::Result<Prepared> {
        let path = segment_path(&self.dir, segment);
        if self.disk.exists(&path)? {
            return Err(io::Error::other("a log segment of this number is there already"));
        }
        let (name, file) = match self.take_spare()? {
            Some(spare) => spare,
            None => self.make_file(segment, pace)?,
        };
        let named = self.name(&name, file.as_ref(), segment);
        if named.is_err() && self.disk.exists(&self.dir.join(&name))? {
            // Nothing counts on this file yet: what a failed sync left in it is not used again.
            self.disk.remove_file(&self.dir.join(&name))?;
        }
        named?;
        Ok(Prepared { segment, file })
    }

    fn name(&self, name: &str, file: &dyn DiskFile, segment: u64) -> io::Result<()> {
        write_head(file, &self.store_uuid, segment)?;
        file.sync_data()?;
        self.disk
            .rename(&self.dir.join(name), &segment_path(&self.dir, segment))?;
        if mutant!("directory-not-synced") {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir)
    }

    fn take_spare(&self) -> io::Result<Option<(String, Arc<dyn DiskFile>)>> {
        loop {
            let Some(name) = self.spares.lock().pop() else {
                return Ok(None);
            };
            let file = self.disk.open(&self.dir.join(&name), false)?;
            if file.len()? == self.segment_bytes {
                return Ok(Some((name, file)));
            }
            // Half made, or of another configuration.
            self.disk.remove_file(&self.dir.join(&name))?;
        }
    }

    fn make_file(&self, segment: u64, pace: Pace) -> io::Result<(String, Arc<dyn DiskFile>)> {
        let name = spare_name(segment);
        let path = self.dir.join(&name);
        if self.disk.exists(&path)? {
            self.disk.remove_file(&path)?;
        }
        let file = self.disk.open(&path, true)?;
        let written = self.write_zeros(file.as_ref(), pace);
        if let Err(error) = written {
            drop(file);
            self.disk.remove_file(&path)?;
            return Err(error);
        }
        Ok((name, file))
    }

    fn write_zeros(&self, file: &dyn DiskFile, pace: Pace) -> io::Result<()> {
        let mut at = 0;
        while at < self.segment_bytes {
            let left = usize::try_from(self.segment_bytes - at).unwrap_or(ZERO_CHUNK_BYTES);
            let chunk = left.min(ZERO_CHUNK_BYTES);
            file.write_zeros_at(chunk, at)?;
            at += chunk as u64;
            if pace == Pace::Calm {
                self.rest(file)?;
            }
        }
        Ok(())
    }

    /// Lets others use the disk, unless somebody waits for this file.
    fn rest(&self, file: &dyn DiskFile) -> io::Result<()> {
        if self.has_ended() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !self.awaited.load(Ordering::Acquire) {
            file.sync_data()?;
            std::thread::sleep(ZERO_PAUSE);
        }
        Ok(())
    }

    /// Takes a segment out of the log, durably: its file becomes a spare or goes. Oldest first, or the log would have
    /// a gap after a power cut. `reusable` says that nobody reads the file any more.
    pub(super) fn retire(&self, segment: u64, reusable: bool) -> io::Result<()> {
        let path = segment_path(&self.dir, segment);
        let mut spares = self.spares.lock();
        if reusable && spares.len() < SPARES_MAX {
            let name = spare_name(segment);
            self.disk.rename(&path, &self.dir.join(&name))?;
            spares.push(name);
        } else {
            self.disk.remove_file(&path)?;
        }
        drop(spares);
        self.disk.sync_dir(&self.dir)
    }

    /// Bytes of a segment that records can use.
    pub(super) fn usable_bytes(&self) -> u64 {
        self.segment_bytes - u64::from(HEAD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::disk::SimDisk;

    /// Long enough in calm pieces, 400 ms, that a test can tell.
    const SEGMENT_BYTES: u64 = 16 * ZERO_CHUNK_BYTES as u64;

    fn preparer(disk: &SimDisk) -> Arc<Preparer> {
        let dir = PathBuf::from("/node/wal");
        disk.shared().create_dir_all(&dir).unwrap();
        Arc::new(Preparer::new(disk.shared(), dir, [7; 16], SEGMENT_BYTES, 1))
    }

    /// Starts a calm preparation and returns when it is under way.
    fn under_way(preparer: &Arc<Preparer>) -> std::thread::JoinHandle<io::Result<()>> {
        let mine = Arc::clone(preparer);
        let calm = std::thread::spawn(move || mine.prepare_calmly());
        while preparer.is_wanted() {
            std::thread::yield_now();
        }
        calm
    }

    #[test]
    fn a_calm_preparation_rests_between_pieces_and_is_whole() {
        let disk = SimDisk::new(1);
        let preparer = preparer(&disk);
        let began = Instant::now();
        preparer.prepare_calmly().unwrap();
        assert!(began.elapsed() >= 16 * ZERO_PAUSE);
        let (prepared, late) = preparer.take().unwrap();
        assert!(!late);
        assert_eq!(
            (prepared.segment, prepared.file.len().unwrap()),
            (1, SEGMENT_BYTES)
        );
    }

    #[test]
    fn whoever_waits_for_a_segment_hurries_it() {
        let disk = SimDisk::new(2);
        let preparer = preparer(&disk);
        let calm = under_way(&preparer);
        let began = Instant::now();
        let (prepared, late) = preparer.take().unwrap();
        assert!(began.elapsed() < 8 * ZERO_PAUSE, "took {:?}", began.elapsed());
        assert!(!late);
        assert_eq!(prepared.file.len().unwrap(), SEGMENT_BYTES);
        calm.join().unwrap().unwrap();
    }

    #[test]
    fn an_end_does_not_wait_for_a_segment_nobody_will_use() {
        let disk = SimDisk::new(3);
        let preparer = preparer(&disk);
        let calm = under_way(&preparer);
        let began = Instant::now();
        preparer.end();
        assert!(began.elapsed() < 8 * ZERO_PAUSE, "took {:?}", began.elapsed());
        calm.join().unwrap().unwrap();
        let left = disk.shared().list(&preparer.dir).unwrap();
        assert!(left.is_empty(), "a half made file is left: {left:?}");
    }
}
