//! What Spine puts into openraft's type parameters. Nothing outside this package names them.

use std::fmt;

use bytes::Bytes;
use openraft::alias;
use spine_statemachine::Applied;

use crate::runtime::SpineRuntime;

/// An encoded `storage.v1.Entry`, opaque to consensus. Never prints its content: openraft logs entries.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying an entry did.
pub(crate) struct Response {
    /// Nothing for blank and membership entries.
    pub(crate) applied: Applied,
}

/// Where a replica lives.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct ReplicaNode {
    /// The node that hosts the replica.
    pub(crate) node_id: u64,
}

openraft::declare_raft_types!(
    /// openraft with Spine's types: node ids are replica ids, never reused.
    pub(crate) SpineRaft:
        D = Command,
        R = Response,
        NodeId = u64,
        Node = ReplicaNode,
        AsyncRuntime = SpineRuntime,
);

pub(crate) type RaftLogId = alias::LogIdOf<SpineRaft>;
pub(crate) type RaftVote = alias::VoteOf<SpineRaft>;
pub(crate) type RaftEntry = alias::EntryOf<SpineRaft>;
pub(crate) type RaftLeaderId = alias::LeaderIdOf<SpineRaft>;
pub(crate) type RaftStoredMembership = alias::StoredMembershipOf<SpineRaft>;
pub(crate) type RaftMembership = openraft::Membership<u64, ReplicaNode>;

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response")
    }
}
