//! What a record costs a processor: `cargo bench -p spine-statemachine`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use spine_proto::ids::RoutingKey;
use spine_proto::storage::v1::{self, entry, mutation};
use spine_statemachine::frame::{self, Dictionary};
use spine_statemachine::key::{self, Family, SubjectKey};
use spine_statemachine::memory::MemoryStore;
use spine_statemachine::{LevelRange, SystemState, apply::apply};

/// SubTxns of one entry, as a busy leader puts together.
const SUBS: u32 = 64;
const VALUE_BYTES: usize = 256;
const PATIENT: &str = r#"{"resourceType":"Patient","id":"9000000009","meta":{"versionId":"1"},"identifier":[{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"9000000009"}],"name":[{"use":"usual","family":"Smith","given":["Jane","Marie"],"prefix":["Mrs"]}],"gender":"female","birthDate":"1971-03-05","address":[{"use":"home","line":["12 Long Road","Headingley"],"city":"Leeds","postalCode":"LS6 1AA"}],"telecom":[{"system":"phone","use":"home","value":"01632 960123"}]}"#;

fn routing_key(number: u32) -> RoutingKey {
    RoutingKey::parse(&format!("bench{number:010}")).expect("fifteen characters")
}

fn record_key(subjects: &SubjectKey, number: u32) -> Bytes {
    key::encode(Family::Records, subjects, &routing_key(number), 1, b"v")
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

fn shard() -> (MemoryStore, SystemState) {
    let (mut store, mut state) = (MemoryStore::default(), SystemState::default());
    let range = v1::SlotRange {
        first: 0,
        last: 16_383,
    };
    let own = put(key::slots_owned(), frame::encode(&range.encode_to_vec()));
    apply(
        &mut store,
        &mut state,
        LevelRange::RELEASE,
        1,
        &entry(vec![own])[..],
    )
    .expect("it applies");
    (store, state)
}

fn applying(criterion: &mut Criterion) {
    let subjects = SubjectKey::new([7; 16]);
    let value = frame::encode(&[9; VALUE_BYTES]);
    let subs = (0..SUBS).map(|number| put(record_key(&subjects, number), value.clone()));
    let entry = entry(subs.collect());
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(SUBS.into()));
    group.bench_function("64 puts of 256 bytes", |bencher| {
        bencher.iter_batched(
            shard,
            |(mut store, mut state)| {
                apply(
                    &mut store,
                    &mut state,
                    LevelRange::RELEASE,
                    2,
                    black_box(entry.clone()),
                )
                .map(|_| (store, state))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let subjects = SubjectKey::new([7; 16]);
    let routing_key = routing_key(7);
    criterion.bench_function("key/encode", |bencher| {
        bencher.iter(|| key::encode(Family::Records, &subjects, black_box(&routing_key), 1, b"v"));
    });
}

fn codec(criterion: &mut Criterion) {
    let plain = PATIENT.as_bytes();
    let next = PATIENT.replace("960123", "960124");
    let compressed = frame::compress(plain, Dictionary::Patients1);
    let older = frame::compress_against(plain, next.as_bytes()).expect("it is smaller");
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| frame::encode(black_box(plain)));
    });
    group.bench_function("compress", |bencher| {
        bencher.iter(|| frame::compress(black_box(plain), Dictionary::Patients1));
    });
    group.bench_function("decompress", |bencher| {
        bencher.iter(|| frame::decode(black_box(&compressed)));
    });
    group.bench_function("compress against the next version", |bencher| {
        bencher.iter(|| frame::compress_against(black_box(plain), next.as_bytes()));
    });
    group.bench_function("decompress against the next version", |bencher| {
        bencher.iter(|| frame::decode_against(black_box(&older), next.as_bytes()));
    });
    group.finish();
}

criterion_group!(benches, applying, keys, codec);
criterion_main!(benches);
