//! Snapshots from one replica into another, over every engine.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spine_proto::storage::v1;
use spine_storage::Driver;
use spine_storage::engine::{EngineFactory, EngineWatch};
use spine_storage::replica::{
    ApplyPayload, CheckpointWorker, ReplicaError, ReplicaOptions, ReplicaStore, WorkerOptions,
};
use spine_storage::snapshot::{Installed, SNAPSHOT_CHUNK_BYTES_MAX, SnapshotInstaller, SnapshotSource};
use support::engines;
use support::workload::{
    apply_to, contents, create, disk, expected, log_id, open, own_all_slots, plain, put, record_key,
};

const SEED: u64 = 3;
/// A run over many subjects.
const LARGE_SEED: u64 = 4;

struct Case {
    factory: Arc<dyn EngineFactory>,
    home: tempfile::TempDir,
}

impl Case {
    fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
    fn create(&self, name: &str) -> ReplicaStore {
        create(&self.dir(name), Arc::clone(&self.factory))
    }
    fn with(&self, options: ReplicaOptions) -> ReplicaStore {
        ReplicaStore::create(disk(), &self.dir("giver"), Arc::clone(&self.factory), options).expect("create")
    }
    /// A giver with a checkpoint at `index`.
    fn giver(&self, index: u64) -> ReplicaStore {
        let store = self.create("giver");
        apply_to(&store, SEED, index).expect("apply");
        checkpoint(&store);
        store
    }
    fn generations(&self, name: &str) -> Vec<String> {
        let names = disk().list(&self.dir(name)).expect("list");
        names
            .into_iter()
            .filter(|name| name.starts_with("generation-"))
            .collect()
    }
}

fn each_engine(check: impl Fn(&Case)) {
    for factory in engines() {
        check(&Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        });
    }
}

fn checkpoint(store: &ReplicaStore) -> Option<u64> {
    store
        .checkpoint_now(&EngineWatch::default())
        .expect("checkpoint")
        .map(|id| id.index)
}

fn error<T>(result: Result<T, ReplicaError>) -> ReplicaError {
    result.err().expect("an error")
}

struct Stream {
    header: v1::SnapshotHeader,
    chunks: Vec<v1::SnapshotChunk>,
    end: v1::SnapshotEnd,
}

fn read(store: &ReplicaStore) -> Stream {
    let mut source = SnapshotSource::begin(store, 5).expect("begin");
    let header = source.header();
    let mut chunks = Vec::new();
    while let Some(chunk) = source.next_chunk().expect("chunk") {
        chunks.push(chunk);
    }
    Stream {
        header,
        chunks,
        end: source.end().expect("end"),
    }
}

fn receive(store: &ReplicaStore, stream: &Stream) -> Result<Installed, ReplicaError> {
    let mut installer = SnapshotInstaller::begin(store, stream.header.clone())?;
    for chunk in &stream.chunks {
        installer.chunk(chunk.clone())?;
    }
    installer.finish(&stream.end)
}

#[test]
fn a_snapshot_carries_the_whole_state_into_another_replica() {
    for taker_engine in engines() {
        each_engine(|case| {
            let giver = case.giver(120);
            // What came after the checkpoint is not in it.
            apply_to(&giver, SEED, 150).expect("apply");
            let stream = read(&giver);
            assert_eq!((stream.header.format, stream.header.shard), (1, 5));
            let dir = case.dir("taker");
            let taker = create(&dir, Arc::clone(&taker_engine));
            apply_to(&taker, SEED + 2, 40).expect("another history");
            checkpoint(&taker);
            apply_to(&taker, SEED + 2, 50).expect("in the delta");
            taker
                .install(receive(&taker, &stream).expect("receive"))
                .expect("install");
            assert_eq!(contents(&taker), expected(SEED, 120));
            assert_eq!(taker.durable_index(), Some(log_id(120)));
            assert_eq!(
                case.generations("taker"),
                ["generation-00000002"],
                "the old one is gone"
            );
            apply_to(&taker, SEED, 150).expect("apply");
            checkpoint(&taker);
            drop(taker);
            let taker = open(&dir, Arc::clone(&taker_engine)).expect("open");
            taker.verify_scan().expect("scan");
            assert_eq!(contents(&taker), expected(SEED, 150));
            assert_eq!(
                contents(&giver),
                expected(SEED, 150),
                "the giver is not disturbed"
            );
        });
    }
}

#[test]
fn an_empty_replica_has_an_empty_snapshot() {
    each_engine(|case| {
        let stream = read(&case.create("giver"));
        assert!(stream.chunks.is_empty() && stream.end.record_count == 0);
        let taker = case.create("taker");
        taker
            .install(receive(&taker, &stream).expect("receive"))
            .expect("install");
        assert!(taker.applied().is_none());
    });
}

#[test]
fn chunks_are_small_but_a_large_record_is_alone() {
    each_engine(|case| {
        let store = case.create("giver");
        store
            .apply(vec![(log_id(1), ApplyPayload::Entry(own_all_slots()))])
            .expect("apply");
        let sizes = [10, 200_000, 100_000, 2 << 20, 2 << 20, 70_000, 5];
        for (size, index) in sizes.into_iter().zip(2..) {
            let entry = plain(vec![put(record_key(index, 0), Bytes::from(vec![7; size]))]);
            store
                .apply(vec![(log_id(index), ApplyPayload::Entry(entry))])
                .expect("apply");
        }
        checkpoint(&store);
        let stream = read(&store);
        for (chunk, sequence) in stream.chunks.iter().zip(0..) {
            let bytes: usize = chunk
                .records
                .iter()
                .map(|record| record.key.len() + record.stored.len())
                .sum();
            assert!(
                chunk.records.len() == 1 || bytes <= SNAPSHOT_CHUNK_BYTES_MAX,
                "{bytes}"
            );
            assert_eq!(chunk.sequence, sequence);
        }
        assert!(stream.chunks.len() >= 4);
        let taker = case.create("taker");
        taker
            .install(receive(&taker, &stream).expect("receive"))
            .expect("install");
        assert_eq!(contents(&taker), contents(&store));
    });
}

/// Checkpoints wait while a snapshot holds the last one; the delta grows and reads stay right.
#[test]
fn a_snapshot_is_exact_while_entries_go_on() {
    each_engine(|case| {
        // Large enough for several chunks and many reads of the engine.
        let giver = case.create("giver");
        apply_to(&giver, LARGE_SEED, 500).expect("apply");
        checkpoint(&giver);
        let mut source = SnapshotSource::begin(&giver, 0).expect("begin");
        let stream = Stream {
            header: source.header(),
            chunks: Vec::new(),
            end: v1::SnapshotEnd::default(),
        };
        let taker = case.create("taker");
        let mut installer = SnapshotInstaller::begin(&taker, stream.header).expect("begin");
        let mut chunks = 0;
        for upto in 501.. {
            apply_to(&giver, LARGE_SEED, upto).expect("apply");
            assert_eq!(checkpoint(&giver), Some(500), "held");
            let Some(chunk) = source.next_chunk().expect("chunk") else {
                break;
            };
            chunks += 1;
            installer.chunk(chunk).expect("chunk");
        }
        taker
            .install(installer.finish(&source.end().expect("end")).expect("finish"))
            .expect("install");
        assert_eq!(contents(&taker), expected(LARGE_SEED, 500));
        assert!(chunks > 1, "{chunks}");
        drop(source);
        let applied = giver.applied().expect("applied").index;
        assert_eq!(checkpoint(&giver), Some(applied), "let go");
        assert_eq!(contents(&giver), expected(LARGE_SEED, applied));
    });
}

#[test]
fn a_snapshot_cannot_begin_inside_a_checkpoint() {
    each_engine(|case| {
        let giver = case.giver(30);
        apply_to(&giver, SEED, 40).expect("apply");
        let begun = giver.begin_checkpoint().expect("begin").expect("there is work");
        assert!(matches!(
            error(SnapshotSource::begin(&giver, 0)),
            ReplicaError::Busy
        ));
        drop(begun);
        assert!(
            matches!(error(SnapshotSource::begin(&giver, 0)), ReplicaError::Busy),
            "its frozen delta is left"
        );
        checkpoint(&giver);
        SnapshotSource::begin(&giver, 0).expect("now it can");
    });
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_its_hold() {
    for factory in engines() {
        let case = Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        };
        let giver = case.with(ReplicaOptions {
            pin_time_max: Duration::from_secs(10),
            ..Default::default()
        });
        apply_to(&giver, SEED, 60).expect("apply");
        checkpoint(&giver);
        let mut slow = SnapshotSource::begin(&giver, 0).expect("begin");
        apply_to(&giver, SEED, 70).expect("apply");
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(checkpoint(&giver), Some(60), "still held");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(checkpoint(&giver), Some(70), "no longer");
        assert!(matches!(error(slow.next_chunk()), ReplicaError::PinLost));
    }
}

#[test]
fn writers_come_before_a_snapshot_at_the_hard_limit() {
    each_engine(|case| {
        let giver = case.with(ReplicaOptions {
            delta_bytes_max: 16 << 10,
            ..Default::default()
        });
        apply_to(&giver, SEED, 5).expect("apply");
        checkpoint(&giver);
        let mut source = SnapshotSource::begin(&giver, 0).expect("begin");
        let mut index = 5;
        while apply_to(&giver, SEED, index + 1).is_ok() {
            index += 1;
        }
        assert_eq!(checkpoint(&giver), Some(index));
        assert!(matches!(error(source.next_chunk()), ReplicaError::PinLost));
        drop(source);
        SnapshotSource::begin(&giver, 0).expect("and again");
    });
}

type Spoil = fn(&mut Stream);

#[test]
fn a_spoilt_stream_is_refused_and_leaves_nothing() {
    let spoils: [(&str, Spoil); 9] = [
        ("another format", |stream| stream.header.format = 2),
        ("no state", |stream| stream.header.state = None),
        ("a missing chunk", |stream| drop(stream.chunks.remove(0))),
        ("a repeated chunk", |stream| {
            stream.chunks.insert(1, stream.chunks[0].clone());
        }),
        ("a missing record", |stream| {
            drop(stream.chunks[0].records.remove(3));
        }),
        ("records out of order", |stream| {
            stream.chunks[0].records.swap(3, 4);
        }),
        ("another value", |stream| {
            stream.chunks[0].records[3].stored = stream.chunks[0].records[4].stored.clone();
        }),
        ("not a record", |stream| {
            stream.chunks[0].records[3].stored = Bytes::from_static(&[0xff]);
        }),
        ("another count", |stream| stream.end.record_count += 1),
    ];
    each_engine(|case| {
        let giver = case.giver(100);
        let taker = case.create("taker");
        apply_to(&taker, SEED, 20).expect("apply");
        for (name, spoil) in spoils {
            let mut stream = read(&giver);
            spoil(&mut stream);
            let refused = error(receive(&taker, &stream));
            assert!(
                matches!(refused, ReplicaError::BadSnapshot(_)),
                "{name}: {refused}"
            );
            assert_eq!(case.generations("taker"), ["generation-00000001"], "{name}");
        }
        assert_eq!(contents(&taker), expected(SEED, 20));
    });
}

#[test]
fn an_older_snapshot_is_not_installed() {
    each_engine(|case| {
        let stream = read(&case.giver(50));
        let taker = case.create("taker");
        let installed = receive(&taker, &stream).expect("receive");
        apply_to(&taker, SEED, 51).expect("apply");
        assert!(matches!(
            error(taker.install(installed)),
            ReplicaError::BadSnapshot(_)
        ));
        assert_eq!(contents(&taker), expected(SEED, 51));
        assert_eq!(case.generations("taker"), ["generation-00000001"]);
    });
}

#[test]
fn what_an_install_left_is_removed_at_open() {
    each_engine(|case| {
        let giver = case.giver(50);
        let taker = case.create("taker");
        apply_to(&taker, SEED, 20).expect("apply");
        checkpoint(&taker);
        let installed = receive(&taker, &read(&giver)).expect("receive");
        assert_eq!(case.generations("taker").len(), 2);
        // A crash before the switch: the directory as it is now.
        let crashed = case.dir("crashed");
        support::copy_tree(&case.dir("taker"), &crashed);
        drop(installed);
        assert_eq!(case.generations("taker").len(), 1, "given up");
        let reopened = open(&crashed, Arc::clone(&case.factory)).expect("open");
        assert_eq!(case.generations("crashed"), ["generation-00000001"]);
        assert_eq!(contents(&reopened), expected(SEED, 20));
    });
}

/// A source, a view and a checkpoint of the old state outlive an install without touching the new one.
#[test]
fn readers_of_the_old_state_do_not_disturb_the_new_one() {
    each_engine(|case| {
        let stream = read(&case.giver(90));
        let taker = case.create("taker");
        apply_to(&taker, SEED, 40).expect("apply");
        checkpoint(&taker);
        let mut source = SnapshotSource::begin(&taker, 0).expect("begin");
        drop(source.next_chunk().expect("chunk"));
        taker
            .install(receive(&taker, &stream).expect("receive"))
            .expect("install");
        let newer = SnapshotSource::begin(&taker, 0).expect("begin");
        while let Ok(Some(_)) = source.next_chunk() {}
        drop(source);
        apply_to(&taker, SEED, 95).expect("apply");
        assert_eq!(checkpoint(&taker), Some(90), "the new source still holds");
        drop(newer);
        let other = case.create("other");
        apply_to(&other, SEED, 45).expect("apply");
        let mut begun = other.begin_checkpoint().expect("begin").expect("there is work");
        begun.step(&EngineWatch::default()).expect("step");
        other
            .install(receive(&other, &stream).expect("receive"))
            .expect("install");
        while !matches!(
            begun.step(&EngineWatch::default()).expect("step"),
            spine_storage::replica::Progress::Done(_)
        ) {}
        drop(begun);
        assert_eq!(contents(&other), expected(SEED, 90));
        assert_eq!(case.generations("other"), ["generation-00000002"]);
    });
}

#[tokio::test]
async fn the_worker_makes_a_fresh_snapshot() {
    for factory in engines() {
        let case = Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        };
        let on_failure = Arc::new(|_: &ReplicaStore, error: &ReplicaError| unreachable!("failed: {error}"));
        let worker = CheckpointWorker::start(Driver::Threads, WorkerOptions { on_failure }).expect("start");
        let giver = case.create("giver");
        apply_to(&giver, SEED, 33).expect("apply");
        let source = worker.snapshot(&giver, 1).await.expect("snapshot");
        let state = source.header().state.expect("a state");
        assert_eq!(state.applied.expect("an id").index, 33);
        worker.stop().await;
    }
}
