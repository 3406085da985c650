//! Engines alone on a disk that keeps only what was synced: also what they make while they open.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use bytes::Bytes;
use spine_faultdisk::{Cut, skip};
use spine_storage::disk::RealDisk;
use spine_storage::engine::{Change, factory_by_name};

use crate::fuse::Mount;

const JOB: &str = "SPINE_FAULTDISK_ENGINE_JOB";
const RECORDS_OF_LIFE: u32 = 500;
const SYNCED: &str = "everything is synced";
/// Writes, or only opens.
const LIVES: [bool; 8] = [true, false, true, false, false, true, true, false];

fn records(lives: u32) -> impl Iterator<Item = (Bytes, Bytes)> {
    let record = |number| (Bytes::from(format!("key-{number:06}")), Bytes::from(vec![1; 300]));
    (0..lives * RECORDS_OF_LIFE).map(record)
}

/// One life of an engine; not a test by itself.
#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let [engine, dir, lives, write] = job.splitn(4, '|').collect::<Vec<_>>().try_into().unwrap();
    let (dir, lives): (PathBuf, u32) = (dir.into(), lives.parse().unwrap());
    let disk = RealDisk::shared();
    disk.create_dir_all(&dir).unwrap();
    let engine = factory_by_name(engine).unwrap().open(&dir).unwrap();
    // As a generation of a replica does.
    disk.sync_dir(&dir).unwrap();
    let found = engine.range(b"", b"", usize::MAX).unwrap();
    assert!(
        found.iter().cloned().eq(records(lives)),
        "{} records",
        found.len()
    );
    if write == "true" {
        let batch: Vec<Change> = records(lives + 1)
            .map(|(key, value)| (key, Some(value)))
            .collect();
        engine.write_sorted(&batch).unwrap();
        engine.sync().unwrap();
    }
    println!("{SYNCED}");
    // Until the power goes.
    let _ = std::io::stdin().read(&mut [0]);
}

fn start(job: &str) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "engines::child", "--nocapture"])
        .env(JOB, job)
        // sled runs the program `sync` where it finds it; nothing may rest on that.
        .env("PATH", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn live_through_cuts(engine: &str) {
    if skip() {
        return;
    }
    for seed in 0..4 {
        let mount = Mount::new();
        let dir = mount.path("engine");
        let mut lives = 0;
        for (life, write) in (1_u64..).zip(LIVES) {
            one_life(
                &mount,
                &format!("{engine}|{}|{lives}|{write}", dir.display()),
                |mount| {
                    let cut = if seed == 0 {
                        Cut::Clean
                    } else {
                        Cut::Torn(seed * 100 + life)
                    };
                    mount.disk.power_cut(cut).unwrap();
                },
            );
            lives += u32::from(write);
        }
    }
}

fn one_life(mount: &Mount, job: &str, cut: impl FnOnce(&Mount)) {
    let mut child = start(job);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let synced = lines.map_while(Result::ok).any(|line| line.contains(SYNCED));
    cut(mount);
    let _ = child.kill();
    child.wait().unwrap();
    mount.disk.power_on().unwrap();
    assert!(synced, "{job}: see above");
}

#[test]
fn sled_keeps_what_it_synced() {
    live_through_cuts("sled");
}

#[test]
fn fjall_keeps_what_it_synced() {
    live_through_cuts("fjall");
}

/// A test of the tests: without a sync, a file made on the way is gone.
#[test]
fn a_name_that_was_not_synced_is_gone() {
    if skip() {
        return;
    }
    let mount = Mount::new();
    std::fs::create_dir(mount.path("engine")).unwrap();
    mount.disk.power_cut(Cut::Clean).unwrap();
    mount.disk.power_on().unwrap();
    assert!(!Path::new(&mount.path("engine")).exists());
}
