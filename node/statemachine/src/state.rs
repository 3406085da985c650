//! What is replicated besides the records: counters that apply keeps.

use std::collections::BTreeMap;

use spine_proto::storage::v1 as pb;

use crate::digest::Digest;

/// The state machine's own counters; equal on all replicas at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemState {
    /// Of all records.
    pub digest: Digest,
    /// Of all records.
    pub record_count: u64,
    /// The rules that apply follows.
    pub level: u32,
    /// Newest `proposed_at` applied, milliseconds since 1970 UTC; never goes back.
    pub log_time_ms: i64,
    /// Request ids in buckets below this one are forgotten.
    pub request_floor: u64,
    /// Stored request-id rows by bucket, forgotten ones included until they are removed.
    pub request_buckets: BTreeMap<u64, u64>,
}

/// Stored counters that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored replica state is malformed")]
pub struct MalformedState;

impl SystemState {
    /// Writes the counters into a replica's stored state.
    pub fn store_into(&self, state: &mut pb::ReplicaState) {
        state.digest = self.digest.to_bytes().to_vec().into();
        state.record_count = self.record_count;
        state.level = self.level;
        state.log_time_ms = self.log_time_ms;
        state.request_floor = self.request_floor;
        state.request_buckets = self
            .request_buckets
            .iter()
            .map(|(bucket, rows)| pb::RequestBucket {
                bucket: *bucket,
                rows: *rows,
            })
            .collect();
    }

    /// Reads the counters of a replica's stored state.
    ///
    /// # Errors
    /// [`MalformedState`]
    pub fn load_from(state: &pb::ReplicaState) -> Result<Self, MalformedState> {
        let digest = match state.digest.len() {
            0 => Digest::default(),
            _ => Digest::from_bytes(&state.digest).ok_or(MalformedState)?,
        };
        Ok(Self {
            digest,
            record_count: state.record_count,
            level: state.level,
            log_time_ms: state.log_time_ms,
            request_floor: state.request_floor,
            request_buckets: state.request_buckets.iter().map(|b| (b.bucket, b.rows)).collect(),
        })
    }
}
