//! What a replica's feed shows to those who watch it.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spine_proto::storage::v1::{self, guard, mutation};
use spine_statemachine::key::Family;
use spine_statemachine::store::{OrderedRead, Record};
use spine_storage::disk::RealDisk;
use spine_storage::engine::{EngineFactory, EngineWatch, MemoryFactory};
use spine_storage::replica::{ApplyPayload, FeedChange, ReplicaError, ReplicaOptions, ReplicaStore};
use spine_storage::snapshot::{SnapshotInstaller, SnapshotSource};
use support::workload::{
    apply_to, create, delete, disk, log_id, open, plain, prefix, put, record_key, txn_at,
};

/// Few subjects, so that every kind of change meets records that are there.
const SEED: u64 = 3;
const LAST: u64 = 400;

struct Case {
    factory: Arc<dyn EngineFactory>,
    home: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self {
            factory: Arc::new(MemoryFactory::new(Arc::new(RealDisk))),
            home: tempfile::tempdir().expect("a temporary directory"),
        }
    }
    fn dir(&self) -> PathBuf {
        self.home.path().join("replica")
    }
    fn create(&self) -> ReplicaStore {
        create(&self.dir(), Arc::clone(&self.factory))
    }
    fn bounded(&self, feed_bytes_max: usize) -> ReplicaStore {
        let options = ReplicaOptions {
            feed_bytes_max,
            ..ReplicaOptions::default()
        };
        ReplicaStore::create(disk(), &self.dir(), Arc::clone(&self.factory), options).expect("create")
    }
}

fn checkpoint(store: &ReplicaStore) {
    store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
}

/// Every change from `from` on, page after page, as (index, change).
fn seen(store: &ReplicaStore, from: u64, prefix: &[u8]) -> Vec<(u64, FeedChange)> {
    let last = store.applied().expect("applied").index;
    let (mut seen, mut next) = (Vec::new(), from);
    while next <= last {
        let page = store.feed(next, prefix).expect("kept");
        for entry in &page.entries {
            assert!((next..page.next).contains(&entry.index));
            let changes = entry
                .changes
                .iter()
                .filter(|change| change.key.starts_with(prefix));
            seen.extend(changes.map(|change| (entry.index, change.clone())));
        }
        next = page.next;
    }
    seen
}

fn short(seen: &[(u64, FeedChange)]) -> Vec<(u64, Bytes, Option<Bytes>)> {
    seen.iter()
        .map(|(index, change)| {
            let value = change.record.as_ref().map(|record| record.value.clone());
            (*index, change.key.clone(), value)
        })
        .collect()
}

fn apply(store: &ReplicaStore, index: u64, entry: Bytes) {
    store
        .apply(vec![(log_id(index), ApplyPayload::Entry(entry))])
        .expect("apply");
}

/// Membership and slots: the entries 1 and 2 of every run.
fn begun(store: &ReplicaStore) {
    apply_to(store, SEED, 2).expect("apply");
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn the_feed_alone_rebuilds_the_records_in_order() {
    let case = Case::new();
    let store = case.create();
    for at in (20..=LAST).step_by(20) {
        apply_to(&store, SEED, at).expect("apply");
        if at % 100 == 0 {
            checkpoint(&store);
        }
    }
    let seen = seen(&store, 0, b"");
    let mut rebuilt: BTreeMap<Bytes, Record> = BTreeMap::new();
    for (index, change) in &seen {
        match &change.record {
            Some(record) => {
                assert_eq!(record.revision, *index, "every put once, at its own revision");
                rebuilt.insert(change.key.clone(), record.clone());
            }
            None => assert!(
                rebuilt.remove(&change.key).is_some(),
                "a removal is of what was there"
            ),
        }
    }
    let held: BTreeMap<Bytes, Record> = store
        .read(|view| view.range(&[Family::Records as u8], &[Family::Stream as u8 + 1], usize::MAX))
        .expect("running")
        .expect("range")
        .into_iter()
        .collect();
    assert!(rebuilt == held, "{} rebuilt, {} held", rebuilt.len(), held.len());
    let of = |family: Family, removed: bool| {
        seen.iter()
            .filter(|(_, change)| {
                change.key.first() == Some(&(family as u8)) && change.record.is_none() == removed
            })
            .count()
    };
    assert!(
        of(Family::Records, false) > 500 && of(Family::Records, true) > 50 && of(Family::Stream, false) > 50
    );
    assert_eq!(
        seen.iter()
            .filter(|(_, change)| !matches!(change.key.first(), Some(0x10 | 0x20)))
            .count(),
        0,
        "neither request ids nor rows of the shard"
    );
}

#[test]
fn only_what_committed_is_shown() {
    let store = Case::new().create();
    begun(&store);
    let key = record_key(1, 0);
    let guarded = |absent: &Bytes, text| v1::SubTxn {
        guards: vec![v1::Guard {
            kind: Some(guard::Kind::Absent(v1::Absent { key: absent.clone() })),
        }],
        mutations: vec![put(key.clone(), value(text))],
        ..Default::default()
    };
    let other = record_key(2, 0);
    apply(
        &store,
        3,
        txn_at(
            vec![
                guarded(&key, "one"),
                guarded(&key, "refused"),
                guarded(&other, "two"),
            ],
            1,
        ),
    );
    apply(&store, 4, plain(vec![delete(record_key(9, 9))]));
    apply(&store, 5, plain(vec![delete(key.clone())]));
    let shown = short(&seen(&store, 3, b""));
    let expected = [
        (3, key.clone(), Some(value("one"))),
        (3, key.clone(), Some(value("two"))),
        (5, key, None),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_prefix_shows_its_keys_and_their_appends() {
    let store = Case::new().create();
    begun(&store);
    let stream: Bytes = prefix(Family::Stream as u8, 7).into();
    let append = |text| v1::Mutation {
        kind: Some(mutation::Kind::Append(v1::Append {
            stream: stream.clone(),
            value: value(text),
            schema: 1,
            chained: false,
        })),
    };
    apply(
        &store,
        3,
        plain(vec![append("a"), put(record_key(7, 0), value("r")), append("b")]),
    );
    apply(&store, 4, plain(vec![append("c")]));
    let values: Vec<_> = short(&seen(&store, 3, &stream))
        .into_iter()
        .map(|(index, _, value)| (index, value.expect("appended")))
        .collect();
    assert_eq!(values, [(3, value("a")), (3, value("b")), (4, value("c"))]);
    assert_eq!(
        short(&seen(&store, 3, &prefix(Family::Records as u8, 7))).len(),
        1
    );
    assert!(seen(&store, 3, &prefix(Family::Records as u8, 8)).is_empty());
}

#[test]
fn a_reopened_replica_shows_the_same_again_from_its_checkpoint_on() {
    let case = Case::new();
    let store = case.create();
    apply_to(&store, SEED, 150).expect("apply");
    checkpoint(&store);
    apply_to(&store, SEED, LAST).expect("apply");
    let before = short(&seen(&store, 151, b""));
    drop(store);
    let store = open(&case.dir(), Arc::clone(&case.factory)).expect("open");
    assert_eq!(store.feed_floor(), 151);
    assert!(matches!(
        store.feed(150, b"").err().expect("not kept"),
        ReplicaError::Compacted { floor: 151 }
    ));
    let page = store.feed(151, b"").expect("kept, and nothing yet");
    assert_eq!((page.entries.len(), page.next), (0, 151));
    apply_to(&store, SEED, LAST).expect("replay");
    assert_eq!(short(&seen(&store, 151, b"")), before);
}

#[test]
fn the_ring_is_bounded_and_shares_its_bytes_with_the_delta() {
    const BYTES_MAX: usize = 100_000;
    let store = Case::new().bounded(BYTES_MAX);
    begun(&store);
    for index in 3..1_003 {
        let subject = index;
        let body = Bytes::from(vec![7; 1_000]);
        apply(&store, index, plain(vec![put(record_key(subject, 0), body)]));
    }
    let status = store.status();
    assert!(status.feed_bytes <= BYTES_MAX && status.feed_bytes > BYTES_MAX * 9 / 10);
    assert!(status.feed_floor > 900, "the oldest are gone");
    let newest = seen(&store, 1_002, b"");
    let held = store
        .read(|view| view.get(&newest[0].1.key))
        .expect("running")
        .expect("get")
        .expect("there");
    let fed = newest[0].1.record.as_ref().expect("put");
    assert_eq!(fed.value.as_ptr(), held.value.as_ptr(), "not a copy");
}

#[test]
fn an_entry_that_halts_the_replica_is_never_shown() {
    let store = Case::new().create();
    begun(&store);
    let unknown = vec![(
        log_id(3),
        ApplyPayload::Entry(Bytes::from_static(&[0xfa, 0x3f, 1, 7])),
    )];
    store.apply(unknown).err().expect("halts");
    assert!(matches!(
        store.feed(3, b"").err().expect("halted"),
        ReplicaError::Halted(_)
    ));
}

#[tokio::test]
async fn who_waits_is_woken_by_entries_and_by_a_snapshot() {
    const SOON: Duration = Duration::from_secs(10);
    let case = Case::new();
    let giver = case.create();
    apply_to(&giver, SEED, 60).expect("apply");
    checkpoint(&giver);
    let taker = create(&case.home.path().join("taker"), Arc::clone(&case.factory));
    apply_to(&taker, SEED, 10).expect("apply");
    let waiting = |from| {
        let taker = taker.clone();
        tokio::spawn(async move { tokio::time::timeout(SOON, taker.fed(from)).await })
    };
    let (next, later) = (waiting(11), waiting(30));
    tokio::task::yield_now().await;
    assert!(!next.is_finished() && !later.is_finished());
    apply_to(&taker, SEED, 11).expect("apply");
    next.await.expect("a task").expect("woken");
    assert!(!later.is_finished(), "its index is not there yet");

    let mut source = SnapshotSource::begin(&giver, 0).expect("begin");
    let mut installer = SnapshotInstaller::begin(&taker, source.header()).expect("begin");
    while let Some(chunk) = source.next_chunk().expect("chunk") {
        installer.chunk(chunk).expect("chunk");
    }
    let installed = installer.finish(&source.end().expect("end")).expect("finish");
    taker.install(installed).expect("install");
    later.await.expect("a task").expect("woken");
    assert!(matches!(
        taker.feed(30, b"").err().expect("the snapshot skipped it"),
        ReplicaError::Compacted { floor: 61 }
    ));
    apply_to(&taker, SEED, 62).expect("apply");
    assert_eq!(taker.feed(61, b"").expect("kept").next, 63);
}
