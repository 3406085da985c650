//! The disk without its mount: files, directories, and the moment at which the power goes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::io::Errno;

use crate::command::{Counters, Cut};
use crate::content::Content;
use crate::dirs::{Dir, Dirs, Entries};

/// Inode number of the topmost directory.
pub(crate) const ROOT: u64 = 1;
/// What an unlimited disk says it has free, bytes.
const UNLIMITED_FREE_BYTES: u64 = 1 << 40;

type Answer<T> = Result<T, Errno>;

/// What an inode number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    /// With its length in bytes.
    File(u64),
}

#[derive(Default)]
struct File {
    content: Content,
    /// An unlinked file lives as long as one handle is left.
    handles: u64,
}

/// An ordered cut that has not struck.
struct Planned {
    operation: u64,
    cut: Cut,
}

/// All content of a disk. Handles carry the life they were opened in; those of an earlier one are dead.
pub struct Store {
    dirs: Dirs,
    files: BTreeMap<u64, File>,
    next: u64,
    life: u64,
    on: bool,
    planned: Option<Planned>,
    limit_bytes: Option<u64>,
    counters: Counters,
}

impl Default for Store {
    fn default() -> Self {
        let root = Dir {
            parent: ROOT,
            ..Dir::default()
        };
        let mut dirs = Dirs::default();
        dirs.all.insert(ROOT, root);
        Self {
            dirs,
            files: BTreeMap::new(),
            next: ROOT + 1,
            life: 1,
            on: true,
            planned: None,
            limit_bytes: None,
            counters: Counters::default(),
        }
    }
}

impl Store {
    /// Rises with each power cut; what `open` gives belongs to the present one.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            on: self.on,
            ..self.counters
        }
    }

    /// Turns the power off: what was not durable is gone, or survives by luck. Everything fails until
    /// [`Store::power_on`].
    pub fn power_cut(&mut self, cut: Cut) {
        let mut luck = match cut {
            Cut::Clean => None,
            Cut::Torn(seed) => Some(ChaCha8Rng::seed_from_u64(seed)),
        };
        self.on = false;
        self.life += 1;
        self.planned = None;
        self.counters.power_cuts += 1;
        self.dirs.power_cut(luck.as_mut());
        for file in self.files.values_mut() {
            file.content.power_cut(luck.as_mut());
            file.handles = 0;
        }
        self.sweep();
    }

    /// Cuts the power during the change that comes after `after` others.
    pub fn plan_cut(&mut self, after: u64, cut: Cut) {
        let operation = self.counters.changes + after + 1;
        self.planned = Some(Planned { operation, cut });
    }

    pub fn power_on(&mut self) {
        self.on = true;
    }

    /// Leaves so many bytes free; `None` takes the limit away.
    pub fn limit_free(&mut self, free_bytes: Option<u64>) {
        self.limit_bytes = free_bytes.map(|free| self.used_bytes() + free);
    }

    fn used_bytes(&self) -> u64 {
        let files = self.files.values();
        files.map(|file| file.content.allocated_bytes()).sum()
    }

    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes.map_or(UNLIMITED_FREE_BYTES, |limit| {
            limit.saturating_sub(self.used_bytes())
        })
    }

    fn check_on(&self) -> Answer<()> {
        if self.on { Ok(()) } else { Err(Errno::IO) }
    }

    fn check_handle(&self, life: u64) -> Answer<()> {
        if self.on && life == self.life {
            Ok(())
        } else {
            Err(Errno::IO)
        }
    }

    /// Runs one operation that changes something. If the power goes during it, chance decides whether it took effect
    /// before, and the caller gets an error either way.
    fn change<T>(&mut self, operation: impl FnOnce(&mut Self) -> Answer<T>) -> Answer<T> {
        self.check_on()?;
        self.counters.changes += 1;
        let due = self
            .planned
            .take_if(|plan| plan.operation <= self.counters.changes);
        let Some(Planned { cut, .. }) = due else {
            return operation(self);
        };
        let before = match cut {
            Cut::Clean => false,
            Cut::Torn(seed) => ChaCha8Rng::seed_from_u64(!seed).random_bool(0.5),
        };
        if before {
            // Its error, if any, drowns in the power cut.
            let _ = operation(self);
        }
        self.power_cut(cut);
        Err(Errno::IO)
    }

    fn dir(&self, ino: u64) -> Answer<&Dir> {
        let why = || match self.files.contains_key(&ino) {
            true => Errno::NOTDIR,
            false => Errno::NOENT,
        };
        self.dirs.all.get(&ino).ok_or_else(why)
    }

    fn file(&mut self, ino: u64) -> Answer<&mut File> {
        self.files.get_mut(&ino).ok_or(Errno::NOENT)
    }

    /// # Errors
    /// `NOENT`, or `IO` without power.
    pub fn kind(&self, ino: u64) -> Answer<Kind> {
        self.check_on()?;
        if self.dirs.all.contains_key(&ino) {
            return Ok(Kind::Dir);
        }
        let file = self.files.get(&ino).ok_or(Errno::NOENT)?;
        Ok(Kind::File(file.content.len()))
    }

    /// # Errors
    /// `NOENT`, `NOTDIR`, or `IO` without power.
    pub fn lookup(&self, dir: u64, name: &OsStr) -> Answer<u64> {
        self.check_on()?;
        self.dir(dir)?.seen.get(name).copied().ok_or(Errno::NOENT)
    }

    /// The directory's own parent, and its entries.
    ///
    /// # Errors
    /// `NOENT`, `NOTDIR`, or `IO` without power.
    pub fn entries(&self, dir: u64) -> Answer<(u64, Vec<(OsString, u64)>)> {
        self.check_on()?;
        let dir = self.dir(dir)?;
        let entry = |(name, ino): (&OsString, &u64)| (name.clone(), *ino);
        Ok((dir.parent, dir.seen.iter().map(entry).collect()))
    }

    /// The path of a file below the mount; empty if it has no name.
    #[must_use]
    pub fn path_of(&self, ino: u64) -> PathBuf {
        let name = |(number, dir): (&u64, &Dir)| {
            let entry = dir.seen.iter().find(|(_, child)| **child == ino)?;
            Some((*number, entry.0.clone()))
        };
        match self.dirs.all.iter().find_map(name) {
            Some((ROOT, name)) => PathBuf::from(name),
            Some((dir, name)) => self.path_of(dir).join(name),
            None => PathBuf::new(),
        }
    }

    fn check_free(&self, dir: u64, name: &OsStr) -> Answer<()> {
        if self.dir(dir)?.seen.contains_key(name) {
            Err(Errno::EXIST)
        } else {
            Ok(())
        }
    }

    /// Makes an empty file and opens it.
    ///
    /// # Errors
    /// `EXIST`, `NOENT`, or `IO` without power.
    pub fn create(&mut self, dir: u64, name: &OsStr) -> Answer<u64> {
        self.change(|this| {
            this.check_free(dir, name)?;
            let ino = this.take_number();
            this.files.insert(
                ino,
                File {
                    handles: 1,
                    ..File::default()
                },
            );
            this.dirs.create(dir, name, ino);
            Ok(ino)
        })
    }

    /// # Errors
    /// `EXIST`, `NOENT`, or `IO` without power.
    pub fn make_dir(&mut self, dir: u64, name: &OsStr) -> Answer<u64> {
        self.change(|this| {
            this.check_free(dir, name)?;
            let ino = this.take_number();
            let made = Dir {
                parent: dir,
                ..Dir::default()
            };
            this.dirs.all.insert(ino, made);
            this.dirs.create(dir, name, ino);
            Ok(ino)
        })
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// # Errors
    /// `NOENT`, `ISDIR`, or `IO` without power.
    pub fn remove_file(&mut self, dir: u64, name: &OsStr) -> Answer<()> {
        self.change(|this| {
            let ino = this.lookup(dir, name)?;
            if this.dirs.all.contains_key(&ino) {
                return Err(Errno::ISDIR);
            }
            this.dirs.remove(dir, name);
            Ok(())
        })
    }

    /// # Errors
    /// `NOENT`, `NOTDIR`, `NOTEMPTY`, or `IO` without power.
    pub fn remove_dir(&mut self, dir: u64, name: &OsStr) -> Answer<()> {
        self.change(|this| {
            let ino = this.lookup(dir, name)?;
            if !this.dir(ino)?.seen.is_empty() {
                return Err(Errno::NOTEMPTY);
            }
            this.dirs.remove(dir, name);
            Ok(())
        })
    }

    /// Moves a file or a directory; what stood at `to` is replaced, if it is a file or an empty directory.
    ///
    /// # Errors
    /// Those of rename(2), or `IO` without power.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer<()> {
        self.change(|this| {
            let ino = this.lookup(from.0, from.1)?;
            let is_dir = this.dirs.all.contains_key(&ino);
            let target: &Entries = &this.dir(to.0)?.seen;
            match target.get(to.1).copied() {
                None => {}
                Some(same) if same == ino => return Ok(()),
                Some(other) => match this.dirs.all.get(&other) {
                    Some(_) if !is_dir => return Err(Errno::ISDIR),
                    Some(dir) if !dir.seen.is_empty() => return Err(Errno::NOTEMPTY),
                    None if is_dir => return Err(Errno::NOTDIR),
                    Some(_) | None => {}
                },
            }
            this.dirs.rename(from, to, ino);
            Ok(())
        })
    }

    /// # Errors
    /// `NOENT`, or `IO` without power.
    pub fn open(&mut self, ino: u64) -> Answer<()> {
        self.check_on()?;
        self.file(ino)?.handles += 1;
        Ok(())
    }

    pub fn close(&mut self, life: u64, ino: u64) {
        if life != self.life {
            return;
        }
        if let Ok(file) = self.file(ino) {
            file.handles = file.handles.saturating_sub(1);
            if file.handles == 0 && self.path_of(ino).as_os_str().is_empty() {
                self.sweep();
            }
        }
    }

    /// Forgets what no name and no handle can bring back.
    fn sweep(&mut self) {
        let open = self.files.iter().filter(|(_, file)| file.handles > 0);
        let reachable = self.dirs.reachable(ROOT, open.map(|(ino, _)| *ino));
        self.files.retain(|ino, _| reachable.contains(ino));
        self.dirs.all.retain(|ino, _| reachable.contains(ino));
    }

    /// # Errors
    /// `IO` without power or with a handle of an earlier life.
    pub fn read(&mut self, life: u64, ino: u64, offset: u64, len: usize) -> Answer<Vec<u8>> {
        self.check_handle(life)?;
        self.counters.reads += 1;
        Ok(self.file(ino)?.content.read(offset, len))
    }

    /// # Errors
    /// `NOSPC` where the file would grow over the limit; `IO` as for reads.
    pub fn write(&mut self, life: u64, ino: u64, offset: u64, bytes: &[u8]) -> Answer<()> {
        self.check_handle(life)?;
        self.change(|this| {
            this.check_room(ino, offset, bytes.len() as u64)?;
            this.file(ino)?.content.write(offset, bytes);
            this.counters.writes += 1;
            this.counters.write_bytes += bytes.len() as u64;
            Ok(())
        })
    }

    fn check_room(&mut self, ino: u64, offset: u64, len: u64) -> Answer<()> {
        let growth_bytes = self.file(ino)?.content.growth_bytes(offset, len);
        if growth_bytes > 0 && growth_bytes > self.free_bytes() {
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    /// # Errors
    /// As for writes.
    pub fn allocate(&mut self, life: u64, ino: u64, offset: u64, len: u64, keep_len: bool) -> Answer<()> {
        self.check_handle(life)?;
        self.change(|this| {
            this.check_room(ino, offset, len)?;
            this.file(ino)?.content.allocate(offset, len, keep_len);
            Ok(())
        })
    }

    /// # Errors
    /// `NOENT`, or `IO` without power.
    pub fn set_len(&mut self, ino: u64, len: u64) -> Answer<()> {
        self.change(|this| {
            this.file(ino)?.content.set_len(len);
            Ok(())
        })
    }

    /// Makes a file's content durable; not its name.
    ///
    /// # Errors
    /// `IO` without power or with a handle of an earlier life.
    pub fn sync(&mut self, life: u64, ino: u64) -> Answer<()> {
        self.check_handle(life)?;
        self.change(|this| {
            this.file(ino)?.content.sync();
            this.counters.syncs += 1;
            Ok(())
        })
    }

    /// A sync that fails: what was not durable in the file is lost.
    ///
    /// # Errors
    /// Always `IO`.
    pub fn fail_sync(&mut self, life: u64, ino: u64) -> Answer<()> {
        self.check_handle(life)?;
        self.file(ino)?.content.lose_unsynced();
        Err(Errno::IO)
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// `NOENT`, `NOTDIR`, or `IO` as for [`Store::sync`].
    pub fn sync_dir(&mut self, life: u64, dir: u64) -> Answer<()> {
        self.check_handle(life)?;
        self.change(|this| {
            this.dir(dir)?;
            this.dirs.sync(dir);
            this.counters.dir_syncs += 1;
            this.sweep();
            Ok(())
        })
    }
}
