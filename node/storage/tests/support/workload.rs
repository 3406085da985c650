//! A workload in which every entry is a function of its index, and the model that says what it leads to.

use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;
use spine_proto::storage::v1::{self, entry, guard, mutation};
use spine_statemachine::memory::MemoryStore;
use spine_statemachine::store::{OrderedRead, Record};
use spine_statemachine::{Digest, LevelRange, SystemState, frame, key as keys, txn};
use spine_storage::disk::{Disk, RealDisk};
use spine_storage::engine::EngineFactory;
use spine_storage::ids::LogId;
use spine_storage::replica::{ApplyPayload, ReplicaError, ReplicaOptions, ReplicaStore};

/// Subjects of runs with an odd seed: few, so that their records are replaced and removed often.
const SUBJECTS_FEW: u64 = 150;
/// Subjects of runs with an even seed: many, so that the engine grows.
const SUBJECTS_MANY: u64 = 20_000;
const MUTATIONS: u64 = 8;

pub(crate) fn log_id(index: u64) -> LogId {
    LogId {
        term: 1 + index / 100,
        leader: 7,
        index,
    }
}

/// A generator good enough for choosing keys.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Family, slot, subject and kind; a suffix may follow.
pub(crate) fn prefix(family: u8, subject: u64) -> Vec<u8> {
    let mut key = vec![family];
    key.put_u16(u16::try_from(subject % 16).expect("small"));
    key.put_u128(u128::from(mix(subject)));
    key.put_u8(1);
    key
}

pub(crate) fn record_key(subject: u64, suffix: u8) -> Bytes {
    let mut key = prefix(keys::Family::Records as u8, subject);
    key.put_u8(suffix);
    key.into()
}

pub(crate) fn put(key: Bytes, value: Bytes) -> v1::Mutation {
    v1::Mutation {
        kind: Some(mutation::Kind::Put(v1::Put {
            key,
            value,
            schema: 1,
        })),
    }
}

pub(crate) fn delete(key: Bytes) -> v1::Mutation {
    v1::Mutation {
        kind: Some(mutation::Kind::Delete(v1::Delete { key })),
    }
}

pub(crate) fn txn_at(subs: Vec<v1::SubTxn>, at_ms: i64) -> Bytes {
    encode(entry::Kind::Txn(v1::Txn {
        subs,
        proposed_at_ms: at_ms,
    }))
}

/// An unguarded transaction.
pub(crate) fn plain(mutations: Vec<v1::Mutation>) -> Bytes {
    txn_at(
        vec![v1::SubTxn {
            mutations,
            ..Default::default()
        }],
        1,
    )
}

pub(crate) fn encode(kind: entry::Kind) -> Bytes {
    v1::Entry { kind: Some(kind) }.encode_to_vec().into()
}

/// Gives the shard all slots; without it every record is refused.
pub(crate) fn own_all_slots() -> Bytes {
    let range = v1::SlotRange {
        first: 0,
        last: 16_383,
    };
    plain(vec![put(
        keys::slots_owned(),
        frame::encode(&range.encode_to_vec()),
    )])
}

/// Where a run goes from the first rules to the present ones.
fn level_rises_at(seed: u64) -> u64 {
    45 + seed % 4 * 20
}

/// The entry at `index` of run `seed`.
pub(crate) fn payload(seed: u64, index: u64) -> ApplyPayload {
    let noise = |n: u64| mix(seed.wrapping_mul(1_000_003) ^ index.wrapping_mul(1009) ^ n);
    match (index, noise(0) % 20) {
        (1, _) => ApplyPayload::Membership(membership(3)),
        (2, _) => ApplyPayload::Entry(own_all_slots()),
        (_, _) if index == level_rises_at(seed) => ApplyPayload::Entry(txn::level(2)),
        (_, 0) => ApplyPayload::Blank,
        (_, 1) => ApplyPayload::Entry(encode(entry::Kind::Noop(v1::Noop {}))),
        (_, 2) => ApplyPayload::Membership(membership(noise(1) % 5 + 1)),
        // So much time for each entry that request ids are forgotten on the way, and that a bucket takes two of them.
        _ => ApplyPayload::Entry(txn_at(
            vec![sub(seed, &noise), sub(seed, &|n| noise(n + 1000))],
            40_000 * at(index),
        )),
    }
}

fn at(index: u64) -> i64 {
    i64::try_from(index).expect("small")
}

fn sub(seed: u64, noise: &dyn Fn(u64) -> u64) -> v1::SubTxn {
    let subjects = if seed % 2 == 1 {
        SUBJECTS_FEW
    } else {
        SUBJECTS_MANY
    };
    let mutation = |n: u64| {
        let subject = noise(n) % subjects;
        let key = record_key(subject, u8::try_from(noise(n + 50) % 4).expect("small"));
        let len = usize::try_from(noise(n) >> 32).expect("64 bits") % 300;
        let value = Bytes::from(vec![u8::try_from(noise(n) % 251).expect("small"); len]);
        match noise(n + 100) % 10 {
            0..=1 => delete(key),
            2 => {
                let range = v1::DeleteRange {
                    prefix: key.slice(..key.len() - 1),
                    limit: 10,
                };
                v1::Mutation {
                    kind: Some(mutation::Kind::DeleteRange(range)),
                }
            }
            3 => {
                let stream = prefix(keys::Family::Stream as u8, subject % 4).into();
                let append = v1::Append {
                    stream,
                    value,
                    schema: 2,
                    chained: subject.is_multiple_of(2),
                };
                v1::Mutation {
                    kind: Some(mutation::Kind::Append(append)),
                }
            }
            _ => put(key, value),
        }
    };
    let guarded = prefix(keys::Family::Records as u8, noise(3) % subjects);
    let range = v1::RangeUnchanged {
        prefix: guarded.into(),
        count: 1,
        max_revision: u64::MAX,
    };
    let guard = v1::Guard {
        kind: Some(guard::Kind::RangeUnchanged(range)),
    };
    let id: Bytes = mix(noise(4) % 64).to_be_bytes().repeat(2).into();
    let request = v1::RequestKey {
        body_digest: id.clone(),
        slot: 3,
        id,
        session: noise(7).is_multiple_of(3).then(|| v1::SessionSequence {
            opened_ms: 1,
            sequence: noise(8) % 20 + 1,
            floor: noise(9) % 3,
        }),
    };
    v1::SubTxn {
        request: noise(5).is_multiple_of(2).then_some(request),
        // Holds or not as the subject's records happen to be.
        guards: if noise(6).is_multiple_of(3) {
            vec![guard]
        } else {
            Vec::new()
        },
        mutations: (10..10 + MUTATIONS).map(mutation).collect(),
        outcome: Bytes::from_static(b"done"),
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

/// Everything a state is: records, the state machine's counters, applied id, membership.
#[derive(PartialEq)]
pub(crate) struct Contents {
    pub(crate) records: Vec<(Bytes, Record)>,
    system: SystemState,
    applied: Option<LogId>,
    membership: (Option<LogId>, v1::Membership),
}

/// Short, so that a failed comparison is readable.
impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (records, system, applied, members) =
            (self.records.len(), &self.system, self.applied, self.membership.0);
        write!(
            f,
            "{records} records, {system:?}, applied {applied:?}, members at {members:?}"
        )
    }
}

fn all(store: &impl OrderedRead) -> Vec<(Bytes, Record)> {
    store.range(&[], &[0xff], usize::MAX).expect("range")
}

pub(crate) fn contents(store: &ReplicaStore) -> Contents {
    let read = |view: &spine_storage::replica::View<'_>| (all(view), view.system().clone(), view.applied());
    let (records, system, applied) = store.read(read).expect("running");
    Contents {
        records,
        system,
        applied,
        membership: store.membership(),
    }
}

/// What run `seed` leads to at `index`, by the reference model.
pub(crate) fn expected(seed: u64, index: u64) -> Contents {
    let mut model = Model::default();
    model.apply_to(seed, index);
    model.contents()
}

/// The state machine on a map in memory.
#[derive(Default)]
pub(crate) struct Model {
    store: MemoryStore,
    system: SystemState,
    applied: Option<LogId>,
    membership: (Option<LogId>, v1::Membership),
}

impl Model {
    pub(crate) fn index(&self) -> u64 {
        self.applied.map_or(0, |id| id.index)
    }

    pub(crate) fn digest(&self) -> Digest {
        self.system.digest
    }

    pub(crate) fn apply_to(&mut self, seed: u64, index: u64) {
        for at in self.index() + 1..=index {
            match payload(seed, at) {
                ApplyPayload::Blank => {}
                ApplyPayload::Membership(membership) => self.membership = (Some(log_id(at)), membership),
                ApplyPayload::Entry(entry) => {
                    spine_statemachine::apply(
                        &mut self.store,
                        &mut self.system,
                        LevelRange::RELEASE,
                        at,
                        &entry[..],
                    )
                    .expect("apply");
                }
            }
            self.applied = Some(log_id(at));
        }
    }

    pub(crate) fn contents(&self) -> Contents {
        let membership = self.membership.clone();
        Contents {
            records: all(&self.store),
            system: self.system.clone(),
            applied: self.applied,
            membership,
        }
    }
}

pub(crate) fn create(dir: &Path, factory: Arc<dyn EngineFactory>) -> ReplicaStore {
    ReplicaStore::create(disk(), dir, factory, ReplicaOptions::default()).expect("create")
}

pub(crate) fn open(dir: &Path, factory: Arc<dyn EngineFactory>) -> Result<ReplicaStore, ReplicaError> {
    ReplicaStore::open(disk(), dir, factory, ReplicaOptions::default())
}

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}
