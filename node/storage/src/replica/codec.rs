//! Stored forms: records, states and the small files of a replica directory.

use bytes::Bytes;
use prost::Message;
use spine_proto::storage::v1;
use spine_statemachine::store::Record;

use super::ReplicaError;
use crate::engine::{unwrap_one, wrap_one};
use crate::ids::LogId;

/// The engine's value of a record.
pub(crate) fn encode_record(record: &Record) -> Bytes {
    let stored = v1::StoredRecord {
        schema: record.schema,
        revision: record.revision,
        value: record.value.clone(),
    };
    stored.encode_to_vec().into()
}

/// Reads [`encode_record`]; the value is a slice of `stored`, not a copy.
pub(crate) fn decode_record(stored: Bytes) -> Result<Record, ReplicaError> {
    let stored = v1::StoredRecord::decode(stored)
        .map_err(|error| ReplicaError::Damaged(format!("a stored record does not parse: {error}")))?;
    Ok(Record {
        schema: stored.schema,
        revision: stored.revision,
        value: stored.value,
    })
}

pub(crate) fn log_id_to_proto(id: LogId) -> v1::LogId {
    v1::LogId {
        term: id.term,
        leader: id.leader,
        index: id.index,
    }
}

pub(crate) fn log_id_from_proto(id: &v1::LogId) -> LogId {
    LogId {
        term: id.term,
        leader: id.leader,
        index: id.index,
    }
}

/// Index a state is exact at; none before the first entry, which has index 0.
pub(crate) fn applied_index(state: &v1::ReplicaState) -> Option<u64> {
    state.applied.as_ref().map(|id| id.index)
}

/// Content of the mark file.
pub(crate) fn encode_state(state: &v1::ReplicaState) -> Vec<u8> {
    wrap_one(&state.encode_to_vec())
}

/// Reads [`encode_state`].
pub(crate) fn decode_state(bytes: &[u8]) -> Result<v1::ReplicaState, ReplicaError> {
    v1::ReplicaState::decode(unwrap_one(bytes, "CHECKPOINT")?)
        .map_err(|error| ReplicaError::Damaged(format!("CHECKPOINT does not parse: {error}")))
}

/// Content of the pointer file: the generation in force and who owns the directory.
pub(crate) fn encode_current(generation: u64, owner: &[u8]) -> Vec<u8> {
    let mut content = generation.to_le_bytes().to_vec();
    content.extend_from_slice(owner);
    wrap_one(&content)
}

/// Reads [`encode_current`].
pub(crate) fn decode_current(bytes: &[u8]) -> Result<(u64, &[u8]), ReplicaError> {
    let content = unwrap_one(bytes, "CURRENT")?;
    let (number, owner) = content
        .split_first_chunk()
        .ok_or_else(|| ReplicaError::Damaged("CURRENT is too short".into()))?;
    Ok((u64::from_le_bytes(*number), owner))
}
