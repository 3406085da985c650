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
    _state: &mut SystemState,
    index: u64,
    entry: &[u8],
) -> Result<Applied, Halt> {
    store.put(
        Bytes::copy_from_slice(entry),
        Record {
            schema: 0,
            revision: index,
            value: Bytes::new(),
        },
    );
    Ok(Applied::Noop)
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
    pub(crate) fn add(&mut self, _key: &[u8], _record: &Record) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(1);
    }
    pub(crate) fn digest(&self) -> Digest {
        self.sum.to_be_bytes()
    }
}
