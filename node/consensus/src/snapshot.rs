//! What openraft hands around as a snapshot: a pinned store on the sender, a built database on the receiver.

use spine_storage::snapshot::{Installed, SnapshotSource};

/// A snapshot on its way out of or into a store.
///
/// Boxed, because openraft hands it around inside of its commands: whatever these are as large as, its core copies
/// several times over for each of its messages, of which hardly any is about a snapshot.
pub(crate) enum SnapshotData {
    /// Walks the sender's engine; that shard's checkpoints pause while it lives.
    Source(Box<SnapshotSource>),
    /// Received, verified and durable beside the current state, not yet switched to.
    Installed(Box<Installed>),
}

/// A snapshot of the wrong end.
#[derive(Debug, thiserror::Error)]
#[error("snapshot is not one to send")]
pub(crate) struct NotASource;

impl SnapshotData {
    pub(crate) fn into_source(self) -> Result<SnapshotSource, NotASource> {
        match self {
            Self::Source(source) => Ok(*source),
            Self::Installed(_) => Err(NotASource),
        }
    }
}
