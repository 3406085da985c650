//! What can go wrong with a replica's state.

use std::io;

use spine_statemachine::levels::UnknownLevel;

use crate::engine::EngineError;
use crate::ids::LogId;

/// Why a replica's state refused.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The disk refused. After a failed write or sync the node ends: what is durable is unknown.
    #[error("replica disk: {0}")]
    Io(#[from] io::Error),
    /// The files are not what was written. Delete the replica's state and rebuild it by a snapshot.
    #[error("replica is damaged: {0}")]
    Damaged(String),
    /// No state was ever created here, or its creation was interrupted.
    #[error("there is no replica state here")]
    Missing,
    /// State was already created here.
    #[error("there is already replica state here")]
    Exists,
    /// The directory belongs to another replica or another data directory.
    #[error("the replica state belongs to another owner")]
    Foreign {
        /// As it is written there.
        owner: Vec<u8>,
    },
    /// The delta is at its hard limit; nothing was applied. Wait for [`crate::replica::ReplicaStore::room`].
    #[error("the delta holds {bytes} bytes, at most {limit} are allowed")]
    DeltaFull {
        /// Bytes in the live and the frozen delta.
        bytes: usize,
        /// The hard limit.
        limit: usize,
    },
    /// An entry does not follow the last applied one; nothing of it was applied.
    #[error("entry {got:?} does not follow {applied:?}")]
    OutOfOrder {
        /// Last applied.
        applied: Option<LogId>,
        /// What was offered.
        got: LogId,
    },
    /// An entry could not be applied. The replica serves nothing until it is rebuilt or the program is upgraded.
    #[error("the replica halted: {0}")]
    Halted(String),
    /// The state follows rules that this program does not have. It stays as it is for one that has them.
    #[error("{0}; install a release that does")]
    Level(#[from] UnknownLevel),
    /// The disk has no room for a checkpoint; nothing was changed. Ask again when there is.
    #[error("the disk has no room for a checkpoint")]
    Full,
    /// A checkpoint is under way; ask again when it is done.
    #[error("a checkpoint is under way")]
    Busy,
    /// Changes from the index asked for are no longer kept for watchers.
    #[error("changes are kept from index {floor} on")]
    Compacted {
        /// The first index that is.
        floor: u64,
    },
    /// The snapshot held its checkpoint too long, or the delta met its hard limit meanwhile. Begin anew.
    #[error("the snapshot lost its checkpoint")]
    PinLost,
    /// A snapshot's messages do not fit together.
    #[error("bad snapshot: {0}")]
    BadSnapshot(String),
    /// The worker was stopped.
    #[error("the checkpoint worker is stopped")]
    Stopped,
}

impl From<EngineError> for ReplicaError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Io(error) => Self::Io(error),
            EngineError::Damaged(what) => Self::Damaged(what),
        }
    }
}
