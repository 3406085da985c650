//! The operations of a simulated disk, and the moment at which its power goes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::content::Content;
use super::names::{Names, Node};
use super::{Counters, TraceEvent};

/// What an unlimited disk says it has free.
const UNLIMITED_FREE_BYTES: u64 = 1 << 40;

pub(super) struct State {
    names: Names,
    files: BTreeMap<u64, Content>,
    next_id: u64,
    rng: ChaCha8Rng,
    /// Rises with each power cut; handles of an earlier life are dead.
    pub(super) life: u64,
    pub(super) on: bool,
    pub(super) cut_at: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
    pub(super) stalled: bool,
    /// Armed for any file, or for one.
    pub(super) fail_next_sync: Option<Option<PathBuf>>,
    pub(super) counters: Counters,
    pub(super) trace: Option<Vec<TraceEvent>>,
}

/// All files as they were at one moment.
pub(super) struct Image {
    names: Names,
    files: BTreeMap<u64, Content>,
}

fn power_is_off() -> io::Error {
    io::Error::other("power was cut")
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            names: Names::default(),
            files: BTreeMap::new(),
            next_id: 1,
            rng: ChaCha8Rng::seed_from_u64(seed),
            life: 1,
            on: true,
            cut_at: None,
            limit_bytes: None,
            stalled: false,
            fail_next_sync: None,
            counters: Counters::default(),
            trace: None,
        }
    }

    pub(super) fn image(&self) -> Image {
        let mut files = self.files.clone();
        // Whoever has them open has not opened the copy.
        files.values_mut().for_each(|content| content.handles = 0);
        files.retain(|id, _| self.names.is_named(*id));
        Image {
            names: self.names.clone(),
            files,
        }
    }

    /// Handles of before are dead.
    pub(super) fn put_back(&mut self, image: &Image) {
        self.life += 1;
        self.names.clone_from(&image.names);
        self.files.clone_from(&image.files);
    }

    pub(super) fn record(&mut self, event: impl FnOnce() -> TraceEvent) {
        if let Some(trace) = &mut self.trace {
            trace.push(event());
        }
    }

    pub(super) fn power_cut(&mut self) {
        self.record(|| TraceEvent::PowerCut);
        self.on = false;
        self.life += 1;
        self.counters.power_cuts += 1;
        self.cut_at = None;
        self.names.power_cut(&mut self.rng);
        for content in self.files.values_mut() {
            content.power_cut(&mut self.rng);
        }
        let Self { names, files, .. } = self;
        files.retain(|id, _| names.is_named(*id));
    }

    pub(super) fn power_on(&mut self) {
        self.on = true;
        self.stalled = false;
        self.fail_next_sync = None;
    }

    fn check_on(&self) -> io::Result<()> {
        if self.on { Ok(()) } else { Err(power_is_off()) }
    }

    fn check_handle(&self, life: u64) -> io::Result<()> {
        if self.on && life == self.life {
            Ok(())
        } else {
            Err(power_is_off())
        }
    }

    /// Runs one operation that changes something. If the power goes during it, chance decides whether it took effect
    /// before, and the caller gets an error either way.
    fn change<T>(&mut self, operation: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.check_on()?;
        self.counters.operations += 1;
        if self.cut_at == Some(self.counters.operations) {
            if self.rng.random_bool(0.5) {
                // Its error, if any, drowns in the power cut.
                let _ = operation(self);
            }
            self.power_cut();
            return Err(power_is_off());
        }
        operation(self)
    }

    fn is_to_fail(&self, id: u64) -> bool {
        match &self.fail_next_sync {
            None => false,
            Some(None) => true,
            Some(path) => self.names.path_of(id) == *path,
        }
    }

    /// The name that a file has now; empty without a trace, or if it has none.
    fn path_if_traced(&self, id: u64) -> PathBuf {
        self.trace
            .as_ref()
            .and_then(|_| self.names.path_of(id))
            .unwrap_or_default()
    }

    fn content(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files
            .get_mut(&id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.files.values().map(Content::allocated_bytes).sum()
    }

    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        self.check_on()?;
        Ok(self.limit_bytes.map_or(UNLIMITED_FREE_BYTES, |limit| {
            limit.saturating_sub(self.used_bytes())
        }))
    }

    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<u64> {
        self.check_on()?;
        let id = if create {
            self.change(|this| {
                this.names.create(path, this.next_id)?;
                this.files.insert(this.next_id, Content::default());
                this.next_id += 1;
                Ok(this.next_id - 1)
            })?
        } else {
            self.names.file(path)?
        };
        self.content(id)?.handles += 1;
        Ok(id)
    }

    pub(super) fn close(&mut self, life: u64, id: u64) {
        if life == self.life
            && let Some(content) = self.files.get_mut(&id)
        {
            content.handles = content.handles.saturating_sub(1);
        }
        self.forget_if_unused(id);
    }

    fn forget_if_unused(&mut self, id: u64) {
        if self.files.get(&id).is_some_and(|content| content.handles == 0) && !self.names.is_named(id) {
            self.files.remove(&id);
        }
    }

    pub(super) fn read(&mut self, life: u64, id: u64, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check_handle(life)?;
        self.content(id)?.read(buf, offset)?;
        self.counters.reads += 1;
        Ok(())
    }

    pub(super) fn write(&mut self, life: u64, id: u64, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_handle(life)?;
        self.change(|this| {
            let growth_bytes = this.content(id)?.growth_bytes(offset, buf.len());
            let over = this
                .limit_bytes
                .is_some_and(|limit| this.used_bytes() + growth_bytes > limit);
            if over && growth_bytes > 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            this.content(id)?.write(buf, offset);
            this.counters.writes += 1;
            this.counters.write_bytes += buf.len() as u64;
            let path = this.path_if_traced(id);
            this.record(|| TraceEvent::Write {
                path,
                offset,
                len: buf.len(),
            });
            Ok(())
        })
    }

    pub(super) fn sync(&mut self, life: u64, id: u64) -> io::Result<()> {
        self.check_handle(life)?;
        self.change(|this| {
            if this.is_to_fail(id) {
                this.fail_next_sync = None;
                this.content(id)?.lose_unsynced();
                return Err(io::Error::other("input/output error on sync"));
            }
            this.content(id)?.sync();
            this.counters.fsyncs += 1;
            let path = this.path_if_traced(id);
            this.record(|| TraceEvent::Sync { path });
            Ok(())
        })
    }

    pub(super) fn set_len(&mut self, life: u64, id: u64, len: u64) -> io::Result<()> {
        self.check_handle(life)?;
        self.change(|this| {
            this.content(id)?.set_len(len);
            Ok(())
        })
    }

    pub(super) fn len(&mut self, life: u64, id: u64) -> io::Result<u64> {
        self.check_handle(life)?;
        Ok(self.content(id)?.len())
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.change(|this| this.names.create_dir_all(path))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.check_on()?;
        self.names.list(path)
    }

    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        self.check_on()?;
        Ok(self.names.get(path).is_some())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|this| this.names.rename(from, to))
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let id = self.names.get(path);
        self.change(|this| this.names.remove_file(path))?;
        if let Some(Node::File(id)) = id {
            self.forget_if_unused(id);
        }
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.change(|this| this.names.remove_dir_all(path))
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.change(|this| {
            this.names.sync_dir(path)?;
            this.record(|| TraceEvent::SyncDir {
                path: path.to_path_buf(),
            });
            let Self { names, files, .. } = this;
            files.retain(|id, content| content.handles > 0 || names.is_named(*id));
            Ok(())
        })
    }

    pub(super) fn corrupt(&mut self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        let id = self.names.file(path)?;
        self.content(id)?.corrupt(offset, len)
    }
}
