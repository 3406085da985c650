//! The state of one replica: live delta over frozen delta over engine.
//!
//! Apply touches only memory. A checkpoint moves the delta into the engine in four steps (see [`Checkpoint`]), and the
//! log replays what came after the last durable mark.

mod checkpoint;
pub(crate) mod codec;
mod delta;
pub(crate) mod effects;
mod error;
mod feed;
mod generation;
mod layers;
mod limits;
mod open;
mod pins;
pub(crate) mod request_filter;
mod ring;
mod state;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::RwLock;
use spine_mutants::mutant;
use spine_proto::storage::v1;
use spine_statemachine::store::{Key, OrderedRead, ReadError, Record};
use spine_statemachine::{Applied, Digest, SystemState};
use tokio::sync::Notify;

use crate::disk::Disk;
use crate::engine::EngineFactory;
use crate::ids::LogId;
use crate::snapshot::Installed;

pub use checkpoint::{Checkpoint, Progress};
pub use error::ReplicaError;
pub use feed::{
    FEED_BYTES_MAX, FEED_ENTRIES_MAX, FEED_PAGE_BYTES_MAX, FEED_SCAN_ENTRIES_MAX, FeedChange, FeedEntry,
    FeedPage,
};
pub use limits::{
    CHECKPOINT_ENTRIES, DELTA_BYTES_MAX, DELTA_CHECKPOINT_BYTES, ENGINE_MEMORY_BYTES_MAX, OWNER_BYTES_MAX,
    PIN_TIME_MAX, ReplicaOptions,
};
pub use ring::{Mismatch, Verdict};
pub use worker::{CheckpointWorker, OnFailure, WorkerOptions};

pub(crate) use generation::Generation;
pub(crate) use pins::PinId;
use state::State;

/// What an applied log entry carries.
pub enum ApplyPayload {
    /// A leader's first entry; changes nothing but the applied index.
    Blank,
    /// The group's new membership.
    Membership(v1::Membership),
    /// An encoded `storage.v1.Entry`.
    Entry(Bytes),
}

/// The state of one replica. Clones share it.
#[derive(Clone)]
pub struct ReplicaStore {
    pub(crate) inner: Arc<Inner>,
}

/// See [`ReplicaStore::end`].
pub struct StoreEnd(Weak<Inner>);

impl StoreEnd {
    /// Whether the last user is gone.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.0.strong_count() == 0
    }
}

pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) factory: Arc<dyn EngineFactory>,
    pub(crate) options: ReplicaOptions,
    pub(crate) state: RwLock<State>,
    /// Wakes who waits for room in the delta.
    room: Notify,
    /// Wakes who waits for the feed.
    fed: Notify,
    /// Number of the next generation.
    pub(crate) next_generation: AtomicU64,
    /// The engine is being opened again.
    engine_away: AtomicBool,
    /// Wakes who waits for it.
    engine_back: Notify,
    /// A checkpoint is under way.
    checkpointing: AtomicBool,
    /// The replica waits in a worker's queue.
    queued: AtomicBool,
}

/// What operators and the node's checks see of a replica's state.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// Last applied entry.
    pub applied: Option<LogId>,
    /// Last entry whose effects are durable in the engine.
    pub checkpoint: Option<LogId>,
    /// Bytes in the live and the frozen delta.
    pub delta_bytes: usize,
    /// Bytes of changes kept for watchers, shared with the delta as long as that holds them.
    pub feed_bytes: usize,
    /// Every change from this index on is kept for watchers.
    pub feed_floor: u64,
    /// Records at the applied index.
    pub record_count: u64,
    /// Digest at the applied index.
    pub digest: Digest,
    /// Level in force.
    pub level: u32,
    /// Level in force at the checkpoint.
    pub checkpoint_level: u32,
    /// Log time in milliseconds since 1970 UTC.
    pub log_time_ms: i64,
    /// What Verify entries found.
    pub verdict: Verdict,
    /// Why the replica halted, if it did.
    pub halted: Option<String>,
    /// What it holds is not what was written: it is to be rebuilt.
    pub damaged: bool,
    /// Name of the engine.
    pub engine: &'static str,
    /// Memory a reopen of the engine would give back, in bytes.
    pub engine_memory_bytes: u64,
}

/// The replica's records, exact at one applied index for as long as the view lives.
pub struct View<'a> {
    layers: layers::Layers<'a>,
    state: &'a State,
}

impl View<'_> {
    /// Last applied entry: the view is exact at its index.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.state.applied
    }

    /// The shard's own state at that index.
    #[must_use]
    pub fn system(&self) -> &SystemState {
        &self.state.system
    }
}

impl OrderedRead for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.layers.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        self.layers.range(start, end, limit)
    }

    fn surely_lacks(&self, key: &[u8]) -> bool {
        self.state.request_filters.surely_lacks(key)
    }
}

impl ReplicaStore {
    /// Calls `work` with a view that is exact at one applied index. Apply waits meanwhile: keep it short.
    ///
    /// # Errors
    /// [`ReplicaError::Halted`] if the replica serves nothing any more.
    pub fn read<T>(&self, work: impl FnOnce(&View<'_>) -> T) -> Result<T, ReplicaError> {
        let state = self.inner.state.read();
        state.check_running()?;
        Ok(work(&View {
            layers: state.layers(),
            state: &state,
        }))
    }

    /// Applies entries that follow each other and the last applied one; one result for each. Writes only memory.
    ///
    /// # Errors
    /// [`ReplicaError::DeltaFull`] and [`ReplicaError::OutOfOrder`] before anything is applied.
    /// [`ReplicaError::Halted`] if an entry cannot be applied; from then on the replica serves nothing.
    pub fn apply(&self, batch: Vec<(LogId, ApplyPayload)>) -> Result<Vec<Applied>, ReplicaError> {
        let mut state = self.inner.state.write();
        state.check_running()?;
        let bytes = state.delta_bytes();
        let limit = self.inner.options.delta_bytes_max;
        if bytes >= limit {
            return Err(ReplicaError::DeltaFull { bytes, limit });
        }
        state.check_order(&batch)?;
        let applied = batch
            .into_iter()
            .map(|(id, payload)| state.apply_one(id, payload))
            .collect();
        drop(state);
        self.inner.fed.notify_waiters();
        applied
    }

    /// Committed changes of keys with this prefix, from log index `from` on, as far as they are applied here: some of
    /// them, and where to read on.
    ///
    /// # Errors
    /// [`ReplicaError::Compacted`] where `from` is no longer kept; [`ReplicaError::Halted`].
    pub fn feed(&self, from: u64, prefix: &[u8]) -> Result<FeedPage, ReplicaError> {
        let state = self.inner.state.read();
        state.check_running()?;
        state
            .feed
            .read(from, prefix, state.applied.map(|applied| applied.index))
    }

    /// The first index whose changes are kept, with all that follow.
    #[must_use]
    pub fn feed_floor(&self) -> u64 {
        self.inner.state.read().feed.floor()
    }

    /// Returns once [`ReplicaStore::feed`] from this index has news: an applied entry, or an error.
    pub async fn fed(&self, from: u64) {
        loop {
            let notified = self.inner.fed.notified();
            if self.has_news(from) {
                return;
            }
            notified.await;
        }
    }

    fn has_news(&self, from: u64) -> bool {
        let state = self.inner.state.read();
        state.halted.is_some()
            || from < state.feed.floor()
            || state.applied.is_some_and(|applied| applied.index >= from)
    }

    /// Waits until the delta is below its hard limit. A checkpoint makes room, so one must have been requested.
    pub async fn room(&self) {
        loop {
            let notified = self.inner.room.notified();
            if !self.must_wait() {
                return;
            }
            notified.await;
        }
    }

    /// Returns once the engine can be asked: at once, unless it is being opened again, which takes up to a quarter of a
    /// second (ADR 0003). Whoever applies or reads without waiting for this keeps its whole thread waiting, and on a node
    /// of few threads every other replica with it.
    pub async fn engine_open(&self) {
        loop {
            let notified = self.inner.engine_back.notified();
            if !self.inner.engine_away.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// Whether apply would answer [`ReplicaError::DeltaFull`].
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.delta_bytes() >= self.inner.options.delta_bytes_max
    }

    /// Bytes in the live and the frozen delta.
    #[must_use]
    pub fn delta_bytes(&self) -> usize {
        self.inner.state.read().delta_bytes()
    }

    /// Whether the delta has reached the size at which it asks for a checkpoint.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        let state = self.inner.state.read();
        let applied = state.applied.map_or(0, |id| id.index);
        let durable = state.mark.applied.as_ref().map_or(0, |id| id.index);
        // A later program need not know how entries of an earlier level were applied.
        let level_is_new = state.mark.level != state.system.level;
        level_is_new
            || state.delta_bytes() >= state.checkpoint_bytes
            || applied.saturating_sub(durable) >= CHECKPOINT_ENTRIES
    }

    /// Last applied entry.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.inner.state.read().applied
    }

    /// Last applied membership and the entry it came with.
    #[must_use]
    pub fn membership(&self) -> (Option<LogId>, v1::Membership) {
        let state = self.inner.state.read();
        (state.membership_log_id, state.membership.clone())
    }

    /// Last entry whose effects survive a power cut: the log may be purged up to it.
    #[must_use]
    pub fn durable_index(&self) -> Option<LogId> {
        self.inner.state.read().durable()
    }

    /// This replica's digest at a recently applied index.
    #[must_use]
    pub fn digest_at(&self, index: u64) -> Option<Digest> {
        self.inner.state.read().ring.at(index)
    }

    /// Another replica of the group has this digest at this index. Where it is not ours, the verdict says so.
    pub fn doubt(&self, index: u64, theirs: Digest) {
        self.inner.state.write().ring.doubt(index, theirs);
    }

    /// A majority of the group has our digest at this index.
    pub fn acquit(&self, index: u64) {
        self.inner.state.write().ring.acquit(index);
    }

    /// Applies an entry that stands in no log: from then on this replica differs from the others. Only for tests of
    /// how that is noticed.
    ///
    /// # Errors
    /// [`ReplicaError::Halted`]
    pub fn tamper(&self, entry: &[u8]) -> Result<Applied, ReplicaError> {
        let mut state = self.inner.state.write();
        state.check_running()?;
        let index = state.applied.map_or(0, |applied| applied.index);
        state.change(index, entry).map(|(applied, _)| applied)
    }

    /// A snapshot of the figures.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let state = self.inner.state.read();
        ReplicaStatus {
            applied: state.applied,
            checkpoint: state.durable(),
            delta_bytes: state.delta_bytes(),
            feed_bytes: state.feed.bytes(),
            feed_floor: state.feed.floor(),
            record_count: state.system.record_count,
            digest: state.system.digest,
            level: state.system.level,
            checkpoint_level: state.mark.level,
            log_time_ms: state.system.log_time_ms,
            verdict: state.ring.verdict(),
            halted: state.halted.clone(),
            damaged: state.damaged,
            engine: self.inner.factory.name(),
            engine_memory_bytes: state.generation.engine().memory_bytes(),
        }
    }

    /// Where this replica differs from its leader, unless it has stopped. Asked of every replica again and again, so it does
    /// not count memory as [`Self::status`] does.
    #[must_use]
    pub fn mismatch(&self) -> Option<Mismatch> {
        let state = self.inner.state.read();
        state.ring.verdict().mismatch.filter(|_| state.halted.is_none())
    }

    /// Serves and checkpoints nothing any more: what it holds is not what was written.
    pub fn halt_as_damaged(&self, why: &str) {
        let mut state = self.inner.state.write();
        state.damaged = true;
        state.halted.get_or_insert_with(|| why.to_owned());
    }

    /// Whether this program can follow the level of state that a peer offers. Where it cannot, the replica serves
    /// nothing any more: its peers are ahead of what it could ever apply.
    ///
    /// # Errors
    /// [`ReplicaError::Level`]
    pub fn check_offered_level(&self, level: u32) -> Result<(), ReplicaError> {
        self.inner.options.levels.check(level).map_err(|unknown| {
            let error = ReplicaError::from(unknown);
            let mut state = self.inner.state.write();
            state.halted.get_or_insert_with(|| format!("a snapshot: {error}"));
            error
        })
    }

    /// Tells when nobody uses this state any more, so that its files may be opened again or removed.
    #[must_use]
    pub fn end(&self) -> StoreEnd {
        StoreEnd(Arc::downgrade(&self.inner))
    }

    /// Puts received state in the place of the present one: durable and at once for readers on return. Apply must not
    /// run meanwhile. The old state's files go when their last reader does.
    ///
    /// # Errors
    /// [`ReplicaError::BadSnapshot`] if it is older than what is applied here; what the disk says.
    pub fn install(&self, installed: Installed) -> Result<(), ReplicaError> {
        let present = self.inner.state.read();
        let older = present.halted.is_none() && installed.applied() < present.applied;
        if older && !mutant!("older-snapshot-installed") {
            return Err(ReplicaError::BadSnapshot("it is older than this replica".into()));
        }
        let checkpoint_bytes = present.checkpoint_bytes;
        drop(present);
        let (generation, mark) = installed.keep();
        let number = generation.number;
        let new = State::at_mark(generation, mark, checkpoint_bytes, &self.inner.options)?;
        open::switch(
            self.inner.disk.as_ref(),
            &self.inner.dir,
            number,
            &self.inner.options.owner,
        )?;
        let old = std::mem::replace(&mut *self.inner.state.write(), new);
        old.generation.retire();
        drop(old);
        self.inner.room.notify_waiters();
        // The changes that the snapshot stands for are not in the feed: who waited for them is told.
        self.inner.fed.notify_waiters();
        Ok(())
    }

    /// Marks the replica as waiting in a queue; false if it already is.
    fn mark_queued(&self) -> bool {
        !self.inner.queued.swap(true, Ordering::AcqRel)
    }

    fn clear_queued(&self) {
        self.inner.queued.store(false, Ordering::Release);
    }
}
