//! One replica of one shard in memory, checked after every entry.

use bytes::Bytes;
use spine_proto::ids::Slot;
use spine_proto::storage::v1 as pb;
use spine_statemachine::digest;
use spine_statemachine::key::Family;
use spine_statemachine::memory::MemoryStore;
use spine_statemachine::{Applied, Halt, LevelRange, SubOutcome, SystemState, apply, txn};

/// Store, counters and the last index applied.
#[derive(Clone, Default)]
pub(crate) struct Shard {
    pub(crate) store: MemoryStore,
    pub(crate) state: SystemState,
    pub(crate) index: u64,
    /// What the program knows.
    pub(crate) levels: LevelRange,
}

impl Shard {
    /// One that owns these slots since index 1.
    pub(crate) fn owning(first: u16, last: u16) -> Self {
        let mut shard = Self::default();
        let slots = Slot::new(first).unwrap()..=Slot::new(last).unwrap();
        shard.txn(vec![txn::first_slots(&slots)], 0);
        shard
    }

    /// Applies an encoded entry at the next index.
    pub(crate) fn apply(&mut self, entry: &[u8]) -> Result<Applied, Halt> {
        let before = self.clone();
        self.index += 1;
        let applied = apply(&mut self.store, &mut self.state, self.levels, self.index, entry);
        if applied.is_err() {
            assert!(self.store == before.store, "a halt changes no record");
            assert_eq!(self.state, before.state, "a halt changes no counter");
        }
        self.check();
        before.restarted().follows(entry, &applied, self);
        applied
    }

    /// A replica that has just been opened remembers nothing of what it read, and does the same.
    fn follows(mut self, entry: &[u8], other: &Result<Applied, Halt>, other_state: &Self) {
        let applied = apply(
            &mut self.store,
            &mut self.state,
            self.levels,
            self.index + 1,
            entry,
        );
        match (&applied, other) {
            (Ok(applied), Ok(other)) => assert!(applied == other, "another outcome"),
            (Err(halt), Err(other)) => assert_eq!(halt.to_string(), other.to_string()),
            _ => panic!("one halts, the other does not"),
        }
        assert!(self.store == other_state.store, "other records");
        assert_eq!(self.state, other_state.state);
    }

    /// Applies a transaction; its outcomes.
    pub(crate) fn txn(&mut self, subs: Vec<pb::SubTxn>, at_ms: i64) -> Vec<SubOutcome> {
        match self.apply(&txn::entry(subs, at_ms)) {
            Ok(Applied::Txn(outcomes)) => outcomes,
            Ok(_) => panic!("a transaction is answered by its outcomes"),
            Err(halt) => panic!("{halt}"),
        }
    }

    /// The counters say what a scan finds.
    fn check(&self) {
        let (scanned, count) = digest::scan(&self.store).unwrap();
        assert_eq!((self.state.digest, self.state.record_count), (scanned, count));
        assert_eq!(self.state.requests.stored_rows(), self.request_rows());
        assert!(self.state.requests.remembered_rows() <= self.state.requests.stored_rows());
    }

    /// Request rows in the store.
    pub(crate) fn request_rows(&self) -> u64 {
        let rows = self
            .store
            .records()
            .keys()
            .filter(|key| Family::of(key) == Some(Family::Request));
        u64::try_from(rows.count()).unwrap()
    }

    /// As another process would find it after a restart.
    pub(crate) fn restarted(&self) -> Self {
        let mut stored = pb::ReplicaState::default();
        self.state.store_into(&mut stored);
        Self {
            state: SystemState::load_from(&stored).unwrap(),
            ..self.clone()
        }
    }
}

/// 16 bytes that stand for a hash of `text`.
pub(crate) fn hash16(text: &str) -> Bytes {
    Bytes::copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16])
}
