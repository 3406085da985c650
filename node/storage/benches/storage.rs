//! What durability costs, with every engine: `cargo bench -p spine-storage`. It writes to the directory for temporary
//! files, so set `TMPDIR` to the disk that is to be measured.

use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use spine_proto::ids::RoutingKey;
use spine_proto::storage::v1::{self, entry, mutation};
use spine_statemachine::frame;
use spine_statemachine::key::{self, Family, SubjectKey};
use spine_storage::disk::RealDisk;
use spine_storage::engine::{EngineWatch, factory_by_name};
use spine_storage::ids::LogId;
use spine_storage::replica::{ApplyPayload, ReplicaOptions, ReplicaStore};
use spine_storage::wal::{Driver, Wal, WalOptions};
use tokio::sync::oneshot;

const VALUE_BYTES: usize = 256;
/// Records of one checkpoint.
const RECORDS: u32 = 20_000;
/// Records of one entry.
const SUBS: u32 = 100;

fn id(index: u64) -> LogId {
    LogId {
        term: 1,
        leader: 1,
        index,
    }
}

fn put(key: Bytes, value: Bytes) -> v1::SubTxn {
    v1::SubTxn {
        mutations: vec![v1::Mutation {
            kind: Some(mutation::Kind::Put(v1::Put {
                key,
                value,
                schema: 1,
            })),
        }],
        ..v1::SubTxn::default()
    }
}

fn entry(subs: Vec<v1::SubTxn>) -> Bytes {
    let txn = v1::Txn {
        subs,
        proposed_at_ms: 1,
    };
    let kind = Some(entry::Kind::Txn(txn));
    v1::Entry { kind }.encode_to_vec().into()
}

fn appending(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().join("wal");
    let open = Wal::open(
        RealDisk::shared(),
        &dir,
        [7; 16],
        WalOptions::default(),
        Driver::Threads,
    );
    let wal = runtime.block_on(open).expect("a log");
    let log = wal.group(1);
    runtime.block_on(log.create()).expect("a group");
    let mut index = 0;
    let mut group = criterion.benchmark_group("log append and sync");
    for entries in [1_u64, 16, 256] {
        group.throughput(Throughput::Elements(entries));
        group.bench_with_input(
            BenchmarkId::from_parameter(entries),
            &entries,
            |bencher, entries| {
                bencher.iter(|| {
                    let batch = (0..*entries).map(|_| {
                        index += 1;
                        (id(index), Bytes::from_static(&[9; VALUE_BYTES]))
                    });
                    let (done, durable) = oneshot::channel();
                    let append = log.append(batch.collect(), Box::new(move |result| drop(done.send(result))));
                    runtime.block_on(append).expect("room");
                    runtime.block_on(durable).expect("an answer").expect("durable");
                });
            },
        );
    }
    group.finish();
    runtime.block_on(wal.close()).expect("it closes");
}

/// A replica with a delta to write.
fn with_delta(engine: &str, round: u64) -> (tempfile::TempDir, ReplicaStore) {
    let directory = tempfile::tempdir().expect("a directory");
    let factory = factory_by_name(engine).expect("an engine");
    let (disk, dir) = (RealDisk::shared(), directory.path().join("replica"));
    let store = ReplicaStore::create(disk, &dir, Arc::clone(&factory), ReplicaOptions::default());
    let store = store.expect("a replica");
    let subjects = SubjectKey::new([7; 16]);
    let range = v1::SlotRange {
        first: 0,
        last: 16_383,
    };
    let own = put(key::slots_owned(), frame::encode(&range.encode_to_vec()));
    let mut entries = vec![entry(vec![own])];
    let value = frame::encode(&[9; VALUE_BYTES]);
    for first in (0..RECORDS).step_by(SUBS as usize) {
        let subs = (first..first + SUBS).map(|number| {
            let text = format!("{:05}{number:010}", round % 100_000);
            let routing_key = RoutingKey::parse(&text).expect("fifteen characters");
            put(
                key::encode(Family::Records, &subjects, &routing_key, 1, b"v"),
                value.clone(),
            )
        });
        entries.push(entry(subs.collect()));
    }
    for (index, entry) in (1..).zip(entries) {
        let applied = store.apply(vec![(id(index), ApplyPayload::Entry(entry))]);
        applied.expect("it applies");
    }
    (directory, store)
}

fn checkpointing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkpoint of 20,000 records");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(RECORDS.into()));
    let mut round = 0;
    for engine in ["sled", "fjall"] {
        group.bench_function(engine, |bencher| {
            bencher.iter_batched(
                || {
                    round += 1;
                    with_delta(engine, round)
                },
                |(directory, store)| {
                    store
                        .checkpoint_now(&EngineWatch::default())
                        .expect("a checkpoint");
                    (directory, store)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, appending, checkpointing);
criterion_main!(benches);
