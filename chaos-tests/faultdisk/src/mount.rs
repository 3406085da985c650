//! The disk as a mounted file system.
//!
//! Files are opened with direct I/O and no attribute is cached, so that the kernel keeps nothing which a power cut
//! would have to take from it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;
use rustix::mount::{UnmountFlags, unmount};

use crate::command::Command;
use crate::faults::{Faults, Wait};
use crate::later::Later;
use crate::store::{Kind, Store};
use crate::{Counters, holders};

/// Nothing is cached.
const TTL: Duration = Duration::ZERO;
/// Inode numbers are never reused.
const GENERATION: Generation = Generation(0);
/// Kernel threads that may be answered at a time; a sync that waits holds none of them.
const THREADS: usize = 2;
/// The most that the kernel writes in one request, bytes.
const MAX_WRITE_BYTES: u32 = 1 << 20;
/// As `/proc/mounts` shows it, so that stale mounts are found.
const SOURCE: &str = "spine-faultdisk";
const BLOCK_BYTES: u32 = 4096;
const NAME_BYTES_MAX: u32 = 255;

struct State {
    store: Store,
    faults: Faults,
}

/// What requests and orders share.
#[derive(Clone)]
struct Disk {
    state: Arc<Mutex<State>>,
    later: Later,
}

/// A mounted disk; unmounted when dropped.
pub struct Mounted {
    disk: Disk,
    directory: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// Mounts an empty disk on a directory.
    ///
    /// # Errors
    /// Not root, no `/dev/fuse`, or no such directory.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let directory = directory.canonicalize()?;
        let state = State {
            store: Store::default(),
            faults: Faults::default(),
        };
        let disk = Disk {
            state: Arc::new(Mutex::new(state)),
            later: Later::start()?,
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(SOURCE.to_owned()), MountOption::NoAtime];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(disk.clone(), &directory, &config)?;
        Ok(Self {
            disk,
            directory,
            session: Some(session),
        })
    }

    /// Carries out an order; the answer is for [`Command::Counters`].
    #[must_use]
    pub fn order(&self, command: Command) -> Counters {
        let Disk { state, later } = &self.disk;
        let mut held = state.lock();
        let State { store, faults } = &mut *held;
        let mut release = false;
        match command {
            Command::PowerCut(cut) => {
                store.power_cut(cut);
                release = true;
            }
            Command::PowerCutAfter(changes, cut) => store.plan_cut(changes, cut),
            Command::PowerOn => {
                faults.stall = None;
                faults.fail_sync = None;
                store.power_on();
            }
            Command::StallSync(ms) => faults.stall = Some(ms.map(Duration::from_millis)),
            Command::FailSync(fail) => faults.fail_sync = Some(fail),
            Command::Slow(ms) => faults.slow = Some(Duration::from_millis(ms)),
            Command::Full(free_bytes) => store.limit_free(Some(free_bytes)),
            Command::CorruptRead(part) => faults.corrupt_read = Some(part),
            Command::Heal => {
                *faults = Faults::default();
                store.limit_free(None);
                release = true;
            }
            Command::Counters | Command::Quit => {}
        }
        let mut counters = store.counters();
        drop(held);
        if release {
            later.release();
        }
        counters.waiting = later.len() as u64;
        counters
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Who uses the disk must not outlive it; a process that waits for an answer cannot die before it has one.
        holders::kill(&self.directory);
        let _ = self.order(Command::PowerCut(crate::Cut::Clean));
        let _ = unmount(&self.directory, UnmountFlags::DETACH);
        drop(self.session.take());
    }
}

/// Takes away mounts whose program died without doing so itself.
pub fn clear_stale() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(source), Some(directory)) = (words.next(), words.next()) else {
            continue;
        };
        let dead = || matches!(rustix::fs::statvfs(directory), Err(rustix::io::Errno::NOTCONN));
        if source == SOURCE && dead() {
            let _ = unmount(directory, UnmountFlags::DETACH);
        }
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}

fn attributes(ino: u64, kind: Kind) -> FileAttr {
    let (size, kind, perm) = match kind {
        Kind::Dir => (0, FileType::Directory, 0o755),
        Kind::File(len) => (len, FileType::RegularFile, 0o644),
    };
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

impl Disk {
    fn entry(&self, ino: Result<u64, rustix::io::Errno>, reply: ReplyEntry) {
        let found = ino.and_then(|ino| Ok((ino, self.state.lock().store.kind(ino)?)));
        match found {
            Ok((ino, kind)) => reply.entry(&TTL, &attributes(ino, kind), GENERATION),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn sync_file(&self, life: u64, ino: u64) -> Result<(), rustix::io::Errno> {
        let mut state = self.state.lock();
        if state.faults.file_sync_fails() {
            return state.store.fail_sync(life, ino);
        }
        state.store.sync(life, ino)
    }

    fn sync_dir(&self, life: u64, ino: u64) -> Result<(), rustix::io::Errno> {
        let mut state = self.state.lock();
        if state.faults.dir_sync_fails() {
            return Err(rustix::io::Errno::IO);
        }
        state.store.sync_dir(life, ino)
    }

    fn transfer_wait(&self) -> Wait {
        self.state.lock().faults.transfer_wait()
    }

    fn read_now(&self, life: u64, ino: u64, offset: u64, size: u32) -> Result<Vec<u8>, rustix::io::Errno> {
        let mut state = self.state.lock();
        let len = usize::try_from(size).unwrap_or(0);
        let mut bytes = state.store.read(life, ino, offset, len)?;
        if let Some(part) = &state.faults.corrupt_read {
            let path = state.store.path_of(ino);
            let middle = bytes.len() / 2;
            if path.to_string_lossy().contains(part.as_str())
                && let Some(byte) = bytes.get_mut(middle)
            {
                *byte ^= 1;
            }
        }
        Ok(bytes)
    }
}

fn done(answer: Result<(), rustix::io::Errno>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn open_flags() -> FopenFlags {
    FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}

impl Filesystem for Disk {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(MAX_WRITE_BYTES);
        // Older kernels refuse shared mappings of files with direct I/O.
        let _ = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.state.lock().store.lookup(parent.0, name);
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let kind = self.state.lock().store.kind(ino.0);
        match kind {
            Ok(kind) => reply.attr(&TTL, &attributes(ino.0, kind)),
            Err(error) => reply.error(errno(error)),
        }
    }

    /// Lengths only: owners, rights and times are the same for all files.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state.lock();
        let set = size.map_or(Ok(()), |len| state.store.set_len(ino.0, len));
        let kind = set.and_then(|()| state.store.kind(ino.0));
        drop(state);
        match kind {
            Ok(kind) => reply.attr(&TTL, &attributes(ino.0, kind)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.state.lock().store.make_dir(parent.0, name);
        self.entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.state.lock().store.remove_file(parent.0, name);
        done(answer, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.state.lock().store.remove_dir(parent.0, name);
        done(answer, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        let answer = state.store.rename((parent.0, name), (newparent.0, newname));
        drop(state);
        done(answer, reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.state.lock();
        let created = state.store.create(parent.0, name);
        let life = state.store.life();
        drop(state);
        match created {
            Ok(ino) => {
                let attributes = attributes(ino, Kind::File(0));
                reply.created(&TTL, &attributes, GENERATION, FileHandle(life), open_flags());
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state.lock();
        let opened = state.store.open(ino.0);
        let life = state.store.life();
        drop(state);
        match opened {
            Ok(()) => reply.opened(FileHandle(life), open_flags()),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let disk = self.clone();
        self.later.run(self.transfer_wait(), move || {
            match disk.read_now(fh.0, ino.0, offset, size) {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    /// A slow write takes effect at once; only its answer is late.
    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.state.lock().store.write(fh.0, ino.0, offset, data);
        let len = u32::try_from(data.len()).unwrap_or(0);
        self.later.run(self.transfer_wait(), move || match written {
            Ok(()) => reply.written(len),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.state.lock().store.close(fh.0, ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        let wait = self.state.lock().faults.sync_wait();
        let disk = self.clone();
        self.later
            .run(wait, move || done(disk.sync_file(fh.0, ino.0), reply));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let life = self.state.lock().store.life();
        reply.opened(FileHandle(life), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state.lock();
        let (parent, entries) = match state.store.entries(ino.0) {
            Ok(found) => found,
            Err(error) => return reply.error(errno(error)),
        };
        let dots = [(".".into(), ino.0), ("..".into(), parent)];
        let all = dots.into_iter().chain(entries);
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((name, child), next) in all.zip(1_u64..).skip(skip) {
            let kind = match state.store.kind(child) {
                Ok(Kind::File(_)) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(INodeNo(child), next, kind, name) {
                break;
            }
        }
        drop(state);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        let wait = self.state.lock().faults.sync_wait();
        let disk = self.clone();
        self.later
            .run(wait, move || done(disk.sync_dir(fh.0, ino.0), reply));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = self.state.lock().store.free_bytes() / u64::from(BLOCK_BYTES);
        let all = 2 * (1 << 40) / u64::from(BLOCK_BYTES);
        reply.statfs(
            all,
            free,
            free,
            1 << 20,
            1 << 20,
            BLOCK_BYTES,
            NAME_BYTES_MAX,
            BLOCK_BYTES,
        );
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = 1;
        if mode & !KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        let answer = state
            .store
            .allocate(fh.0, ino.0, offset, length, mode == KEEP_SIZE);
        drop(state);
        done(answer, reply);
    }
}
