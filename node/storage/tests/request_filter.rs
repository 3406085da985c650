//! A request id that is new is not looked for in the engine, and one that is known is found: before a restart, after it,
//! and where the state came as a snapshot.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use spine_proto::storage::v1;
use spine_statemachine::key::Family;
use spine_statemachine::{Applied, SubOutcome, txn};
use spine_storage::engine::{Change, Engine, EngineError, EngineFactory, EngineWatch, MemoryFactory};
use spine_storage::replica::{ApplyPayload, ReplicaStore};
use spine_storage::snapshot::{SnapshotInstaller, SnapshotSource};
use support::workload::{create, disk, log_id, mix, open, own_all_slots, txn_at};

/// Ids of one entry, and entries: with a second for each they fill several buckets.
const IDS: u64 = 20;
const ENTRIES: u64 = 300;

/// Counts how often the engine is asked for a request row.
struct Counting {
    inner: MemoryFactory,
    asked: Arc<AtomicU64>,
}

struct CountingEngine {
    inner: Box<dyn Engine>,
    asked: Arc<AtomicU64>,
}

impl EngineFactory for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(CountingEngine {
            inner: self.inner.open(dir)?,
            asked: Arc::clone(&self.asked),
        }))
    }
}

impl Engine for CountingEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        if key.first() == Some(&(Family::Request as u8)) {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.get(key)
    }
    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        self.inner.range(start, end, limit)
    }
    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError> {
        self.inner.write_sorted(batch)
    }
    fn sync(&self) -> Result<(), EngineError> {
        self.inner.sync()
    }
    fn reopen(&self) -> Result<(), EngineError> {
        self.inner.reopen()
    }
    fn memory_bytes(&self) -> u64 {
        self.inner.memory_bytes()
    }
}

fn call(id: u64) -> v1::SubTxn {
    let id: Bytes = [mix(id), mix(!id)].map(u64::to_be_bytes).concat().into();
    v1::SubTxn {
        request: Some(v1::RequestKey {
            body_digest: id.clone(),
            id,
            slot: 3,
            session: None,
        }),
        ..Default::default()
    }
}

/// The calls with these ids as the next entry, a second after the one before.
fn apply(store: &ReplicaStore, ids: impl Iterator<Item = u64>) -> Vec<SubOutcome> {
    let index = store.applied().map_or(1, |applied| applied.index + 1);
    let at_ms = 1_000 * i64::try_from(index).expect("small");
    apply_entry(store, txn_at(ids.map(call).collect(), at_ms))
}

fn apply_entry(store: &ReplicaStore, entry: Bytes) -> Vec<SubOutcome> {
    let index = store.applied().map_or(1, |applied| applied.index + 1);
    let applied = store.apply(vec![(log_id(index), ApplyPayload::Entry(entry))]);
    match applied.expect("applied").pop() {
        Some(Applied::Txn(outcomes)) => outcomes,
        _ => Vec::new(),
    }
}

/// New ids, from `from` on, take effect and the engine is hardly asked for them; the first ones are known.
fn check(store: &ReplicaStore, asked: &AtomicU64, from: u64) {
    let before = asked.load(Ordering::Relaxed);
    let outcomes = apply(store, from..from + 1_000);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, SubOutcome::Committed { .. }))
    );
    let asked = asked.load(Ordering::Relaxed) - before;
    assert!(
        asked < 100,
        "asked {asked} times for 1,000 new ids in six buckets"
    );
    let outcomes = apply(store, (0..IDS * ENTRIES).step_by(7));
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, SubOutcome::Replayed { .. }))
    );
}

#[test]
fn new_ids_are_not_looked_for_and_known_ones_are_found() {
    let home = tempfile::tempdir().expect("a directory");
    let asked = Arc::new(AtomicU64::new(0));
    let factory: Arc<dyn EngineFactory> = Arc::new(Counting {
        inner: MemoryFactory::new(disk()),
        asked: Arc::clone(&asked),
    });
    let store = create(&home.path().join("one"), Arc::clone(&factory));
    apply_entry(&store, own_all_slots());
    apply_entry(&store, txn::level(2));
    for entry in 0..ENTRIES {
        apply(&store, entry * IDS..(entry + 1) * IDS);
        if entry % 70 == 69 {
            store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
        }
    }
    let last = store.applied();
    store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
    check(&store, &asked, 1_000_000);

    // What was applied since the checkpoint is applied again by whoever opens it.
    drop(store);
    let store = open(&home.path().join("one"), Arc::clone(&factory)).expect("opened");
    assert_eq!(store.applied(), last);
    check(&store, &asked, 2_000_000);
    store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");

    let other = create(&home.path().join("other"), factory);
    let mut source = SnapshotSource::begin(&store, 0).expect("begin");
    let mut installer = SnapshotInstaller::begin(&other, source.header()).expect("begin");
    while let Some(chunk) = source.next_chunk().expect("chunk") {
        installer.chunk(chunk).expect("chunk");
    }
    let installed = installer.finish(&source.end().expect("end")).expect("finish");
    other.install(installed).expect("install");
    check(&other, &asked, 3_000_000);
}
