//! A disk in memory that loses, tears, fills, stalls and fails on order, the same way for the same seed.
//!
//! What it promises is what a careful program may rely on: content is durable after `sync_data`, names after
//! `sync_dir`, directories at once. Everything else may or may not survive [`SimDisk::power_cut`], sector by sector
//! and name by name. A failed sync loses what was not durable, as an operating system that marks the pages clean does.

mod content;
mod names;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::state::State;
use super::{Disk, DiskFile};

/// What has been asked of a simulated disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Completed `sync_data` calls.
    pub fsyncs: u64,
    /// Completed `write_all_at` calls.
    pub writes: u64,
    /// Bytes of those writes.
    pub write_bytes: u64,
    /// Completed `read_exact_at` calls.
    pub reads: u64,
    /// Operations that change anything, in the order in which [`SimDisk::cut_power_at`] counts them.
    pub operations: u64,
    /// Power cuts, ordered or at once.
    pub power_cuts: u64,
}

/// One line of a disk's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// Bytes written, not durable yet.
    Write {
        /// Which file.
        path: PathBuf,
        /// From where.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// Everything written to the file before is durable.
    Sync {
        /// Which file.
        path: PathBuf,
    },
    /// The names of the directory are durable.
    SyncDir {
        /// Which directory.
        path: PathBuf,
    },
    /// Something the test wanted to see between the others, for example an acknowledgement.
    Mark(String),
    /// Power was cut.
    PowerCut,
}

/// A copy of a whole disk, of one moment.
pub struct DiskImage(state::Image);

/// The disk of one simulated node. Clones share it; it outlives the node's restarts.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk whose random choices follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(seed))),
        }
    }

    /// The same disk as a trait object.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Cuts the power and turns it on again: what was not durable survives at random, open handles are dead.
    pub fn power_cut(&self) {
        let mut state = self.state.lock();
        state.power_cut();
        state.power_on();
    }

    /// The process dies and the machine stays up: nothing is lost, and open handles are dead.
    pub fn process_crash(&self) {
        self.state.lock().life += 1;
    }

    /// A copy of everything on it, as a snapshot of the machine's storage makes one.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        DiskImage(self.state.lock().image())
    }

    /// Everything on it is as in the copy; open handles are dead.
    pub fn put_back(&self, image: &DiskImage) {
        self.state.lock().put_back(&image.0);
    }

    /// Cuts the power during the operation with this number (see [`Counters::operations`]; the first is 1).
    /// Every later operation fails until [`SimDisk::power_on`].
    pub fn cut_power_at(&self, operation: u64) {
        self.state.lock().cut_at = Some(operation);
    }

    /// Forgets an ordered cut that has not struck.
    pub fn cancel_cut(&self) {
        self.state.lock().cut_at = None;
    }

    /// Whether the power is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.state.lock().on
    }

    /// Turns the power on after [`SimDisk::cut_power_at`] has struck.
    pub fn power_on(&self) {
        self.state.lock().power_on();
    }

    /// Flips bits of `len` bytes, durably, as a decaying medium does.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` past the end of the file.
    pub fn corrupt(&self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        self.state.lock().corrupt(path, offset, len)
    }

    /// Limits the bytes of all files together; more is `StorageFull`. `None` is no limit.
    pub fn fill(&self, limit_bytes: Option<u64>) {
        self.state.lock().limit_bytes = limit_bytes;
    }

    /// Makes syncs hang (for drivers that ask [`Disk::stalled`]) until called with `false`.
    pub fn stall(&self, stalled: bool) {
        self.state.lock().stalled = stalled;
    }

    /// The next `sync_data` (of this file, if one is named) fails, once, and loses what was not durable in it.
    pub fn fail_next_sync(&self, path: Option<&Path>) {
        self.state.lock().fail_next_sync = Some(path.map(Path::to_path_buf));
    }

    /// Forgets an ordered failure of a sync that has not struck.
    pub fn cancel_failing_sync(&self) {
        self.state.lock().fail_next_sync = None;
    }

    /// What has been asked of the disk so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Bytes that all files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// Starts a new trace of writes and syncs.
    pub fn start_trace(&self) {
        self.state.lock().trace = Some(Vec::new());
    }

    /// Puts a line of one's own into the trace, if there is one.
    pub fn mark(&self, label: impl Into<String>) {
        self.state.lock().record(|| TraceEvent::Mark(label.into()));
    }

    /// Ends the trace and returns it; empty if none was started.
    #[must_use]
    pub fn take_trace(&self) -> Vec<TraceEvent> {
        self.state.lock().trace.take().unwrap_or_default()
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    id: u64,
    life: u64,
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.state.lock().read(self.life, self.id, buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.state.lock().write(self.life, self.id, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state.lock().sync(self.life, self.id)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().set_len(self.life, self.id, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.state.lock().len(self.life, self.id)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.state.lock().close(self.life, self.id);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let id = state.open(path, create)?;
        let life = state.life;
        drop(state);
        Ok(Arc::new(SimFile {
            state: Arc::clone(&self.state),
            id,
            life,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.state.lock().list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.state.lock().exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.lock().remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.state.lock().sync_dir(path)
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        self.state.lock().free_bytes()
    }

    fn stalled(&self) -> bool {
        self.state.lock().stalled
    }
}
