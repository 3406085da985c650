//! The mounted disk. Skipped, loudly, where it cannot be mounted.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use spine_faultdisk::{Command, Cut, FailSync, FaultDisk, skip};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_faultdisk");

pub(crate) struct Mount {
    pub(crate) disk: FaultDisk,
    /// After the disk, so that it is unmounted when its directory goes.
    _directory: TempDir,
}

impl Mount {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("faultdisk-").tempdir().unwrap();
        let disk = FaultDisk::mount(Path::new(PROGRAM), directory.path()).unwrap();
        Self {
            disk,
            _directory: directory,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.disk.directory().join(name)
    }

    fn write_synced(&self, name: &str, content: &[u8]) {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(content).unwrap();
        file.sync_data().unwrap();
        self.sync_dir();
    }

    fn sync_dir(&self) {
        File::open(self.disk.directory()).unwrap().sync_all().unwrap();
    }

    fn cut(&self) {
        self.disk.power_cut(Cut::Clean).unwrap();
        self.disk.power_on().unwrap();
    }

    fn order(&self, command: &Command) {
        self.disk.order(command).unwrap();
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mounts").unwrap()
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    mount.write_synced("kept", b"kept");
    mount.write_synced("renamed-from", b"r");
    fs::write(mount.path("name-not-synced"), b"x").unwrap();
    File::open(mount.path("name-not-synced"))
        .unwrap()
        .sync_all()
        .unwrap();
    let mut open = OpenOptions::new().append(true).open(mount.path("kept")).unwrap();
    open.write_all(b" and lost").unwrap();
    assert_eq!(fs::read(mount.path("kept")).unwrap(), b"kept and lost");
    fs::rename(mount.path("renamed-from"), mount.path("renamed-to")).unwrap();
    mount.cut();
    assert_eq!(fs::read(mount.path("kept")).unwrap(), b"kept");
    assert!(!mount.path("name-not-synced").exists());
    assert!(!mount.path("renamed-to").exists());
    assert_eq!(fs::read(mount.path("renamed-from")).unwrap(), b"r");
    assert!(open.write_all(b"dead").is_err());
    assert!(open.sync_all().is_err());
}

#[test]
fn files_do_what_files_do() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    let deep = mount.path("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    fs::write(deep.join("big"), &content).unwrap();
    assert_eq!(fs::read(deep.join("big")).unwrap(), content);
    fs::copy(deep.join("big"), deep.join("copy")).unwrap();
    assert_eq!(fs::read(deep.join("copy")).unwrap(), content);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(deep.join("copy"))
        .unwrap();
    file.set_len(10).unwrap();
    file.write_all_at(b"xyz", 20).unwrap();
    let mut tail = Vec::new();
    (&file).seek(SeekFrom::Start(8)).unwrap();
    (&file).read_to_end(&mut tail).unwrap();
    assert_eq!(tail[2..12], [0; 10]);
    assert_eq!(tail[12..], *b"xyz");
    for number in 0..300 {
        fs::write(deep.join(format!("many-{number}")), b"").unwrap();
    }
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 302);
    assert!(fs::remove_dir(&deep).is_err());
    file.try_lock().unwrap();
    let other = File::open(deep.join("copy")).unwrap();
    assert!(other.try_lock().is_err());
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 5_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5_000);
    fs::remove_dir_all(mount.path("a")).unwrap();
    assert_eq!(fs::read_dir(mount.disk.directory()).unwrap().count(), 0);
}

#[test]
fn a_stalled_fsync_waits_until_healed_and_others_go_on() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    mount.write_synced("file", b"old");
    mount.order(&Command::StallSync(None));
    let file = OpenOptions::new().write(true).open(mount.path("file")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    let (done, ended) = mpsc::channel();
    let waiting = thread::spawn(move || done.send(file.sync_data().is_ok()).unwrap());
    assert!(ended.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!(mount.disk.counters().unwrap().waiting, 1);
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"new");
    mount.disk.heal().unwrap();
    assert!(ended.recv_timeout(Duration::from_secs(5)).unwrap());
    waiting.join().unwrap();
    mount.cut();
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"new");
}

#[test]
fn a_sync_that_waits_fails_with_the_power() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    mount.write_synced("file", b"old");
    mount.order(&Command::StallSync(Some(60_000)));
    let file = OpenOptions::new().write(true).open(mount.path("file")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    let waiting = thread::spawn(move || file.sync_data());
    while mount.disk.counters().unwrap().waiting == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    mount.cut();
    assert!(waiting.join().unwrap().is_err());
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"old");
}

#[test]
fn a_failed_fsync_loses_what_it_should_have_kept() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    mount.write_synced("file", b"old");
    mount.order(&Command::FailSync(FailSync::Once));
    let file = OpenOptions::new().write(true).open(mount.path("file")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    assert!(file.sync_data().is_ok());
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"old");
    mount.order(&Command::FailSync(FailSync::Always));
    assert!(file.sync_data().is_err());
    assert!(file.sync_all().is_err());
    mount.disk.heal().unwrap();
    assert!(file.sync_data().is_ok());
}

#[test]
fn slow_full_and_corrupt_hold_until_healed() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    mount.write_synced("wal-1", &[0; 4096]);
    mount.write_synced("other", &[0; 4096]);
    mount.order(&Command::CorruptRead("wal-".to_owned()));
    let flipped = |name: &str| {
        let bytes = fs::read(mount.path(name)).unwrap();
        bytes.iter().map(|byte| byte.count_ones()).sum::<u32>()
    };
    assert!(flipped("wal-1") > 0);
    assert_eq!(flipped("other"), 0);
    mount.order(&Command::Full(0));
    let full = fs::write(mount.path("new"), b"x").unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let stat = rustix::fs::statvfs(mount.disk.directory()).unwrap();
    assert_eq!(stat.f_bavail, 0);
    mount.order(&Command::Slow(50));
    let began = Instant::now();
    fs::read(mount.path("other")).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50));
    mount.disk.heal().unwrap();
    assert_eq!(flipped("wal-1"), 0);
    fs::write(mount.path("new"), b"x").unwrap();
}

/// Several threads that write and sync files of their own at a time.
#[test]
fn threads_do_not_wait_for_each_other_for_ever() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    let threads: Vec<_> = (0..4_u8)
        .map(|number| {
            let path = mount.path(&format!("file-{number}"));
            thread::spawn(move || {
                let mut file = File::create(path).unwrap();
                for _ in 0..200 {
                    file.write_all(&[number; 4096]).unwrap();
                    file.sync_data().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    mount.sync_dir();
    mount.cut();
    for number in 0..4_u8 {
        let content = fs::read(mount.path(&format!("file-{number}"))).unwrap();
        assert_eq!(content, vec![number; 4096 * 200]);
    }
}

#[test]
fn no_mount_and_no_user_is_left() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    let directory = mount.disk.directory().to_owned();
    let shown = directory.to_string_lossy().into_owned();
    fs::write(mount.path("held"), b"x").unwrap();
    let held = File::open(mount.path("held")).unwrap();
    let mut user = Process::new("sleep").arg("600").stdin(held).spawn().unwrap();
    assert!(mounts().contains(&shown));
    let Mount { disk, _directory } = mount;
    drop(disk);
    assert!(!mounts().contains(&shown));
    let status = user.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

/// As after SIGKILL of the parent: the end of stdin is all that is left.
#[test]
fn the_end_of_its_orders_unmounts() {
    if skip() {
        return;
    }
    let directory = tempfile::Builder::new().prefix("faultdisk-").tempdir().unwrap();
    let shown = directory.path().to_string_lossy().into_owned();
    let mut child = Process::new(PROGRAM)
        .arg(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while !mounts().contains(&shown) && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(mounts().contains(&shown));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!mounts().contains(&shown));
}

/// A mount whose program was killed is taken away by the next one.
#[test]
fn a_killed_program_leaves_nothing_for_long() {
    if skip() {
        return;
    }
    let first = Mount::new();
    let shown = first.disk.directory().to_string_lossy().into_owned();
    let pid = i32::try_from(first.disk.process_id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    while fs::metadata(first.disk.directory()).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(first.disk.counters().is_err());
    let second = Mount::new();
    assert!(!mounts().contains(&shown));
    second.write_synced("works", b"x");
}
