//! A disk that loses, tears, fills, stalls and fails on order, the same way for the same seed.
//!
//! Written bytes live in a page cache until they are synced. A power cut keeps what was synced, and of each unsynced
//! block of 512 bytes, by chance, the old or the new content: so the last write may be torn anywhere, and a later
//! block may survive without an earlier one. A name that was created, renamed or removed since its directory was
//! synced goes back, by chance, to what it was.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Disk, DiskFile};

/// Unit in which unsynced writes survive a power cut.
pub const BLOCK_BYTES: usize = 512;

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
}

#[derive(Default)]
struct FileState {
    /// What a reader sees.
    cached: Content,
    /// What a power cut leaves for certain.
    synced: Content,
    /// Blocks written since the last sync.
    dirty: std::collections::BTreeSet<usize>,
}

type FileId = u64;

struct State {
    files: BTreeMap<FileId, FileState>,
    /// What a reader sees.
    names: BTreeMap<PathBuf, FileId>,
    /// What a power cut leaves for certain.
    synced_names: BTreeMap<PathBuf, FileId>,
    next_id: FileId,
    /// Handles of an earlier boot fail.
    boot: u64,
    rng: SmallRng,
    capacity: Option<u64>,
    stalled: bool,
    fail_next_sync: bool,
    fail_next_sync_of: Option<PathBuf>,
    trace: Option<Vec<TraceEvent>>,
    /// Disk operations until the power goes, if that is ordered.
    cut_after: Option<u64>,
    counters: Counters,
}

/// What a simulated disk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes.
    pub writes: u64,
    /// File syncs that succeeded.
    pub syncs: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Operations of any kind that change the disk.
    pub operations: u64,
}

/// One line of a disk's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// Bytes written to the file that has this name now; not durable yet.
    Write(Option<PathBuf>),
    /// Everything written to the file before is durable.
    Sync(Option<PathBuf>),
    /// What the test wanted to see between the others, for example an acknowledgement.
    Mark(&'static str),
}

/// A simulated disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct SimFile {
    state: Arc<Mutex<State>>,
    id: FileId,
    boot: u64,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the simulated machine is off")
}

impl State {
    fn check_boot(&self, boot: u64) -> io::Result<()> {
        if boot == self.boot { Ok(()) } else { Err(gone()) }
    }

    /// Counts an operation that changes the disk; the ordered power cut happens before it.
    fn operation(&mut self) -> io::Result<()> {
        self.counters.operations += 1;
        if let Some(left) = &mut self.cut_after {
            if *left == 0 {
                self.cut_after = None;
                self.power_cut();
                return Err(gone());
            }
            *left -= 1;
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.cached.bytes.len() as u64)
            .sum()
    }

    fn power_cut(&mut self) {
        self.boot += 1;
        self.counters.power_cuts += 1;
        let rng = &mut self.rng;
        // Each changed name goes back or stays, by chance.
        let changed: Vec<PathBuf> = self
            .names
            .keys()
            .chain(self.synced_names.keys())
            .filter(|path| self.names.get(*path) != self.synced_names.get(*path))
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        for path in changed {
            if rng.random::<bool>() {
                match self.names.get(&path) {
                    Some(id) => self.synced_names.insert(path, *id),
                    None => self.synced_names.remove(&path),
                };
            }
        }
        self.names = self.synced_names.clone();
        for file in self.files.values_mut() {
            let mut left = file.synced.bytes.clone();
            for block in std::mem::take(&mut file.dirty) {
                let from = block * BLOCK_BYTES;
                let to = (from + BLOCK_BYTES).min(file.cached.bytes.len());
                if from < to && rng.random::<bool>() {
                    if left.len() < to {
                        left.resize(to, 0);
                    }
                    left[from..to].copy_from_slice(&file.cached.bytes[from..to]);
                }
            }
            file.synced.bytes = left.clone();
            file.cached.bytes = left;
        }
        let live: std::collections::BTreeSet<FileId> = self.names.values().copied().collect();
        self.files.retain(|id, _| live.contains(id));
        self.fail_next_sync = false;
        self.fail_next_sync_of = None;
    }

    fn name_of(&self, id: FileId) -> Option<&PathBuf> {
        self.names
            .iter()
            .find(|(_, named)| **named == id)
            .map(|(name, _)| name)
    }

    /// Whether this sync is the one that was to fail.
    fn takes_failure(&mut self, id: FileId) -> bool {
        if std::mem::take(&mut self.fail_next_sync) {
            return true;
        }
        let meant = self.fail_next_sync_of.is_some() && self.name_of(id) == self.fail_next_sync_of.as_ref();
        if meant {
            self.fail_next_sync_of = None;
        }
        meant
    }

    fn record(&mut self, event: impl FnOnce(&Self) -> TraceEvent) {
        if self.trace.is_some() {
            let event = event(self);
            self.trace.get_or_insert_default().push(event);
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            next_id: 1,
            boot: 0,
            rng: SmallRng::seed_from_u64(seed),
            capacity: None,
            stalled: false,
            fail_next_sync: false,
            fail_next_sync_of: None,
            trace: None,
            cut_after: None,
            counters: Counters::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The power goes: unsynced data is lost or torn, open handles fail from now on.
    pub fn power_cut(&self) {
        self.state.lock().power_cut();
    }

    /// The process dies and the machine stays up: nothing is lost, open handles fail from now on.
    pub fn process_crash(&self) {
        self.state.lock().boot += 1;
    }

    /// The power goes just before the disk operation that comes after `operations` more.
    pub fn power_cut_after(&self, operations: u64) {
        self.state.lock().cut_after = Some(operations);
    }

    /// Forgets an ordered power cut.
    pub fn cancel_power_cut(&self) {
        self.state.lock().cut_after = None;
    }

    /// Writes fail with `StorageFull` while the disk would hold more than this.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Storage workers make no progress while the disk is stalled.
    pub fn set_stalled(&self, stalled: bool) {
        self.state.lock().stalled = stalled;
    }

    /// The next sync fails, and what it should have made durable is lost although reads still show it.
    pub fn fail_next_sync(&self) {
        self.state.lock().fail_next_sync = true;
    }

    /// The next sync of the file that has this name then fails like [`SimDisk::fail_next_sync`].
    pub fn fail_next_sync_of(&self, path: &Path) {
        self.state.lock().fail_next_sync_of = Some(path.to_path_buf());
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used()
    }

    /// Starts a new trace of writes and syncs.
    pub fn start_trace(&self) {
        self.state.lock().trace = Some(Vec::new());
    }

    /// Puts a line of one's own into the trace, if there is one.
    pub fn mark(&self, label: &'static str) {
        self.state.lock().record(|_| TraceEvent::Mark(label));
    }

    /// Ends the trace and returns it; empty if none was started.
    #[must_use]
    pub fn take_trace(&self) -> Vec<TraceEvent> {
        self.state.lock().trace.take().unwrap_or_default()
    }

    /// Flips one bit of what is stored.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` behind the end.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let file = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(bit / 8).map_err(io::Error::other)?;
        for content in [&mut file.cached, &mut file.synced] {
            *content.bytes.get_mut(at).ok_or(io::ErrorKind::UnexpectedEof)? ^= 1 << (bit % 8);
        }
        Ok(())
    }

    /// What the disk has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut State, FileId) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        state.check_boot(self.boot)?;
        work(&mut state, self.id)
    }
}

fn at(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state, id| {
            let file = state.files.get(&id).ok_or_else(gone)?;
            let from = at(offset)?;
            let part = file
                .cached
                .bytes
                .get(from..from + buf.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(part);
            Ok(())
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.operation()?;
            state.counters.writes += 1;
            let (from, used, capacity) = (at(offset)?, state.used(), state.capacity);
            let file = state.files.get_mut(&id).ok_or_else(gone)?;
            let to = from + buf.len();
            let grows = to.saturating_sub(file.cached.bytes.len()) as u64;
            if grows > 0 && capacity.is_some_and(|most| used + grows > most) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if file.cached.bytes.len() < to {
                file.cached.bytes.resize(to, 0);
            }
            file.cached.bytes[from..to].copy_from_slice(buf);
            file.dirty.extend(from / BLOCK_BYTES..to.div_ceil(BLOCK_BYTES));
            state.record(|state| TraceEvent::Write(state.name_of(id).cloned()));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, id| {
            state.operation()?;
            let fails = state.takes_failure(id);
            let file = state.files.get_mut(&id).ok_or_else(gone)?;
            if fails {
                // As Linux does: the pages count as clean from now on, and are not on the disk.
                file.dirty.clear();
                return Err(io::Error::other("simulated sync failure"));
            }
            let len = file.cached.bytes.len();
            file.synced.bytes.resize(len, 0);
            // Only what counts as dirty: a page that an earlier failed sync marked clean stays lost.
            for block in std::mem::take(&mut file.dirty) {
                let (from, to) = (block * BLOCK_BYTES, ((block + 1) * BLOCK_BYTES).min(len));
                if from < to {
                    file.synced.bytes[from..to].copy_from_slice(&file.cached.bytes[from..to]);
                }
            }
            state.counters.syncs += 1;
            state.record(|state| TraceEvent::Sync(state.name_of(id).cloned()));
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.operation()?;
            let file = state.files.get_mut(&id).ok_or_else(gone)?;
            file.cached.bytes.resize(at(len)?, 0);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.files.get(&id).ok_or_else(gone)?.cached.bytes.len() as u64))
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let id = match (state.names.get(path).copied(), create) {
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (Some(id), false) => id,
            (None, true) => {
                state.operation()?;
                let id = state.next_id;
                state.next_id += 1;
                state.files.insert(id, FileState::default());
                state.names.insert(path.to_path_buf(), id);
                id
            }
        };
        Ok(Arc::new(SimFile {
            state: Arc::clone(&self.state),
            id,
            boot: state.boot,
        }))
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let below = state.names.keys().filter_map(|name| {
            let rest = name.strip_prefix(path).ok()?;
            Some(
                rest.components()
                    .next()?
                    .as_os_str()
                    .to_string_lossy()
                    .into_owned(),
            )
        });
        let names: std::collections::BTreeSet<String> = below.collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        Ok(state.names.keys().any(|name| name.starts_with(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        if let Some(id) = state.names.remove(from) {
            state.names.insert(to.to_path_buf(), id);
            return Ok(());
        }
        let moved: Vec<(PathBuf, FileId)> = state
            .names
            .iter()
            .filter_map(|(name, id)| Some((name.strip_prefix(from).ok()?.to_path_buf(), *id)))
            .collect();
        if moved.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        for (rest, id) in moved {
            state.names.remove(&from.join(&rest));
            state.names.insert(to.join(&rest), id);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state
            .names
            .remove(path)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state.names.retain(|name, _| !name.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        let inside = |name: &PathBuf| name.parent() == Some(path) || name.starts_with(path);
        let now: Vec<(PathBuf, FileId)> = state
            .names
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|(name, id)| (name.clone(), *id))
            .collect();
        state.synced_names.retain(|name, _| !inside(name));
        state.synced_names.extend(now);
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        Ok(state
            .capacity
            .map_or(1 << 40, |most| most.saturating_sub(state.used())))
    }

    fn stalled(&self) -> bool {
        self.state.lock().stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_data_survives_and_unsynced_data_may_not() {
        let mut lost = 0;
        for seed in 0..32 {
            let disk = SimDisk::new(seed);
            let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
            let file = disk.open(path, true).unwrap();
            file.write_all_at(&[1; 1_024], 0).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(dir).unwrap();
            file.write_all_at(&[2; 1_024], 0).unwrap();
            disk.power_cut();
            assert!(file.len().is_err(), "old handles fail");
            let bytes = disk.read(path).unwrap();
            assert_eq!(bytes.len(), 1_024);
            for block in bytes.chunks(BLOCK_BYTES) {
                assert!(block.iter().all(|byte| *byte == block[0]), "blocks are whole");
                lost += usize::from(block[0] == 1);
            }
        }
        assert!((8..56).contains(&lost), "chance decides: {lost} of 64");
    }

    #[test]
    fn an_unsynced_name_may_vanish_and_a_synced_one_stays() {
        let mut gone = 0;
        for seed in 0..32 {
            let disk = SimDisk::new(seed);
            disk.write_atomic(Path::new("/d/stays"), b"x").unwrap();
            disk.open(Path::new("/d/maybe"), true).unwrap();
            disk.power_cut();
            assert!(disk.exists(Path::new("/d/stays")).unwrap());
            gone += usize::from(!disk.exists(Path::new("/d/maybe")).unwrap());
        }
        assert!((4..28).contains(&gone), "chance decides: {gone} of 32");
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let disk = SimDisk::new(1);
        let file = disk.open(Path::new("/d/f"), true).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_all_at(b"lost", 0).unwrap();
        disk.fail_next_sync();
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.power_cut();
        assert_eq!(disk.read(Path::new("/d/f")).unwrap(), [0; 4]);
    }

    #[test]
    fn a_full_disk_says_so() {
        let disk = SimDisk::new(1);
        let file = disk.open(Path::new("/d/f"), true).unwrap();
        disk.set_capacity(Some(10));
        let error = file.write_all_at(&[0; 11], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.write_all_at(&[0; 10], 0).unwrap();
    }
}
