//! State of a level that this program does not know is refused, wherever it is met, and left as it is.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use spine_statemachine::store::OrderedRead as _;
use spine_statemachine::{LevelRange, key, levels, txn};
use spine_storage::disk::RealDisk;
use spine_storage::engine::{EngineFactory, EngineWatch, MemoryFactory};
use spine_storage::replica::{ApplyPayload, ReplicaError, ReplicaOptions, ReplicaStore};
use spine_storage::snapshot::{Installed, SnapshotInstaller, SnapshotSource};
use support::workload::{apply_to, disk, log_id};

const SEED: u64 = 3;
const NEW: LevelRange = LevelRange { min: 0, max: 2 };
const OLD: LevelRange = LevelRange { min: 0, max: 1 };
const LATER: LevelRange = LevelRange { min: 1, max: 3 };
/// Entries before the level rises.
const BEFORE: u64 = 40;

fn options(levels: LevelRange) -> ReplicaOptions {
    ReplicaOptions {
        levels,
        ..ReplicaOptions::default()
    }
}

fn factory() -> Arc<dyn EngineFactory> {
    Arc::new(MemoryFactory::new(Arc::new(RealDisk)))
}

fn create(dir: &Path, levels: LevelRange) -> ReplicaStore {
    ReplicaStore::create(disk(), dir, factory(), options(levels)).expect("create")
}

fn open(dir: &Path, levels: LevelRange) -> Result<ReplicaStore, ReplicaError> {
    ReplicaStore::open(disk(), dir, factory(), options(levels))
}

fn apply(store: &ReplicaStore, index: u64, entry: Bytes) -> Result<(), ReplicaError> {
    let applied = store.apply(vec![(log_id(index), ApplyPayload::Entry(entry))]);
    applied.map(|_| ())
}

/// At level 2 since the entry behind [`BEFORE`], durable.
fn raised(dir: &Path) -> ReplicaStore {
    let store = create(dir, NEW);
    apply_to(&store, SEED, BEFORE).expect("apply");
    assert!(!store.wants_checkpoint());
    apply(&store, BEFORE + 1, txn::level(2)).expect("apply");
    assert!(
        store.wants_checkpoint(),
        "a later program need not know the old rules"
    );
    store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
    assert!(!store.wants_checkpoint());
    store
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).expect("a file"));
        }
    }
    found
}

fn send(from: &ReplicaStore, to: &ReplicaStore) -> Result<Installed, ReplicaError> {
    let mut source = SnapshotSource::begin(from, 0).expect("begin");
    let mut installer = SnapshotInstaller::begin(to, source.header())?;
    while let Some(chunk) = source.next_chunk().expect("chunk") {
        installer.chunk(chunk).expect("chunk");
    }
    installer.finish(&source.end().expect("end"))
}

#[test]
fn state_of_an_unknown_level_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("replica");
    let digest = {
        let store = raised(&dir);
        store.status().digest
    };
    let before = files(&dir);
    match open(&dir, OLD) {
        Err(error @ ReplicaError::Level(_)) => assert_eq!(
            error.to_string(),
            "level 2 is in force and this program knows 0 to 1; install a release that does"
        ),
        _ => panic!("it is opened"),
    }
    assert!(before == files(&dir), "nothing was changed");
    for levels in [NEW, LATER] {
        let status = open(&dir, levels).expect("known").status();
        assert_eq!((status.level, status.digest), (2, digest));
    }
    // One that begins later than the state.
    let early = home.path().join("early");
    let store = create(&early, NEW);
    apply_to(&store, SEED, BEFORE).expect("apply");
    store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
    drop(store);
    assert!(matches!(open(&early, LATER), Err(ReplicaError::Level(_))));
}

#[test]
fn an_entry_of_an_unknown_level_halts_the_replica_for_good() {
    let home = tempfile::tempdir().expect("a directory");
    let store = create(home.path(), OLD);
    apply_to(&store, SEED, BEFORE).expect("apply");
    let halted = apply(&store, BEFORE + 1, txn::level(2)).expect_err("unknown");
    let why = format!(
        "at index {0}: level 2 is in force and this program knows 0 to 1; install a release that does",
        BEFORE + 1
    );
    assert!(matches!(halted, ReplicaError::Halted(said) if said == why));
    assert_eq!(store.status().halted, Some(why));
    assert!(!store.status().damaged, "it is not to be rebuilt");
    assert!(apply(&store, BEFORE + 1, txn::noop()).is_err() && store.read(|_| ()).is_err());
}

#[test]
fn snapshots_cross_releases_both_ways_as_far_as_levels_are_known() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = |name: &str| home.path().join(name);
    // From the old release to the new one, before the level rises.
    let old = create(&dir("old"), OLD);
    apply_to(&old, SEED, BEFORE).expect("apply");
    old.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
    let new = create(&dir("new"), NEW);
    new.install(send(&old, &new).expect("received"))
        .expect("installed");
    assert_eq!(new.status().digest, old.status().digest);
    // And back.
    new.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
    let other = create(&dir("other"), OLD);
    other
        .install(send(&new, &other).expect("received"))
        .expect("installed");
    assert_eq!(
        (other.status().digest, other.status().level),
        (old.status().digest, 0)
    );
    // Afterwards only to who knows it. The row comes along.
    let raised = raised(&dir("raised"));
    let later = create(&dir("later"), LATER);
    later
        .install(send(&raised, &later).expect("received"))
        .expect("installed");
    assert_eq!(
        (later.status().level, later.status().digest),
        (2, raised.status().digest)
    );
    let row = later
        .read(|view| view.get(&key::level()))
        .expect("read")
        .expect("read");
    assert_eq!(row.map(|row| row.value), Some(levels::value(2)));
    let before = files(&dir("other"));
    assert!(matches!(send(&raised, &other), Err(ReplicaError::Level(_))));
    let why = other.status().halted.expect("halted");
    assert!(
        why.contains("a snapshot: level 2 is in force and this program knows 0 to 1"),
        "{why}"
    );
    assert!(before == files(&dir("other")), "nothing was changed");
}
