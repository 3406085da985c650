//! The giving side: walks the engine while it holds the replica's checkpoints.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use spine_proto::storage::v1;
use spine_statemachine::Digest;
use tokio::time::Instant;

use super::sum::RecordSum;
use super::{SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_FORMAT};
use crate::replica::codec::decode_record;
use crate::replica::effects::FIRST_RECORD_KEY;
use crate::replica::{Generation, PinId, ReplicaError, ReplicaStore};

/// Pairs asked of the engine at once, at most.
const READ_PAIRS_MAX: usize = 256;

/// A snapshot being read, exact at the replica's last checkpoint. While it lives no checkpoint runs, and the delta
/// grows; it loses its hold after the pin time, or when the delta meets its hard limit.
pub struct SnapshotSource {
    store: ReplicaStore,
    pin: PinId,
    generation: Arc<Generation>,
    shard: u32,
    state: v1::ReplicaState,
    next_start: Vec<u8>,
    read: VecDeque<(Bytes, Bytes)>,
    exhausted: bool,
    sequence: u64,
    sum: RecordSum,
    sent_bytes: usize,
}

/// What a scan of a whole checkpoint found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanReport {
    /// Index of the checkpoint; none before the first.
    pub index: Option<u64>,
    /// Records found.
    pub record_count: u64,
    /// Their digest.
    pub digest: Digest,
}

impl SnapshotSource {
    /// Holds the last checkpoint.
    ///
    /// # Errors
    /// [`ReplicaError::Busy`] while a checkpoint is under way; [`ReplicaError::Halted`].
    pub fn begin(store: &ReplicaStore, shard: u32) -> Result<Self, ReplicaError> {
        let mut state = store.inner.state.write();
        state.check_running()?;
        if state.frozen.is_some() {
            return Err(ReplicaError::Busy);
        }
        let pin = state.pins.add(Instant::now() + store.inner.options.pin_time_max);
        Ok(Self {
            store: store.clone(),
            pin,
            generation: Arc::clone(&state.generation),
            shard,
            state: state.mark.clone(),
            next_start: FIRST_RECORD_KEY.to_vec(),
            read: VecDeque::new(),
            exhausted: false,
            sequence: 0,
            sum: RecordSum::default(),
            sent_bytes: 0,
        })
    }

    /// The stream's first message.
    #[must_use]
    pub fn header(&self) -> v1::SnapshotHeader {
        v1::SnapshotHeader {
            format: SNAPSHOT_FORMAT,
            shard: self.shard,
            state: Some(self.state.clone()),
        }
    }

    /// The next chunk; `None` when all records are out. Reads the engine on the calling thread.
    ///
    /// # Errors
    /// [`ReplicaError::PinLost`], [`ReplicaError::Damaged`], or what the disk says.
    pub fn next_chunk(&mut self) -> Result<Option<v1::SnapshotChunk>, ReplicaError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        loop {
            self.fill()?;
            let Some((key, stored)) = self.read.front() else {
                break;
            };
            let size = key.len() + stored.len();
            if !records.is_empty() && bytes + size > SNAPSHOT_CHUNK_BYTES_MAX {
                break;
            }
            bytes += size;
            self.sum.add(key, &decode_record(stored.clone())?);
            let Some((key, stored)) = self.read.pop_front() else {
                break;
            };
            records.push(v1::SnapshotRecord { key, stored });
        }
        if records.is_empty() {
            return Ok(None);
        }
        self.sent_bytes += bytes;
        let sequence = self.sequence;
        self.sequence += 1;
        Ok(Some(v1::SnapshotChunk { sequence, records }))
    }

    /// The stream's last message, after the last chunk.
    ///
    /// # Errors
    /// [`ReplicaError::Damaged`] if the engine does not hold what the replica's state says;
    /// [`ReplicaError::BadSnapshot`] before the last chunk.
    pub fn end(&self) -> Result<v1::SnapshotEnd, ReplicaError> {
        if !self.exhausted || !self.read.is_empty() {
            return Err(ReplicaError::BadSnapshot("there are chunks left".into()));
        }
        if !self.sum.is(self.state.record_count, &self.state.digest) {
            return Err(ReplicaError::Damaged(format!(
                "a scan finds {} records where the state has {}, or another digest",
                self.sum.count, self.state.record_count
            )));
        }
        let digest = self.sum.digest.to_bytes().to_vec().into();
        Ok(v1::SnapshotEnd {
            record_count: self.sum.count,
            digest,
        })
    }

    fn fill(&mut self) -> Result<(), ReplicaError> {
        if self.exhausted || !self.read.is_empty() {
            return Ok(());
        }
        let pairs = self
            .generation
            .engine()
            .range(&self.next_start, &[], self.read_pairs())?;
        // After the read: had a checkpoint begun meanwhile, the pin would be gone by now.
        self.check_pin()?;
        match pairs.last() {
            Some((last, _)) => self.next_start = [last, &[0][..]].concat(),
            None => self.exhausted = true,
        }
        self.read = pairs.into();
        Ok(())
    }

    /// About one chunk of pairs, by the average so far.
    fn read_pairs(&self) -> usize {
        let count = usize::try_from(self.sum.count).unwrap_or(usize::MAX);
        let average = self
            .sent_bytes
            .checked_div(count)
            .unwrap_or(SNAPSHOT_CHUNK_BYTES_MAX / 16);
        (SNAPSHOT_CHUNK_BYTES_MAX / average.max(1)).clamp(1, READ_PAIRS_MAX)
    }

    fn check_pin(&self) -> Result<(), ReplicaError> {
        let state = self.store.inner.state.read();
        let held = state.pins.holds(self.pin) && Arc::ptr_eq(&state.generation, &self.generation);
        if held { Ok(()) } else { Err(ReplicaError::PinLost) }
    }
}

impl Drop for SnapshotSource {
    fn drop(&mut self) {
        let mut state = self.store.inner.state.write();
        if Arc::ptr_eq(&state.generation, &self.generation) {
            state.pins.remove(self.pin);
        }
    }
}

impl ReplicaStore {
    /// Reads every record of the last checkpoint and compares count and digest with the state. Holds the checkpoint
    /// meanwhile; runs on the calling thread.
    ///
    /// # Errors
    /// [`ReplicaError::Damaged`] if they differ, and as [`SnapshotSource::begin`].
    pub fn verify_scan(&self) -> Result<ScanReport, ReplicaError> {
        let mut source = SnapshotSource::begin(self, 0)?;
        while source.next_chunk()?.is_some() {}
        source.end()?;
        Ok(ScanReport {
            index: source.state.applied.as_ref().map(|id| id.index),
            record_count: source.sum.count,
            digest: source.sum.digest,
        })
    }
}
