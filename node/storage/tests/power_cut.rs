//! Power cuts at every disk operation of a checkpoint, an install, a creation and a removal, on the simulated disk.

mod support;

use std::path::Path;
use std::sync::Arc;

use spine_proto::storage::v1;
use spine_storage::disk::{Disk, SimDisk};
use spine_storage::engine::{EngineWatch, MemoryFactory};
use spine_storage::replica::{ReplicaError, ReplicaOptions, ReplicaStore};
use spine_storage::snapshot::{SnapshotInstaller, SnapshotSource};
use support::machine::Machine;
use support::workload::{apply_to, contents, expected, mix};

const DIR: &str = "/node/replicas/7";
const SEED: u64 = 3;
/// Different survivors of what was not durable; `SPINE_DISK_SEEDS` runs more.
const DISK_SEEDS: u64 = 4;

fn disk_seeds() -> u64 {
    std::env::var("SPINE_DISK_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(DISK_SEEDS)
}

fn create(disk: &SimDisk, dir: &str) -> Result<ReplicaStore, ReplicaError> {
    let disk = Machine::boot(disk);
    let factory = Arc::new(MemoryFactory::new(Arc::clone(&disk)));
    ReplicaStore::create(disk, Path::new(dir), factory, ReplicaOptions::default())
}

fn open(disk: &SimDisk) -> Result<ReplicaStore, ReplicaError> {
    let disk = Machine::boot(disk);
    let factory = Arc::new(MemoryFactory::new(Arc::clone(&disk)));
    ReplicaStore::open(disk, Path::new(DIR), factory, ReplicaOptions::default())
}

fn checkpoint(store: &ReplicaStore) -> Result<(), ReplicaError> {
    store.checkpoint_now(&EngineWatch::default()).map(drop)
}

fn durable(store: &ReplicaStore) -> u64 {
    store.durable_index().map_or(0, |id| id.index)
}

/// Runs `work` with the power cut at each of its operations in turn, then `check` with whether it had succeeded.
fn at_every_operation(
    prepare: impl Fn(&SimDisk) -> Option<ReplicaStore>,
    work: impl Fn(&SimDisk, Option<ReplicaStore>) -> Result<(), ReplicaError>,
    check: impl Fn(&SimDisk, bool),
) {
    for seed in 0..disk_seeds() {
        for step in 1_u64.. {
            let disk = SimDisk::new(seed * 1000 + step);

            let store = prepare(&disk);
            let cuts = disk.counters().power_cuts;
            disk.power_cut_after(step - 1);
            let done = work(&disk, store).is_ok();
            let struck = disk.counters().power_cuts > cuts;
            if !struck {
                // Without a cut in time there is still one after the end.
                disk.cancel_power_cut();
                disk.power_cut();
            }
            check(&disk, done);
            if !struck {
                assert!(done && step > 3, "the work itself failed");
                break;
            }
        }
    }
}

/// Opens with further cuts while opening, as a machine that cannot make up its mind.
fn open_with_cuts(disk: &SimDisk) -> ReplicaStore {
    for try_number in 0..3 {
        let cuts = disk.counters().power_cuts;
        disk.power_cut_after(mix(try_number + cuts) % 12);
        let opened = open(disk);
        disk.cancel_power_cut();
        match opened {
            Ok(store) if disk.counters().power_cuts == cuts => return store,
            Ok(_) => unreachable!("it opened on a disk without power"),
            Err(_) => {}
        }
    }
    open(disk).expect("open")
}

/// The state is exactly what the model says at its durable index, takes the replay, and can be checkpointed on.
fn check_state(disk: &SimDisk, allowed: &[u64]) {
    let store = open_with_cuts(disk);
    let found = durable(&store);
    assert!(
        allowed.contains(&found),
        "durable at {found}, expected one of {allowed:?}"
    );
    store.verify_scan().expect("scan");
    assert_eq!(contents(&store), expected(SEED, found));
    apply_to(&store, SEED, found + 20).expect("replay");
    checkpoint(&store).expect("the next checkpoint");
    drop(store);
    disk.power_cut();
    let store = open(disk).expect("open");
    store.verify_scan().expect("scan");
    assert_eq!(contents(&store), expected(SEED, found + 20));
    let names = disk.list(Path::new(DIR)).expect("list");
    let generations = names
        .iter()
        .filter(|name| name.starts_with("generation-"))
        .count();
    assert_eq!(generations, 1, "leftovers: {names:?}");
}

fn replica_at(disk: &SimDisk, marked: u64, applied: u64) -> ReplicaStore {
    let store = create(disk, DIR).expect("create");
    apply_to(&store, SEED, marked).expect("apply");
    checkpoint(&store).expect("checkpoint");
    apply_to(&store, SEED, applied).expect("apply");
    store
}

#[test]
fn a_checkpoint_is_whole_or_not_at_all() {
    at_every_operation(
        |disk| Some(replica_at(disk, 30, 60)),
        |_, store| checkpoint(&store.expect("prepared")),
        |disk, done| check_state(disk, if done { &[60] } else { &[30, 60] }),
    );
}

fn snapshot_at(index: u64) -> (v1::SnapshotHeader, Vec<v1::SnapshotChunk>, v1::SnapshotEnd) {
    let disk = SimDisk::new(1);
    let store = replica_at(&disk, index, index);
    let mut source = SnapshotSource::begin(&store, 0).expect("begin");
    let header = source.header();
    let mut chunks = Vec::new();
    while let Some(chunk) = source.next_chunk().expect("chunk") {
        chunks.push(chunk);
    }
    (header, chunks, source.end().expect("end"))
}

#[test]
fn an_install_is_whole_or_not_at_all() {
    let (header, chunks, end) = snapshot_at(80);
    at_every_operation(
        |disk| Some(replica_at(disk, 30, 40)),
        |_, store| {
            let store = store.expect("prepared");
            let mut installer = SnapshotInstaller::begin(&store, header.clone())?;
            chunks
                .iter()
                .try_for_each(|chunk| installer.chunk(chunk.clone()))?;
            store.install(installer.finish(&end)?)
        },
        |disk, done| check_state(disk, if done { &[80] } else { &[30, 80] }),
    );
}

#[test]
fn a_creation_is_whole_or_repeated() {
    at_every_operation(
        |_| None,
        |disk, _| create(disk, DIR).map(drop),
        |disk, done| {
            if !ReplicaStore::exists(disk, Path::new(DIR)).expect("exists") {
                assert!(!done, "a completed creation is gone");
                create(disk, DIR).expect("create again");
            }
            check_state(disk, &[0]);
        },
    );
}

#[test]
fn a_removal_leaves_all_or_nothing_that_looks_whole() {
    at_every_operation(
        |disk| {
            drop(replica_at(disk, 30, 30));
            None
        },
        |disk, _| {
            Ok(ReplicaStore::destroy(
                Machine::boot(disk).as_ref(),
                Path::new(DIR),
            )?)
        },
        |disk, done| {
            if ReplicaStore::exists(disk, Path::new(DIR)).expect("exists") {
                assert!(!done, "a completed removal came back");
                check_state(disk, &[30]);
            } else {
                create(disk, DIR).expect("create again");
                check_state(disk, &[0]);
            }
        },
    );
}

/// A sync that fails is never retried: the replica says so, and after the restart the old state is there.
#[test]
fn a_failed_sync_ends_the_checkpoint_and_loses_nothing() {
    for fail_after in 0..3_u64 {
        let disk = SimDisk::new(fail_after);

        let store = replica_at(&disk, 30, 60);
        let mut begun = store.begin_checkpoint().expect("begin").expect("there is work");
        for _ in 0..fail_after {
            begun.step(&EngineWatch::default()).expect("step");
        }
        disk.fail_next_sync();
        let failed = (0..8).find_map(|_| begun.step(&EngineWatch::default()).err());
        assert!(
            matches!(failed, Some(ReplicaError::Io(_))),
            "after {fail_after} steps"
        );
        drop(begun);
        drop(store);
        disk.power_cut();
        check_state(&disk, &[30, 60]);
    }
}
