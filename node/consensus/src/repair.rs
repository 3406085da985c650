//! Rebuilding the state of one replica from another one's, under the same replica id. Its log stays: it holds the votes.

use std::io;

use spine_proto::internal::raft::v1 as pb;
use spine_storage::ids::LogId;
use spine_storage::replica::{CheckpointWorker, ReplicaError, ReplicaStore};
use spine_storage::snapshot::SnapshotSource;
use spine_storage::wal::GroupLog;

use crate::background::in_background;
use crate::group::RaftGroup;
use crate::inbound::{SnapshotInflow, receive};
use crate::network_adapter::Feed;
use crate::peers::SnapshotFeed;

/// A snapshot for another replica of the group that lost its state: what to stream to it.
///
/// # Errors
/// Why this replica is not one to copy: it halted, differs from its leader, or is behind.
pub async fn offer(
    group: &RaftGroup,
    checkpoints: &CheckpointWorker,
    request: &pb::PullSnapshotRequest,
) -> Result<(pb::SnapshotStart, Box<dyn SnapshotFeed>), String> {
    let status = group.store().status();
    if status.halted.is_some() || status.verdict.mismatch.is_some() {
        return Err("this replica's own state is in doubt".to_string());
    }
    let shard = group.identity().shard;
    let source = checkpoints
        .snapshot(group.store(), shard)
        .await
        .map_err(|error| error.to_string())?;
    let header = source.header();
    let applied = header.state.as_ref().and_then(|state| state.applied.as_ref());
    if applied.is_none_or(|id| id.index < request.index_min) {
        return Err("this replica is behind".to_string());
    }
    let start = pb::SnapshotStart {
        shard,
        target_replica: request.for_replica,
        vote: None,
        header: Some(header),
    };
    Ok((start, Box::new(Feed::new(source))))
}

/// Takes a snapshot into the state of a replica whose group is not running; in force and durable on return.
///
/// # Errors
/// What is wrong with the stream, or what the disk says. The state is then as it was.
pub async fn restore(
    store: &ReplicaStore,
    start: pb::SnapshotStart,
    inflow: &mut dyn SnapshotInflow,
) -> Result<(), String> {
    let header = start.header.ok_or("snapshot without header")?;
    let installed = receive(store, header, inflow).await?;
    store.install(installed).map_err(|error| error.to_string())
}

/// Reads every record of the last checkpoint, resting more than it works, and compares count and digest.
///
/// # Errors
/// [`ReplicaError::Damaged`] where it is not what was written; others where the checkpoint went meanwhile.
pub async fn read_all(store: &ReplicaStore) -> Result<(), ReplicaError> {
    let mut source = SnapshotSource::begin(store, 0)?;
    while in_background(|| source.next_chunk()).await?.is_some() {}
    source.end().map(drop)
}

/// Whether the state and the log of a replica have a gap between them: the entries that would fill it were purged.
#[must_use]
pub fn has_gap(log: &GroupLog, store: &ReplicaStore) -> bool {
    let applied = store.applied().map(|id| id.index);
    log.purged().is_some_and(|purged| applied < Some(purged.index))
}

/// Drops what stands in the log beside the state. The state holds only committed entries, so a log that has another
/// entry at the state's index has none that count from there on: they were never committed.
///
/// # Errors
/// What the log says.
pub(crate) async fn align(log: &GroupLog, applied: Option<LogId>) -> io::Result<()> {
    let Some(applied) = applied else { return Ok(()) };
    match log.log_id_at(applied.index) {
        Some(known) if known != applied => {
            log.truncate_after(Some(applied)).await?;
            log.purge(applied).await
        }
        // The same entry, or none: behind what was purged, or ahead of all that is there.
        _ => Ok(()),
    }
}
