//! What a checker found.

use std::fmt;

use serde::Serialize;

/// The promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// An operation took effect before one that had returned before it began.
    RealTimeOrder,
    /// One client saw a shard at an older index than before.
    WentBackwards,
    /// One client's reads of a register went back to an older revision.
    MonotonicReads,
    /// A client did not see its own acknowledged write.
    ReadYourWrites,
    /// A read missed a write that the index it claims includes.
    StaleRead,
    /// A read saw nothing where an acknowledged write must be.
    LostValue,
    /// A value that nobody asked for, or of another register.
    Phantom,
    /// A value whose write had failed or was rejected.
    FailedButSeen,
    /// A value seen before anyone asked for it.
    FromTheFuture,
    /// One value under two revisions: it was applied twice.
    AppliedTwice,
    /// Two values under one revision of one register.
    RevisionReused,
    /// Answers to one request id differ.
    ReplayDiffers,
    /// No order of the register's operations explains the answers.
    NotLinearizable,
    /// The search for such an order reached its limit, which counts as a failure.
    GaveUp,
    /// An acknowledged write is missing on a replica at the end.
    NotDurable,
    /// Two replicas hold different records at the end.
    ReplicasDiffer,
    /// A watch showed an index again, or one before the last.
    WatchOutOfOrder,
    /// A watch did not show an acknowledged change.
    WatchMissed,
    /// Two replicas at one applied index have different digests.
    DigestDiffers,
    /// A rule of one of the domain workloads.
    Domain,
    /// After the faults were over, the cluster did not serve in time.
    NotLive,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub rule: Rule,
    /// The register; empty where none.
    pub key: String,
    /// Operations of the history that show it.
    pub operations: Vec<u64>,
    pub message: String,
}

impl Violation {
    pub(crate) fn new(rule: Rule, key: &str, operations: &[u64], message: String) -> Self {
        Self {
            rule,
            key: key.to_owned(),
            operations: operations.to_vec(),
            message,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} key={} operations={:?}: {}",
            self.rule, self.key, self.operations, self.message
        )
    }
}
