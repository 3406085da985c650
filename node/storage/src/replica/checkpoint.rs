//! Moving the delta into the engine, in four steps that a crash may cut anywhere.
//!
//! 1. The frozen delta and the state it leads to are written as an effects file, durable.
//! 2. They are written into the engine, sorted.
//! 3. The engine is made durable.
//! 4. The state is marked durable and the effects file deleted.
//!
//! Until the effects file is durable the engine is untouched and the log replays everything. From then on the engine
//! may hold any part of the effects, and opening does them again before anything else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use spine_mutants::mutant;
use tokio::time::Instant;

use super::generation::Generation;
use super::state::Frozen;
use super::{ReplicaError, ReplicaStore, effects};
use crate::engine::{EngineCall, EngineWatch};
use crate::ids::LogId;

/// What a step of a checkpoint led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another step is needed.
    More,
    /// Done: the effects up to here are durable.
    Done(Option<LogId>),
}

/// A checkpoint begins only with this many times the changes' bytes free: for the effects file, and for an engine that
/// writes whole pages.
const CHECKPOINT_ROOM_FACTOR: u64 = 4;

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

enum Stage {
    Effects,
    Write { after: Option<Bytes> },
    Sync,
    Mark,
    Done,
}

/// A checkpoint under way; see the module's text. Dropped early it may be begun again.
pub struct Checkpoint {
    store: ReplicaStore,
    frozen: Arc<Frozen>,
    generation: Arc<Generation>,
    stage: Stage,
}

impl ReplicaStore {
    /// Freezes the delta and begins a checkpoint at the applied index; `None` if nothing was applied since the last,
    /// if one is under way, or while a snapshot holds the last one.
    ///
    /// # Errors
    /// [`ReplicaError::Halted`].
    pub fn begin_checkpoint(&self) -> Result<Option<Checkpoint>, ReplicaError> {
        let mut state = self.inner.state.write();
        state.check_running()?;
        if self.inner.checkpointing.load(Ordering::Acquire) {
            return Ok(None);
        }
        // At the hard limit writers come before a snapshot's reader.
        let full = state.delta_bytes() >= self.inner.options.delta_bytes_max;
        if !state.pins.release(Instant::now(), full) {
            return Ok(None);
        }
        // A frozen delta is left where an earlier attempt failed: it comes first.
        let frozen = match &state.frozen {
            Some(frozen) if !mutant!("frozen-delta-lost") => Arc::clone(frozen),
            _ if state.durable() == state.applied => return Ok(None),
            _ => {
                let frozen = Frozen {
                    state: state.to_proto(),
                    delta: state.take_delta(),
                };
                Arc::clone(state.frozen.insert(Arc::new(frozen)))
            }
        };
        self.inner.checkpointing.store(true, Ordering::Release);
        let generation = Arc::clone(&state.generation);
        Ok(Some(Checkpoint {
            store: self.clone(),
            frozen,
            generation,
            stage: Stage::Effects,
        }))
    }

    /// A whole checkpoint on the calling thread; where nothing is to do, the last durable entry. The node's worker
    /// does the same in steps.
    ///
    /// # Errors
    /// As [`Checkpoint::step`].
    pub fn checkpoint_now(&self, watch: &EngineWatch) -> Result<Option<LogId>, ReplicaError> {
        let Some(mut checkpoint) = self.begin_checkpoint()? else {
            return Ok(self.durable_index());
        };
        loop {
            if let Progress::Done(durable) = checkpoint.step(watch)? {
                return Ok(durable);
            }
        }
    }
}

impl Checkpoint {
    /// One bounded piece of work. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReplicaError`]; after one from the engine or of a sync the engine takes no more writes, and the node ends.
    pub fn step(&mut self, watch: &EngineWatch) -> Result<Progress, ReplicaError> {
        let engine = self.generation.engine();
        match &self.stage {
            Stage::Effects => {
                self.write_effects()?;
                self.stage = Stage::Write { after: None };
            }
            Stage::Write { after } => {
                let mut slice = effects::slice(&self.frozen.delta, after.as_deref());
                let last = slice.last().map(|(key, _)| key.clone());
                if last.is_none() {
                    slice.push(effects::engine_mark(&self.frozen.state));
                }
                watch.run(EngineCall::Write, || engine.write_sorted(&slice))?;
                self.give_memory_back(watch)?;
                self.stage = last.map_or(Stage::Sync, |last| Stage::Write { after: Some(last) });
            }
            Stage::Sync => {
                if !mutant!("mark-before-fsync") {
                    watch.run(EngineCall::Sync, || engine.sync())?;
                }
                self.stage = Stage::Mark;
            }
            Stage::Mark => {
                self.generation.write_mark(&self.frozen.state)?;
                self.thaw();
                self.generation.remove_effects()?;
                self.stage = Stage::Done;
            }
            Stage::Done => {}
        }
        Ok(match self.stage {
            Stage::Done => Progress::Done(self.store.durable_index()),
            _ => Progress::More,
        })
    }

    /// Until this has succeeded nothing counts on it, so a full disk does no harm here; in an engine it would.
    fn write_effects(&self) -> Result<(), ReplicaError> {
        let inner = &self.store.inner;
        let delta_bytes = u64::try_from(self.frozen.delta.bytes()).unwrap_or(u64::MAX);
        if inner.disk.free_bytes(&inner.dir)? < delta_bytes.saturating_mul(CHECKPOINT_ROOM_FACTOR) {
            return Err(ReplicaError::Full);
        }
        let content = effects::encode(&self.frozen.delta, &self.frozen.state);
        match self.generation.write_effects(&content) {
            Err(error) if is_full(&error) => {
                self.generation.remove_effects()?;
                Err(ReplicaError::Full)
            }
            written => Ok(written?),
        }
    }

    /// Also in the middle of the changes: one checkpoint may touch the whole database, and what an engine makes durable
    /// early is in the effects file too.
    fn give_memory_back(&self, watch: &EngineWatch) -> Result<(), ReplicaError> {
        let engine = self.generation.engine();
        if engine.memory_bytes() > self.store.inner.options.engine_memory_bytes_max {
            watch.run(EngineCall::Sync, || engine.sync())?;
            let _away = Away::begin(&self.store);
            let (began, generation) = (Instant::now(), Arc::clone(&self.generation));
            watch.run_briskly(EngineCall::Reopen, move || generation.engine().reopen())?;
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(took_ms, "engine closed and opened, to give memory back");
        }
        Ok(())
    }

    /// The engine now holds the frozen delta: readers look there.
    fn thaw(&self) {
        let mut state = self.store.inner.state.write();
        // An installed snapshot has its own state.
        if Arc::ptr_eq(&state.generation, &self.generation) {
            state.mark = self.frozen.state.clone();
            state.frozen = None;
        }
        drop(state);
        self.store.inner.room.notify_waiters();
    }
}

/// While this lives, who asks first does not ask the engine.
struct Away<'a>(&'a ReplicaStore);

impl<'a> Away<'a> {
    fn begin(store: &'a ReplicaStore) -> Self {
        store.inner.engine_away.store(true, Ordering::Release);
        Self(store)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.inner.engine_away.store(false, Ordering::Release);
        self.0.inner.engine_back.notify_waiters();
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.store.inner.checkpointing.store(false, Ordering::Release);
    }
}
