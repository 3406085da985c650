//! Raft's identifiers as the storage layer keeps them, independent of any consensus library.

/// Where an entry stands in a group's log, and who wrote it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// Replica id of that leader.
    pub leader: u64,
    /// Position in the group's log.
    pub index: u64,
}

/// What a replica has promised: a vote it gave, or a leader it follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// Term voted in.
    pub term: u64,
    /// Replica id voted for.
    pub leader: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}
