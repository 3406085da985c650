//! What a group needs of the links to other nodes.

use std::time::Duration;

use async_trait::async_trait;
use spine_proto::internal::raft::v1 as pb;

/// Why a peer gave no answer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// Nothing was sent.
    #[error("peer unreachable")]
    Unreachable,
    /// Sent; whether it arrived is unknown.
    #[error("connection lost or deadline passed")]
    Lost,
    /// The peer answered, and cannot serve this group now.
    #[error("peer cannot answer: {0}")]
    Unavailable(String),
}

/// Parts of a snapshot, pulled as the connection takes them.
#[async_trait]
pub trait SnapshotFeed: Send {
    /// The next part; `None` after the end.
    ///
    /// # Errors
    /// What the store says; the transfer is then aborted.
    async fn next(&mut self) -> std::io::Result<Option<pb::snapshot_part::Kind>>;
}

/// Sends Raft messages to the nodes that host the other replicas.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// One request, one answer.
    ///
    /// # Errors
    /// [`CallError`]
    async fn call(
        &self,
        node_id: u64,
        request: pb::GroupRequest,
        deadline: Duration,
    ) -> Result<pb::GroupResponse, CallError>;

    /// Streams a snapshot and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`]
    async fn send_snapshot(
        &self,
        node_id: u64,
        start: pb::SnapshotStart,
        feed: Box<dyn SnapshotFeed>,
    ) -> Result<pb::GroupResponse, CallError>;
}
