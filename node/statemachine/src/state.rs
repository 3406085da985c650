//! What is replicated besides the records: counters that apply keeps.

use spine_proto::storage::v1 as pb;

use crate::digest::Digest;
use crate::levels::Rule;
use crate::memo::Memo;
use crate::window::RequestWindow;

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
    /// Which request ids still count.
    pub requests: RequestWindow,
    pub(crate) memo: Memo,
}

/// Stored counters that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored replica state is malformed")]
pub struct MalformedState;

impl SystemState {
    /// Whether a rule is in force here: for the entry that is applied next, and for all after it.
    #[must_use]
    pub fn follows(&self, rule: Rule) -> bool {
        rule.holds_at(self.level)
    }

    /// Writes the counters into a replica's stored state.
    pub fn store_into(&self, state: &mut pb::ReplicaState) {
        state.digest = self.digest.to_bytes().to_vec().into();
        state.record_count = self.record_count;
        state.level = self.level;
        state.log_time_ms = self.log_time_ms;
        state.requests = Some(self.requests.to_proto());
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
        let requests = match &state.requests {
            Some(stored) => RequestWindow::from_proto(stored).ok_or(MalformedState)?,
            None => RequestWindow::default(),
        };
        Ok(Self {
            digest,
            record_count: state.record_count,
            level: state.level,
            log_time_ms: state.log_time_ms,
            requests,
            memo: Memo::default(),
        })
    }
}
