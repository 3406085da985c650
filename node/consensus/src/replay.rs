//! What the log says is committed is applied before the replica takes part. openraft would do that too, on the threads
//! that serve callers; here it is done by whoever opens the replica, on a thread that can step back.

use std::io;

use spine_storage::ids::LogId;
use spine_storage::replica::{ApplyPayload, CheckpointWorker, ReplicaStore};
use spine_storage::wal::GroupLog;

use crate::convert;
use crate::state_adapter::{APPLY_BATCH_ENTRIES_MAX, payload};

/// Bytes of entries read at a time.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Applies the committed entries that the state lacks, as far as memory has room for them; openraft takes it from there.
/// Blocks.
///
/// # Errors
/// An entry that does not read back as it was written, or that cannot be applied.
pub fn replay(log: &GroupLog, store: &ReplicaStore, checkpoints: &CheckpointWorker) -> io::Result<()> {
    match log.committed() {
        Some(committed) => replay_to(committed.index, log, store, checkpoints),
        None => Ok(()),
    }
}

/// The same with everything that the log has, committed or not; for a replica that is to go on alone.
///
/// # Errors
/// As [`replay`], and where not all of it found room.
pub async fn replay_all(
    log: &GroupLog,
    store: &ReplicaStore,
    checkpoints: &CheckpointWorker,
) -> io::Result<()> {
    let Some(last) = log.last() else { return Ok(()) };
    loop {
        let before = store.applied();
        replay_to(last.index, log, store, checkpoints)?;
        if store.applied().is_some_and(|applied| applied.index >= last.index) {
            return Ok(());
        }
        if store.applied() == before {
            return Err(io::Error::other("the log does not go on from the state"));
        }
        checkpoints.checkpoint(store).await.map_err(io::Error::other)?;
    }
}

fn replay_to(
    last: u64,
    log: &GroupLog,
    store: &ReplicaStore,
    checkpoints: &CheckpointWorker,
) -> io::Result<()> {
    while !store.must_wait() && continues(log, store.applied()) {
        let from = store.applied().map_or(0, |id| id.index + 1);
        let end = from.saturating_add(APPLY_BATCH_ENTRIES_MAX as u64);
        let entries = log.read(from..end.min(last + 1), READ_BYTES_MAX)?;
        // Nothing is left, or a gap, which is for others to judge.
        if entries.first().is_none_or(|(id, _)| id.index != from) {
            break;
        }
        let batch: io::Result<Vec<(LogId, ApplyPayload)>> = entries
            .into_iter()
            .map(|(id, bytes)| Ok((id, payload(convert::decode_entry(bytes)?.payload))))
            .collect();
        store.apply(batch?).map_err(io::Error::other)?;
        if store.wants_checkpoint() {
            checkpoints.request(store);
        }
    }
    Ok(())
}

/// Whether the log goes on from the state. Where it has another entry in the state's place it is cut before it is used.
fn continues(log: &GroupLog, applied: Option<LogId>) -> bool {
    applied.is_none_or(|applied| log.log_id_at(applied.index).is_none_or(|known| known == applied))
}
