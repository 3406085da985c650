//! What a replica holds in memory, all under one lock.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use spine_mutants::mutant;
use spine_proto::storage::v1;
use spine_statemachine::{Applied, Digest, LevelRange, SystemState};

use super::codec::{log_id_from_proto, log_id_to_proto};
use super::delta::Delta;
use super::feed::{Feed, FeedChange};
use super::generation::Generation;
use super::layers::{DeltaWriter, Layers};
use super::open::check_level;
use super::pins::Pins;
use super::request_filter::RequestFilters;
use super::ring::DigestRing;
use super::{ApplyPayload, ReplicaError, ReplicaOptions};
use crate::ids::LogId;

/// A delta that a checkpoint is moving into the engine, and the state it leads to.
pub(crate) struct Frozen {
    pub(crate) delta: Delta,
    pub(crate) state: v1::ReplicaState,
}

pub(crate) struct State {
    pub(crate) live: Delta,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) generation: Arc<Generation>,
    /// The state the engine holds, durable.
    pub(crate) mark: v1::ReplicaState,
    pub(crate) system: SystemState,
    pub(crate) request_filters: RequestFilters,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership_log_id: Option<LogId>,
    pub(crate) membership: v1::Membership,
    pub(crate) ring: DigestRing,
    pub(crate) feed: Feed,
    pub(crate) pins: Pins,
    pub(crate) halted: Option<String>,
    /// It halted because its files are not what was written.
    pub(crate) damaged: bool,
    /// This replica's share of the staggered checkpoint size.
    pub(crate) checkpoint_bytes: usize,
    levels: LevelRange,
}

impl State {
    /// The state of a generation whose engine holds exactly `mark`.
    pub(crate) fn at_mark(
        generation: Arc<Generation>,
        mark: v1::ReplicaState,
        checkpoint_bytes: usize,
        options: &ReplicaOptions,
    ) -> Result<Self, ReplicaError> {
        let system =
            SystemState::load_from(&mark).map_err(|error| ReplicaError::Damaged(error.to_string()))?;
        check_level(options.levels, &mark)?;
        let request_filters = RequestFilters::load(&system.requests, generation.engine())?;
        let feed_floor = mark.applied.as_ref().map_or(0, |applied| applied.index + 1);
        let mut state = Self {
            live: Delta::default(),
            frozen: None,
            generation,
            applied: mark.applied.as_ref().map(log_id_from_proto),
            membership_log_id: mark.membership_log_id.as_ref().map(log_id_from_proto),
            membership: mark.membership.clone().unwrap_or_default(),
            mark,
            system,
            request_filters,
            ring: DigestRing::default(),
            feed: Feed::new(feed_floor, options.feed_bytes_max),
            pins: Pins::default(),
            halted: None,
            damaged: false,
            checkpoint_bytes,
            levels: options.levels,
        };
        state.remember_digest();
        Ok(state)
    }

    pub(crate) fn layers(&self) -> Layers<'_> {
        Layers {
            live: &self.live,
            frozen: self.frozen.as_ref().map(|frozen| &frozen.delta),
            engine: self.generation.engine(),
        }
    }

    pub(crate) fn delta_bytes(&self) -> usize {
        self.live.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.delta.bytes())
    }

    pub(crate) fn durable(&self) -> Option<LogId> {
        self.mark.applied.as_ref().map(log_id_from_proto)
    }

    pub(crate) fn check_running(&self) -> Result<(), ReplicaError> {
        self.halted
            .as_ref()
            .map_or(Ok(()), |why| Err(ReplicaError::Halted(why.clone())))
    }

    /// Every entry must be the next one; a first entry has index 0 or 1.
    pub(crate) fn check_order(&self, batch: &[(LogId, ApplyPayload)]) -> Result<(), ReplicaError> {
        let mut applied = self.applied;
        for (id, _) in batch {
            let follows = applied.map_or(id.index <= 1, |last| id.index == last.index + 1);
            if !follows && !mutant!("entries-in-any-order") {
                return Err(ReplicaError::OutOfOrder { applied, got: *id });
            }
            applied = Some(*id);
        }
        Ok(())
    }

    pub(crate) fn apply_one(&mut self, id: LogId, payload: ApplyPayload) -> Result<Applied, ReplicaError> {
        let applied = match payload {
            ApplyPayload::Blank => Applied::Noop,
            ApplyPayload::Membership(membership) => {
                self.membership = membership;
                self.membership_log_id = Some(id);
                Applied::Noop
            }
            ApplyPayload::Entry(entry) => self.apply_entry(id.index, entry)?,
        };
        self.applied = Some(id);
        self.remember_digest();
        if let Applied::Verify { index, digest } = &applied {
            self.ring.compare(*index, *digest);
        }
        Ok(applied)
    }

    fn apply_entry(&mut self, index: u64, entry: Bytes) -> Result<Applied, ReplicaError> {
        let (applied, changes) = self.change(index, entry)?;
        if !mutant!("feed-loses-a-change") || !index.is_multiple_of(16) {
            self.feed.push(index, changes);
        }
        Ok(applied)
    }

    /// Applies an entry to the delta; what it changed, for watchers.
    pub(crate) fn change(
        &mut self,
        index: u64,
        entry: impl Buf,
    ) -> Result<(Applied, Vec<FeedChange>), ReplicaError> {
        let mut changes = Vec::new();
        let mut writer = DeltaWriter {
            changes: &mut changes,
            live: &mut self.live,
            frozen: self.frozen.as_ref().map(|frozen| &frozen.delta),
            engine: self.generation.engine(),
            request_filters: &mut self.request_filters,
        };
        let applied = spine_statemachine::apply(&mut writer, &mut self.system, self.levels, index, entry)
            .map_err(|halt| {
                // The delta may hold a part of the entry: nothing of it may be read or checkpointed any more.
                let why = format!("at index {index}: {halt}");
                self.halted = Some(why.clone());
                // Its own store could not be read; the other reasons are the program's and stay after a rebuild.
                self.damaged = matches!(halt, spine_statemachine::apply::Halt::Read(_));
                ReplicaError::Halted(why)
            })?;
        Ok((applied, changes))
    }

    /// The delta as a checkpoint takes it, with what the replica keeps beside its records; the live one is empty then.
    pub(crate) fn take_delta(&mut self) -> Delta {
        let mut delta = std::mem::take(&mut self.live);
        let revision = self.applied.map_or(0, |applied| applied.index);
        for (key, record) in self.request_filters.take_changes(&self.system.requests, revision) {
            delta.set(key, record, Digest::default());
        }
        delta
    }

    fn remember_digest(&mut self) {
        if let Some(applied) = self.applied {
            self.ring.push(applied.index, self.system.digest);
        }
    }

    /// The state at the applied index as a checkpoint stores it.
    pub(crate) fn to_proto(&self) -> v1::ReplicaState {
        let mut state = v1::ReplicaState {
            applied: self.applied.map(log_id_to_proto),
            membership_log_id: self.membership_log_id.map(log_id_to_proto),
            membership: Some(self.membership.clone()),
            ..Default::default()
        };
        self.system.store_into(&mut state);
        state
    }
}
