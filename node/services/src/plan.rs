//! What an operation asks of the replicated state, and what became of it.

use bytes::Bytes;
use spine_proto::common::v1::Position;
use spine_proto::storage::v1::{Delete, Mutation, Put, mutation};

/// The pure result of an operation on the leader. Guards are not listed: they are what its view has read.
#[derive(Clone, PartialEq, Default)]
pub struct Plan {
    /// Changes to apply together; none for a read.
    pub mutations: Vec<Mutation>,
    /// At most [`OUTCOME_BYTES_MAX`](spine_statemachine::limits::OUTCOME_BYTES_MAX) bytes, kept with the request id; the response is rebuilt from it.
    pub outcome: Bytes,
}

impl Plan {
    /// A plan that changes nothing.
    pub fn read() -> Self {
        Self::default()
    }

    /// Adds a write of `value` (a value frame) at `key`.
    pub fn put(&mut self, key: Bytes, value: Bytes, schema: u32) {
        let put = Put { key, value, schema };
        self.mutations.push(Mutation {
            kind: Some(mutation::Kind::Put(put)),
        });
    }

    /// Adds a removal of `key`.
    pub fn delete(&mut self, key: Bytes) {
        let delete = Delete { key };
        self.mutations.push(Mutation {
            kind: Some(mutation::Kind::Delete(delete)),
        });
    }
}

/// A call that has taken effect, or a read behind its barrier.
#[derive(Clone, PartialEq, Eq)]
pub struct Completed {
    /// The shard that answered.
    pub shard: u32,
    /// The index the answer is exact at: of the view, or of the commit.
    pub index: u64,
    /// The revision given to everything written; for a read the index of the view.
    pub revision: u64,
    /// The plan's outcome, or the stored one of an earlier try.
    pub outcome: Bytes,
    /// True where an earlier try with this request id had already taken effect.
    pub replayed: bool,
}

impl Completed {
    /// The position as answers carry it.
    pub fn position(&self) -> Position {
        Position {
            shard: self.shard,
            index: self.index,
        }
    }
}
