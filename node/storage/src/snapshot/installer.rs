//! The receiving side: builds a new generation beside the one in force.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use spine_mutants::mutant;
use spine_proto::storage::v1;
use spine_statemachine::SystemState;
use spine_statemachine::key::Family;

use super::sum::RecordSum;
use super::{SNAPSHOT_FORMAT, SNAPSHOT_RECORD_BYTES_MAX};
use crate::engine::Change;
use crate::ids::LogId;
use crate::replica::codec::{decode_record, log_id_from_proto};
use crate::replica::request_filter::RequestFilters;
use crate::replica::{Generation, ReplicaError, ReplicaStore, effects};

/// The engine is written in batches of this many records ...
const BATCH_RECORDS: usize = 512;
/// ... or this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// Receives a snapshot into a new directory. Blocks on the disk; dropped early it leaves nothing behind.
pub struct SnapshotInstaller {
    generation: Arc<Generation>,
    state: v1::ReplicaState,
    engine_memory_bytes_max: u64,
    next_sequence: u64,
    last_key: Bytes,
    batch: Vec<Change>,
    batch_bytes: usize,
    sum: RecordSum,
    request_filters: RequestFilters,
}

/// A received, verified and durable state; [`ReplicaStore::install`] puts it in force. Dropped it leaves nothing.
pub struct Installed {
    generation: Arc<Generation>,
    state: v1::ReplicaState,
}

impl Installed {
    /// The entry it is exact at.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.state.applied.as_ref().map(log_id_from_proto)
    }

    /// Hands everything over: from now on the generation is not removed when dropped.
    pub(crate) fn keep(self) -> (Arc<Generation>, v1::ReplicaState) {
        self.generation.keep();
        (self.generation, self.state)
    }
}

impl SnapshotInstaller {
    /// Begins to receive beside `store`'s present state.
    ///
    /// # Errors
    /// [`ReplicaError::BadSnapshot`] for a stream of another shape; [`ReplicaError::Level`]; what the disk and the engine say.
    pub fn begin(store: &ReplicaStore, header: v1::SnapshotHeader) -> Result<Self, ReplicaError> {
        if header.format != SNAPSHOT_FORMAT {
            return Err(ReplicaError::BadSnapshot(format!(
                "format {} is not known",
                header.format
            )));
        }
        let state = header
            .state
            .ok_or_else(|| ReplicaError::BadSnapshot("it has no state".into()))?;
        store.check_offered_level(state.level)?;
        let inner = &store.inner;
        let number = inner.next_generation.fetch_add(1, Ordering::AcqRel);
        let generation = Generation::open(&inner.disk, &inner.dir, number, inner.factory.as_ref())?;
        // Until it is in force it goes when it is dropped.
        generation.retire();
        Ok(Self {
            generation: Arc::new(generation),
            state,
            engine_memory_bytes_max: inner.options.engine_memory_bytes_max,
            next_sequence: 0,
            last_key: Bytes::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            sum: RecordSum::default(),
            request_filters: RequestFilters::default(),
        })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`ReplicaError::BadSnapshot`] if a chunk or key is out of order or a record does not parse; what the disk says.
    pub fn chunk(&mut self, chunk: v1::SnapshotChunk) -> Result<(), ReplicaError> {
        if chunk.sequence != self.next_sequence {
            let (got, next) = (chunk.sequence, self.next_sequence);
            return Err(ReplicaError::BadSnapshot(format!(
                "chunk {got} where {next} was due"
            )));
        }
        self.next_sequence += 1;
        chunk
            .records
            .into_iter()
            .try_for_each(|record| self.record(record))
    }

    fn record(&mut self, record: v1::SnapshotRecord) -> Result<(), ReplicaError> {
        if record.key <= self.last_key || *record.key < *effects::FIRST_RECORD_KEY {
            return Err(ReplicaError::BadSnapshot("keys are out of order".into()));
        }
        if record.stored.len() > SNAPSHOT_RECORD_BYTES_MAX {
            return Err(ReplicaError::BadSnapshot("a record is too large".into()));
        }
        let parsed = decode_record(record.stored.clone());
        let parsed = parsed.map_err(|_| ReplicaError::BadSnapshot("a record does not parse".into()))?;
        self.sum.add(&record.key, &parsed);
        self.request_filters.note(&record.key);
        self.last_key = record.key.clone();
        self.batch_bytes += record.key.len() + record.stored.len();
        if !mutant!("request-ids-not-in-snapshots") || record.key[0] != Family::Request as u8 {
            self.batch.push((record.key, Some(record.stored)));
        }
        if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), ReplicaError> {
        let engine = self.generation.engine();
        engine.write_sorted(&self.batch)?;
        if engine.memory_bytes() > self.engine_memory_bytes_max {
            engine.sync()?;
            engine.reopen()?;
        }
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// Verifies count and digest and makes everything durable.
    ///
    /// # Errors
    /// [`ReplicaError::BadSnapshot`] if the records are not what header and end say; what the disk says.
    pub fn finish(mut self, end: &v1::SnapshotEnd) -> Result<Installed, ReplicaError> {
        if !mutant!("last-chunk-lost") {
            self.write_batch()?;
        }
        let whole = self.sum.is(end.record_count, &end.digest)
            && self.sum.is(self.state.record_count, &self.state.digest);
        if !whole && !mutant!("snapshot-not-verified") {
            return Err(ReplicaError::BadSnapshot(
                "count or digest differ from what was received".into(),
            ));
        }
        let system = SystemState::load_from(&self.state)
            .map_err(|error| ReplicaError::BadSnapshot(error.to_string()))?;
        let filters = self.request_filters.take_rows(&self.state, &system.requests);
        self.generation.engine().write_sorted(&filters)?;
        self.generation
            .engine()
            .write_sorted(&[effects::engine_mark(&self.state)])?;
        self.generation.engine().sync()?;
        self.generation.write_mark(&self.state)?;
        Ok(Installed {
            generation: self.generation,
            state: self.state,
        })
    }
}
