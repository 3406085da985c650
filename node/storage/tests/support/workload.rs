//! A workload in which every entry is a function of its index, and the model that says what it leads to.

use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;
use spine_proto::storage::v1;
use spine_statemachine::store::{OrderedRead, Record};
use spine_storage::engine::EngineFactory;
use spine_storage::ids::LogId;
use spine_storage::replica::{ApplyPayload, ReplicaError, ReplicaOptions, ReplicaStore};

use super::StdDisk;

/// Keys of the workload: few, so that they are replaced and removed often.
const KEYS: u64 = 400;
const MUTATIONS: u64 = 8;

pub(crate) fn log_id(index: u64) -> LogId {
    LogId {
        term: 1 + index / 100,
        leader: 7,
        index,
    }
}

/// A generator good enough for choosing keys.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn key(number: u64) -> Bytes {
    let mut key = Vec::new();
    key.put_u8(0x10);
    key.put_u16(u16::try_from(number % 16).expect("small"));
    key.put_u128(u128::from(mix(number)));
    key.put_u8(1);
    key.into()
}

pub(crate) fn put(key: Bytes, value: Bytes) -> v1::Mutation {
    v1::Mutation {
        kind: Some(v1::mutation::Kind::Put(v1::Put {
            key,
            value,
            schema: 1,
        })),
    }
}

pub(crate) fn delete(key: Bytes) -> v1::Mutation {
    v1::Mutation {
        kind: Some(v1::mutation::Kind::Delete(v1::Delete { key })),
    }
}

pub(crate) fn txn(mutations: Vec<v1::Mutation>, at_ms: i64) -> Bytes {
    let sub = v1::SubTxn {
        mutations,
        ..Default::default()
    };
    let txn = v1::Txn {
        subs: vec![sub],
        proposed_at_ms: at_ms,
    };
    encode(v1::entry::Kind::Txn(txn))
}

pub(crate) fn encode(kind: v1::entry::Kind) -> Bytes {
    v1::Entry { kind: Some(kind) }.encode_to_vec().into()
}

/// The entry at `index` of run `seed`.
pub(crate) fn payload(seed: u64, index: u64) -> ApplyPayload {
    if index == 1 {
        return ApplyPayload::Membership(membership(3));
    }
    let noise = |n: u64| mix(seed.wrapping_mul(1_000_003) ^ index.wrapping_mul(1009) ^ n);
    match noise(0) % 20 {
        0 => ApplyPayload::Blank,
        1 => ApplyPayload::Entry(encode(v1::entry::Kind::Noop(v1::Noop {}))),
        2 => ApplyPayload::Membership(membership(noise(1) % 5 + 1)),
        _ => {
            let mutations = (1..=MUTATIONS).map(|n| {
                let key = key(noise(n) % KEYS);
                let len = usize::try_from(noise(n) >> 32).expect("64 bits") % 300;
                let byte = u8::try_from(noise(n) % 251).expect("small");
                if noise(n + 100) % 4 == 0 {
                    delete(key)
                } else {
                    put(key, vec![byte; len].into())
                }
            });
            ApplyPayload::Entry(txn(mutations.collect(), i64::try_from(index).expect("small")))
        }
    }
}

pub(crate) fn membership(voters: u64) -> v1::Membership {
    let members = (1..=voters)
        .map(|id| v1::Member {
            replica_id: id,
            node_id: id,
        })
        .collect();
    v1::Membership {
        configs: vec![v1::VoterSet {
            replica_ids: (1..=voters).collect(),
        }],
        members,
    }
}

/// Applies the run's entries after what is applied, up to `index`.
pub(crate) fn apply_to(store: &ReplicaStore, seed: u64, index: u64) -> Result<(), ReplicaError> {
    let next = store.applied().map_or(1, |applied| applied.index + 1);
    for at in next..=index {
        store.apply(vec![(log_id(at), payload(seed, at))])?;
    }
    Ok(())
}

/// Everything a state is: records, digest and count, applied id, membership.
#[derive(PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) records: Vec<(Bytes, u64, Bytes)>,
    digest: [u8; 16],
    count: u64,
    applied: Option<LogId>,
    log_time_ms: i64,
    membership_at: Option<LogId>,
    voters: usize,
}

/// Short, so that a failed comparison is readable.
impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (records, count, applied, at) =
            (self.records.len(), self.count, self.applied, self.membership_at);
        let sum = self.digest[0];
        write!(
            f,
            "{records} records, count {count}, digest {sum:02x}.., {applied:?}, members {} {at:?}",
            self.voters
        )
    }
}

pub(crate) fn contents(store: &ReplicaStore) -> Contents {
    let records = store
        .read(|view| view.range(&[], &[0xff; 4], usize::MAX).expect("range"))
        .expect("running");
    let status = store.status();
    let (membership_at, membership) = store.membership();
    let flat = |(key, record): (Bytes, Record)| (key, record.revision, record.value);
    Contents {
        records: records.into_iter().map(flat).collect(),
        digest: status.digest,
        count: status.record_count,
        applied: status.applied,
        log_time_ms: status.log_time_ms,
        membership_at,
        voters: membership.members.len(),
    }
}

/// What run `seed` leads to at `index`.
pub(crate) fn expected(seed: u64, index: u64) -> Contents {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let factory = spine_storage::engine::MemoryFactory::new(Arc::new(StdDisk));
    let model = create(&dir.path().join("model"), Arc::new(factory));
    apply_to(&model, seed, index).expect("apply");
    contents(&model)
}

pub(crate) fn create(dir: &Path, factory: Arc<dyn EngineFactory>) -> ReplicaStore {
    ReplicaStore::create(Arc::new(StdDisk), dir, factory, ReplicaOptions::default()).expect("create")
}

pub(crate) fn open(dir: &Path, factory: Arc<dyn EngineFactory>) -> Result<ReplicaStore, ReplicaError> {
    ReplicaStore::open(Arc::new(StdDisk), dir, factory, ReplicaOptions::default())
}
