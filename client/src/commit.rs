//! A guarded change of several records under one routing key.

use std::fmt;

use bytes::Bytes;
use spine_proto::records::v1 as wire;
use spine_proto::records::v1::guard::Condition;
use spine_proto::records::v1::mutation;

/// Guards and changes that apply together or not at all.
///
/// ```
/// # use spine_client::Commit;
/// let commit = Commit::new("PRACTICE-A81001")
///     .if_revision("list-size", 17)
///     .put("list-size", "8042")
///     .put("changed-by", "receptionist-3");
/// # drop(commit);
/// ```
#[derive(Clone)]
#[must_use = "a commit does nothing until it is sent"]
pub struct Commit {
    routing_key: String,
    guards: Vec<wire::Guard>,
    mutations: Vec<wire::Mutation>,
    request_id: Option<String>,
}

impl Commit {
    /// A commit of nothing yet to the records of one routing key.
    pub fn new(routing_key: impl Into<String>) -> Self {
        Self {
            routing_key: routing_key.into(),
            guards: Vec::new(),
            mutations: Vec::new(),
            request_id: None,
        }
    }

    /// Only if the record exists with exactly this revision.
    pub fn if_revision(self, suffix: impl Into<Bytes>, revision: u64) -> Self {
        self.guard(suffix.into(), Condition::RevisionIs(revision))
    }

    /// Only if no such record exists.
    pub fn if_absent(self, suffix: impl Into<Bytes>) -> Self {
        self.guard(suffix.into(), Condition::Absent(true))
    }

    /// Writes a record.
    pub fn put(self, suffix: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.mutation(mutation::Kind::Put(mutation::Put {
            suffix: suffix.into(),
            value: value.into(),
        }))
    }

    /// Removes a record.
    pub fn delete(self, suffix: impl Into<Bytes>) -> Self {
        self.mutation(mutation::Kind::Delete(mutation::Delete {
            suffix: suffix.into(),
        }))
    }

    /// The caller's own request id, 1 to 64 bytes: the same id and body take effect once, even when
    /// sent again by another process. Without it the client chooses one for this call.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    fn guard(mut self, suffix: Bytes, condition: Condition) -> Self {
        self.guards.push(wire::Guard {
            suffix,
            condition: Some(condition),
        });
        self
    }

    fn mutation(mut self, kind: mutation::Kind) -> Self {
        self.mutations.push(wire::Mutation { kind: Some(kind) });
        self
    }

    /// The request, without what it is known by, and the caller's id.
    pub(crate) fn into_parts(self) -> (wire::CommitRequest, Option<String>) {
        let request = wire::CommitRequest {
            routing_key: self.routing_key,
            guards: self.guards,
            mutations: self.mutations,
            ..wire::CommitRequest::default()
        };
        (request, self.request_id)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("guards", &self.guards.len())
            .field("mutations", &self.mutations.len())
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
