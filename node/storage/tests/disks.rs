//! What both disks do alike, and what the simulated one does when asked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spine_storage::disk::{Disk, RealDisk, SimDisk};
use tempfile::TempDir;

const SEEDS: u64 = 200;

fn behaves(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    assert!(disk.list(&dir).unwrap().is_empty());
    disk.create_dir_all(&dir).unwrap();
    disk.create_dir_all(&dir).unwrap();
    let path = dir.join("file");
    assert_eq!(disk.open(&path, false).err().unwrap().kind(), ErrorKind::NotFound);
    let file = disk.open(&path, true).unwrap();
    assert_eq!(
        disk.open(&path, true).err().unwrap().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        disk.open(&root.join("none/file"), true).err().unwrap().kind(),
        ErrorKind::NotFound
    );
    file.write_all_at(b"hello", 5000).unwrap();
    assert_eq!(file.len().unwrap(), 5005);
    let mut buf = [9; 7];
    file.read_exact_at(&mut buf, 4998).unwrap();
    assert_eq!(&buf, b"\0\0hello");
    assert_eq!(
        file.read_exact_at(&mut buf, 5000).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    file.set_len(5002).unwrap();
    file.set_len(5004).unwrap();
    file.read_exact_at(&mut buf, 4997).unwrap();
    assert_eq!(&buf, b"\0\0\0he\0\0");
    file.sync_data().unwrap();
    disk.sync_dir(&dir).unwrap();
    let moved = dir.join("moved");
    disk.write_atomic(&moved, b"old").unwrap();
    disk.write_atomic(&moved, b"new").unwrap();
    assert_eq!(disk.read(&moved).unwrap(), b"new");
    disk.rename(&path, &moved).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["moved"]);
    assert_eq!(disk.read(&moved).unwrap().len(), 5004);
    disk.remove_file(&moved).unwrap();
    assert!(!disk.exists(&moved).unwrap());
    assert_eq!(disk.remove_file(&moved).unwrap_err().kind(), ErrorKind::NotFound);
    file.read_exact_at(&mut buf, 4997).unwrap();
    assert_eq!(&buf, b"\0\0\0he\0\0", "an open file outlives its name");
    assert!(disk.free_bytes(root).unwrap() > 0);
    disk.rename(&root.join("a"), &root.join("c")).unwrap();
    disk.open(&root.join("c/b/other"), true).unwrap();
    assert_eq!(disk.list(root).unwrap(), ["c"]);
    disk.remove_dir_all(&root.join("c")).unwrap();
    assert!(disk.list(root).unwrap().is_empty());
}

#[test]
fn both_disks_behave_alike() {
    let temp = TempDir::new().unwrap();
    behaves(&RealDisk, temp.path());
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/root")).unwrap();
    behaves(&disk, Path::new("/root"));
}

fn dir() -> PathBuf {
    PathBuf::from("/d")
}

fn prepared(seed: u64) -> (SimDisk, Arc<dyn spine_storage::disk::DiskFile>) {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(&dir()).unwrap();
    let file = disk.open(&dir().join("f"), true).unwrap();
    file.write_all_at(&[1; 8192], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(&dir()).unwrap();
    (disk, file)
}

#[test]
fn a_power_cut_keeps_what_is_durable_and_some_of_the_rest() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (disk, file) = prepared(seed);
        file.write_all_at(&[2; 5000], 1000).unwrap();
        disk.power_cut();
        assert!(file.sync_data().is_err(), "handles die with the power");
        let bytes = disk.read(&dir().join("f")).unwrap();
        assert!(
            bytes[..1000].iter().chain(&bytes[6000..]).all(|byte| *byte == 1),
            "durable bytes changed"
        );
        match bytes[1000..6000].iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            5000 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(
        lost > 10 && kept > 10 && torn > 10,
        "lost {lost}, kept {kept}, torn {torn}"
    );
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let (mut created, mut renamed, mut removed) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (disk, _) = prepared(seed);
        for name in ["r", "x"] {
            disk.open(&dir().join(name), true).unwrap();
        }
        disk.sync_dir(&dir()).unwrap();
        let new = disk.open(&dir().join("new"), true).unwrap();
        new.sync_data().unwrap();
        disk.rename(&dir().join("r"), &dir().join("s")).unwrap();
        disk.remove_file(&dir().join("x")).unwrap();
        disk.power_cut();
        let names = disk.list(&dir()).unwrap();
        let has = |name: &str| names.iter().any(|found| found == name);
        assert!(has("f"));
        assert!(has("r") != has("s"), "a rename is whole or not at all: {names:?}");
        created += u64::from(has("new"));
        renamed += u64::from(has("s"));
        removed += u64::from(!has("x"));
    }
    for happened in [created, renamed, removed] {
        assert!(happened > 10 && happened < SEEDS - 10, "{happened} of {SEEDS}");
    }
}

#[test]
fn an_atomic_write_is_old_or_new_at_every_cut() {
    for seed in 0..SEEDS {
        let (disk, _) = prepared(seed);
        let path = dir().join("small");
        disk.write_atomic(&path, b"old").unwrap();
        disk.cut_power_at(disk.counters().operations + 1 + seed % 6);
        let written = disk.write_atomic(&path, b"new").is_ok();
        disk.cut_power_at(u64::MAX);
        disk.power_on();
        let read = disk.read(&path).unwrap();
        assert!(read == b"new" || (!written && read == b"old"), "{read:?}");
    }
}

#[test]
fn faults_on_order() {
    let (disk, file) = prepared(1);
    disk.fail_next_sync(None);
    file.write_all_at(&[3; 10], 0).unwrap();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(
        disk.read(&dir().join("f")).unwrap()[..10],
        [1; 10],
        "marked clean and lost"
    );
    disk.corrupt(&dir().join("f"), 4090, 10).unwrap();
    let bytes = disk.read(&dir().join("f")).unwrap();
    assert_eq!(bytes.iter().filter(|byte| **byte == !1).count(), 10);
    disk.fill(Some(disk.used_bytes()));
    assert_eq!(disk.free_bytes(&dir()).unwrap(), 0);
    file.write_all_at(&[4; 100], 0).unwrap();
    assert_eq!(
        file.write_all_at(&[4; 100], 8192).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    disk.fill(None);
    file.write_all_at(&[4; 100], 8192).unwrap();
    assert!(!disk.stalled());
    disk.stall(true);
    assert!(disk.stalled());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let (disk, file) = prepared(77);
        for at in 0..20_u8 {
            file.write_all_at(&[at; 700], u64::from(at) * 500).unwrap();
        }
        disk.power_cut();
        disk.read(&dir().join("f")).unwrap()
    };
    assert_eq!(run(), run());
}
