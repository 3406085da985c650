//! The state machine's names used here, in one place.

use bytes::Bytes;
use spine_proto::storage::v1;
use spine_statemachine::store::{OrderedWrite, Record};

pub use stub::{Applied, Halt, SystemState};
/// Sum of the records' hashes, 16 bytes big endian.
pub type Digest = [u8; 16];

mod stub {
    #[derive(Clone, Default)]
    pub struct SystemState {
        pub digest: u128,
        pub record_count: u64,
        pub level: u32,
        pub log_time_ms: i64,
    }
    pub enum Applied {
        Noop,
        Level(u32),
        Verify { index: u64, digest: [u8; 16] },
    }
    #[derive(Debug, thiserror::Error)]
    #[error("halt")]
    pub struct Halt;
}

pub(crate) fn apply(
    store: &mut impl OrderedWrite,
    state: &mut SystemState,
    index: u64,
    entry: &[u8],
) -> Result<Applied, Halt> {
    use prost::Message;
    let entry = v1::Entry::decode(entry).map_err(|_| Halt)?;
    let put = |store: &mut dyn OrderedWrite, state: &mut SystemState, key: Bytes, new: Option<Record>| {
        if let Some(old) = store.get(&key).map_err(|_| Halt)? {
            state.digest = state.digest.wrapping_sub(hash(&key, &old));
            state.record_count -= 1;
        }
        if let Some(new) = &new {
            state.digest = state.digest.wrapping_add(hash(&key, new));
            state.record_count += 1;
        }
        match new {
            Some(new) => store.put(key, new),
            None => store.delete(&key),
        }
        Ok(())
    };
    match entry.kind {
        Some(v1::entry::Kind::Txn(txn)) => {
            for mutation in txn.subs.into_iter().flat_map(|sub| sub.mutations) {
                match mutation.kind {
                    Some(v1::mutation::Kind::Put(p)) => put(
                        store,
                        state,
                        p.key,
                        Some(Record {
                            schema: p.schema,
                            revision: index,
                            value: p.value,
                        }),
                    )?,
                    Some(v1::mutation::Kind::Delete(d)) => put(store, state, d.key, None)?,
                    _ => return Err(Halt),
                }
            }
            Ok(Applied::Noop)
        }
        Some(v1::entry::Kind::Verify(v)) => Ok(Applied::Verify {
            index: v.index,
            digest: v.digest[..].try_into().map_err(|_| Halt)?,
        }),
        Some(v1::entry::Kind::Noop(_)) => Ok(Applied::Noop),
        _ => Err(Halt),
    }
}

fn hash(key: &[u8], record: &Record) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key);
    hasher.update(&record.revision.to_le_bytes());
    hasher.update(&record.value);
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    u128::from_le_bytes(out)
}

pub(crate) fn digest_bytes(state: &SystemState) -> Digest {
    state.digest.to_be_bytes()
}

pub(crate) fn digest_of(digest: &Digest) -> Digest {
    *digest
}

pub(crate) fn to_proto(state: &SystemState) -> v1::ReplicaState {
    v1::ReplicaState {
        digest: digest_bytes(state).to_vec().into(),
        record_count: state.record_count,
        level: state.level,
        log_time_ms: state.log_time_ms,
        ..Default::default()
    }
}

pub(crate) fn from_proto(state: &v1::ReplicaState) -> Result<SystemState, String> {
    let digest: [u8; 16] = if state.digest.is_empty() {
        [0; 16]
    } else {
        state.digest[..].try_into().map_err(|_| "digest")?
    };
    Ok(SystemState {
        digest: u128::from_be_bytes(digest),
        record_count: state.record_count,
        level: state.level,
        log_time_ms: state.log_time_ms,
    })
}

/// Sums the hashes of records in any order.
#[derive(Default)]
pub(crate) struct DigestSum {
    sum: u128,
    pub(crate) count: u64,
}

impl DigestSum {
    pub(crate) fn add(&mut self, key: &[u8], record: &Record) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash(key, record));
    }
    pub(crate) fn digest(&self) -> Digest {
        self.sum.to_be_bytes()
    }
}
