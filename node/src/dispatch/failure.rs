//! What consensus and links report, in the words that callers act on.

use std::time::Duration;

use spine_consensus::group::GroupError;
use spine_services::{ErrorKind, SpineError, reason};

use crate::fitness::Trouble;

/// Why an execution ended, for the router: some reasons mean "ask another node", not "tell the caller".
#[derive(Debug)]
pub enum ExecuteError {
    /// Nothing happened here; the leader's node, if known.
    NotLeader(Option<u64>),
    /// Nothing happened here; no quorum answers at the moment.
    NoQuorum,
    /// Nothing happened here: this node's disk is in trouble.
    Unfit(Trouble),
    /// It may have happened.
    Unknown,
    /// Final: tell the caller.
    Final(SpineError),
}

impl From<GroupError> for ExecuteError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotLeader { leader_node } => Self::NotLeader(leader_node),
            GroupError::NoQuorum => Self::NoQuorum,
            GroupError::Unknown => Self::Unknown,
            // This replica is out of service; another one may lead.
            GroupError::Stopped(_) => Self::NotLeader(None),
        }
    }
}

impl From<SpineError> for ExecuteError {
    fn from(error: SpineError) -> Self {
        Self::Final(error)
    }
}

/// The write may or may not have taken effect.
#[must_use]
pub fn outcome_unknown() -> SpineError {
    SpineError::new(
        ErrorKind::OutcomeUnknown,
        "OUTCOME_UNKNOWN",
        "the call may have taken effect; retry it with the same request id",
    )
}

/// The answer of a read does not fit between two nodes, nor will it when it is asked for again.
#[must_use]
pub fn answer_too_large() -> SpineError {
    SpineError::new(
        ErrorKind::Invalid,
        reason::ANSWER_TOO_LARGE,
        "the answer is larger than nodes send each other; ask for less at once",
    )
}

/// The caller's deadline passed before anything was proposed.
#[must_use]
pub fn deadline_exceeded() -> SpineError {
    SpineError::new(
        ErrorKind::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the deadline passed before the call could begin",
    )
}

/// Nobody leads the shard, or no quorum answers.
#[must_use]
pub fn no_leader(shard: u32) -> SpineError {
    let mut error = SpineError::new(
        ErrorKind::Unavailable,
        "NO_LEADER",
        "no leader of the shard answers",
    );
    error.shard = shard;
    error
}

/// The cluster has no shape yet.
#[must_use]
pub fn not_initialised() -> SpineError {
    SpineError::new(
        ErrorKind::Unavailable,
        "NOT_INITIALISED",
        "the cluster is not initialised; run spinectl cluster init",
    )
}

/// The node is about to stop.
#[must_use]
pub fn draining() -> SpineError {
    SpineError::new(ErrorKind::Unavailable, "DRAINING", "the node is stopping")
}

/// The node serves as many watches as it may; others may have room.
#[must_use]
pub fn too_many_watches() -> SpineError {
    let mut error = SpineError::new(
        ErrorKind::RateLimited,
        "TOO_MANY_WATCHES",
        "this node serves as many watches as it may",
    );
    error.retry_after_ms = 100;
    error
}

/// Shortest time to wait where too much is going on.
pub const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Too much is going on, on this node or for one routing key.
#[must_use]
pub fn busy(retry_after: Duration) -> SpineError {
    let mut error = SpineError::new(ErrorKind::RateLimited, "BUSY", "too many calls are in progress");
    error.retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
    error
}
