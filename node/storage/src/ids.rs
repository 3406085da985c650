//! Raft's positions and votes as plain values, without Raft.

use spine_proto::storage::v1 as pb;

/// Position of an entry in a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// Term of the leader that wrote the entry.
    pub term: u64,
    /// Replica id of that leader.
    pub leader: u64,
    /// Index of the entry.
    pub index: u64,
}

impl LogId {
    /// As stored.
    #[must_use]
    pub fn to_proto(self) -> pb::LogId {
        pb::LogId {
            term: self.term,
            leader: self.leader,
            index: self.index,
        }
    }

    /// From what was stored.
    #[must_use]
    pub fn from_proto(id: &pb::LogId) -> Self {
        Self {
            term: id.term,
            leader: id.leader,
            index: id.index,
        }
    }
}

/// For whom a replica voted, or whom it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Term.
    pub term: u64,
    /// Replica id of the candidate or leader.
    pub leader: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}
