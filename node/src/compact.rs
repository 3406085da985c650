//! A replica's log made as short as can be, when an administrator or a test asks for it.

use std::time::Duration;

use spine_consensus::group::RaftGroup;
use spine_proto::admin::v1 as pb;
use spine_services::SpineError;
use spine_storage::replica::CheckpointWorker;
use tokio::time::{Instant, sleep};

use crate::dispatch::failure::not_initialised;
use crate::node::Inner;
use crate::operate::failed;

/// A log is purged in the background after a snapshot; a test waits for it this long.
const COMPACT_WAIT: Duration = Duration::from_secs(4);
/// After this a purge that has not happened is asked for anew, behind a newer snapshot.
const COMPACT_AGAIN: Duration = Duration::from_millis(500);
/// How often it looks.
const COMPACT_POLL: Duration = Duration::from_millis(10);

impl Inner {
    /// Checkpoints a replica here and purges its log up to there.
    ///
    /// # Errors
    /// No such replica, or it stopped.
    pub async fn compact_replica(&self, shard: u32) -> Result<pb::CompactReplicaResponse, SpineError> {
        let running = self.running().ok_or_else(not_initialised)?;
        let shard = self.shard_here(shard)?;
        let (group, checkpoints) = (&shard.group, &running.checkpoints);
        let until = Instant::now() + COMPACT_WAIT;
        let index = snapshot_now(group, checkpoints, until).await?;
        loop {
            purge_behind_snapshot(group, index, until.min(Instant::now() + COMPACT_AGAIN)).await?;
            let purged_index = group.status().purged_index;
            if purged_index >= index || Instant::now() >= until {
                return Ok(pb::CompactReplicaResponse {
                    checkpoint_index: index,
                    purged_index,
                });
            }
            snapshot_now(group, checkpoints, until).await?;
        }
    }
}

/// A checkpoint that consensus takes as its snapshot. Gives how far it goes.
async fn snapshot_now(
    group: &RaftGroup,
    checkpoints: &CheckpointWorker,
    until: Instant,
) -> Result<u64, SpineError> {
    let durable = checkpoints.checkpoint(group.store()).await;
    let index = durable
        .map_err(|error| replica_stopped(&error))?
        .map_or(0, |id| id.index);
    group
        .snapshot_and_purge()
        .await
        .map_err(|error| replica_stopped(&error))?;
    while group.snapshot_index() < index && Instant::now() < until {
        sleep(COMPACT_POLL).await;
    }
    Ok(index)
}

/// Until the log is gone up to `index`, or it is too late. openraft puts a purge off while a follower is being sent
/// what it would remove, and forgets it if its leadership ends first: it then takes no second one up to there, only one
/// that goes further.
async fn purge_behind_snapshot(group: &RaftGroup, index: u64, until: Instant) -> Result<(), SpineError> {
    while group.status().purged_index < index && Instant::now() < until {
        let purged = group.purge_to(group.snapshot_index()).await;
        purged.map_err(|error| replica_stopped(&error))?;
        sleep(COMPACT_POLL).await;
    }
    Ok(())
}

fn replica_stopped(error: &impl std::fmt::Display) -> SpineError {
    failed("REPLICA_STOPPED", error.to_string())
}
