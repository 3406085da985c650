//! One life of a process on a simulated disk: when the power has gone, nothing of it reaches the disk any more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use spine_storage::disk::{Disk, DiskFile, SimDisk};

pub(crate) struct Machine {
    disk: SimDisk,
    power_cuts: u64,
}

impl Machine {
    pub(crate) fn boot(disk: &SimDisk) -> Arc<dyn Disk> {
        Arc::new(Self {
            disk: disk.clone(),
            power_cuts: disk.counters().power_cuts,
        })
    }

    fn on(&self) -> io::Result<&SimDisk> {
        if self.disk.counters().power_cuts == self.power_cuts {
            Ok(&self.disk)
        } else {
            Err(io::Error::other("the power has gone"))
        }
    }
}

impl Disk for Machine {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.on()?.open(path, create)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.on()?.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.on()?.list(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.on()?.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on()?.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.on()?.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.on()?.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.on()?.sync_dir(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.on()?.free_bytes(path)
    }
    fn stalled(&self) -> bool {
        self.disk.stalled()
    }
}
