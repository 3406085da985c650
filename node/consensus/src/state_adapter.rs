//! openraft's state machine on top of a replica's store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::Mutex;
use spine_proto::storage::v1 as pb;
use spine_storage::replica::{ApplyPayload, CheckpointWorker, ReplicaError, ReplicaStore};
use spine_storage::snapshot::SnapshotSource;
use tokio::time::{Instant, timeout};

use crate::convert;
use crate::snapshot::SnapshotData;
use crate::types::{Command, RaftLogId, RaftStoredMembership, Response, SpineRaft};

/// Apply waits this long for room before it asks for a checkpoint again.
const ROOM_AGAIN: Duration = Duration::from_millis(100);
/// A follower that cannot be reached is offered a snapshot again and again, ten times a second; a checkpoint is taken
/// for it once in this time. What has come since is in the log.
pub(crate) const OFFER_FRESH: Duration = Duration::from_secs(10);
/// Entries applied under one write lock.
pub(crate) const APPLY_BATCH_ENTRIES_MAX: usize = 256;

type SnapshotOf = openraft::alias::SnapshotOf<SpineRaft, SnapshotData>;
type SnapshotMetaOf = openraft::alias::SnapshotMetaOf<SpineRaft>;

/// The state of one replica.
#[derive(Clone)]
pub(crate) struct StateAdapter {
    shard: u32,
    store: ReplicaStore,
    checkpoints: CheckpointWorker,
    /// When a checkpoint was last taken for a follower.
    offered: Arc<Mutex<Option<Instant>>>,
}

impl StateAdapter {
    /// Wraps a store and the worker that writes its checkpoints.
    #[must_use]
    pub(crate) fn new(shard: u32, store: ReplicaStore, checkpoints: CheckpointWorker) -> Self {
        Self {
            shard,
            store,
            checkpoints,
            offered: Arc::default(),
        }
    }

    /// The last checkpoint, if it is fresh enough for a follower and none is under way.
    fn offered_lately(&self) -> Result<Option<SnapshotSource>, ReplicaError> {
        let taken = *self.offered.lock();
        if taken.is_none_or(|taken| taken.elapsed() >= OFFER_FRESH) {
            return Ok(None);
        }
        match SnapshotSource::begin(&self.store, self.shard) {
            Err(ReplicaError::Busy) => Ok(None),
            begun => begun.map(Some),
        }
    }

    async fn apply_batch(&self, batch: Vec<EntryResponder<SpineRaft>>) -> io::Result<()> {
        let mut entries = Vec::with_capacity(batch.len());
        let mut responders = Vec::with_capacity(batch.len());
        for (entry, responder) in batch {
            entries.push((convert::log_id(&entry.log_id), payload(entry.payload)));
            responders.push(responder);
        }
        // Asked for again and again: a request may meet a full queue, and a checkpoint may make no room because a
        // snapshot holds the one before it.
        while self.store.must_wait() {
            self.checkpoints.request(&self.store);
            let _ = timeout(ROOM_AGAIN, self.store.room()).await;
        }
        self.store.engine_open().await;
        let applied = self.store.apply(entries).map_err(io::Error::other)?;
        if self.store.wants_checkpoint() {
            self.checkpoints.request(&self.store);
        }
        for (applied, responder) in applied.into_iter().zip(responders) {
            if let Some(responder) = responder {
                responder.send(Response { applied });
            }
        }
        Ok(())
    }
}

pub(crate) fn payload(payload: EntryPayload<Command, u64, crate::types::ReplicaNode>) -> ApplyPayload {
    match payload {
        EntryPayload::Blank => ApplyPayload::Blank,
        EntryPayload::Normal(Command(bytes)) => ApplyPayload::Entry(bytes),
        EntryPayload::Membership(membership) => {
            ApplyPayload::Membership(convert::membership_to_pb(&membership))
        }
    }
}

fn meta_of(state: &pb::ReplicaState) -> io::Result<SnapshotMetaOf> {
    Ok(SnapshotMetaOf {
        last_log_id: state.applied.as_ref().map(convert::log_id_from_pb),
        last_membership: convert::stored_membership(state)?,
    })
}

/// Takes a checkpoint; the snapshot is the pinned engine itself.
pub(crate) struct CheckpointBuilder {
    state: StateAdapter,
}

impl CheckpointBuilder {
    async fn build(&self) -> io::Result<SnapshotOf> {
        let this = &self.state;
        let source = this
            .checkpoints
            .snapshot(&this.store, this.shard)
            .await
            .map_err(io::Error::other)?;
        snapshot_of(source)
    }
}

fn snapshot_of(source: SnapshotSource) -> io::Result<SnapshotOf> {
    let state = source.header().state.unwrap_or_default();
    Ok(Snapshot {
        meta: meta_of(&state)?,
        snapshot: SnapshotData::Source(Box::new(source)),
    })
}

impl RaftSnapshotBuilder<SpineRaft> for CheckpointBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        self.build().await
    }
}

impl RaftStateMachine<SpineRaft> for StateAdapter {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = CheckpointBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        let (membership_log_id, membership) = self.store.membership();
        let membership_log_id = membership_log_id.map(convert::raft_log_id);
        let membership = convert::membership_from_pb(&membership)?;
        let applied = self.store.applied().map(convert::raft_log_id);
        Ok((applied, RaftStoredMembership::new(membership_log_id, membership)))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<SpineRaft>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        while let Some(item) = entries.next().await {
            batch.push(item?);
            if batch.len() >= APPLY_BATCH_ENTRIES_MAX {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.is_empty() {
            Ok(())
        } else {
            self.apply_batch(batch).await
        }
    }

    async fn get_snapshot_builder(&mut self) -> CheckpointBuilder {
        CheckpointBuilder { state: self.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf, snapshot: SnapshotData) -> io::Result<()> {
        match snapshot {
            SnapshotData::Installed(installed) => self.store.install(*installed).map_err(io::Error::other),
            // At start openraft hands back what get_current_snapshot gave: the state is there already.
            SnapshotData::Source(_) => {
                if meta.last_log_id.as_ref().map(convert::log_id) <= self.store.applied() {
                    Ok(())
                } else {
                    Err(convert::invalid(
                        "snapshot is ahead of the state it was taken from",
                    ))
                }
            }
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        if self.store.durable_index().is_none() {
            return Ok(None);
        }
        if let Some(source) = self.offered_lately().map_err(io::Error::other)? {
            return snapshot_of(source).map(Some);
        }
        let built = CheckpointBuilder { state: self.clone() }.build().await?;
        *self.offered.lock() = Some(Instant::now());
        Ok(Some(built))
    }
}
