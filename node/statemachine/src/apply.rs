//! The only function that changes replicated state. No clock, no randomness, no I/O of its own.

mod sweep;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_mutants::mutant;
use spine_proto::storage::v1 as pb;

use crate::chain;
use crate::check::{self, Broken};
use crate::digest::Digest;
use crate::key;
use crate::levels::{self, LevelRange, Rule, UnknownLevel};
use crate::limits::{APPEND_POSITION_BYTES, RANGE_RECORDS_MAX};
use crate::request::Seen;
use crate::session_rows::SessionRows;
use crate::state::SystemState;
use crate::store::{Key, OrderedWrite, ReadError, Record};
use crate::{guard, request, session, slots};

/// What an entry did.
#[derive(Clone, PartialEq, Eq)]
pub enum Applied {
    /// Nothing.
    Noop,
    /// The rules of this level hold from here on.
    Level(u32),
    /// The leader's digest at an earlier index, for the replica to compare.
    Verify {
        /// Index of the state it is of.
        index: u64,
        /// The leader's digest there.
        digest: Digest,
    },
    /// One outcome for each SubTxn.
    Txn(Vec<SubOutcome>),
}

/// What became of one SubTxn. Only a committed one changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubOutcome {
    /// All guards held; everything was written at this revision.
    Committed {
        /// The entry's index.
        revision: u64,
    },
    /// The same request id and body had taken effect before.
    Replayed {
        /// Revision of that time.
        revision: u64,
        /// Outcome of that time.
        outcome: Bytes,
    },
    /// This guard did not hold.
    GuardFailed {
        /// Its place in the SubTxn.
        guard: u32,
    },
    /// The request id was used before with another body.
    RequestIdReused,
    /// The session of the call is, or may be, forgotten: nothing was executed, and whether an earlier try of the
    /// same call was is not known any more.
    SessionExpired,
    /// The shard does not own this slot.
    ForeignSlot {
        /// Which one.
        slot: u16,
    },
    /// A limit of keys, records or transactions.
    TooLarge {
        /// Its name.
        limit: &'static str,
    },
}

/// Why a replica must stop: applying on would let it differ from the others.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// Written by a newer release: a kind or a field that this one does not have.
    #[error("log entry at index {index} holds something unknown; this release is too old for it")]
    UnknownEntry {
        /// Where.
        index: u64,
    },
    /// Not an entry at all.
    #[error("malformed log entry at index {index}")]
    Malformed {
        /// Where.
        index: u64,
    },
    /// Rules that this release does not have.
    #[error("{level}; install a release that does")]
    Level {
        /// The level, and what is known.
        level: UnknownLevel,
        /// Where.
        index: u64,
    },
    /// The replica's own store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Applies one encoded `storage.v1.Entry` at its index, by the rules of the level in force there. `levels` are those
/// that the program can follow; they decide whether it goes on, never what an entry does. Of `Bytes` nothing is copied
/// but what is stored.
///
/// # Errors
/// [`Halt`]: the replica must stop. Nothing was changed, unless the store failed half way, and then it is rebuilt.
pub fn apply(
    store: &mut impl OrderedWrite,
    state: &mut SystemState,
    levels: LevelRange,
    index: u64,
    entry: impl Buf,
) -> Result<Applied, Halt> {
    let bytes = entry.remaining();
    let entry = pb::Entry::decode(entry).map_err(|_| Halt::Malformed { index })?;
    if entry.encoded_len() != bytes && !mutant!("unknown-field-skipped") {
        // Decoding leaves out fields it does not know. A replica that knows them would do more with them.
        return Err(Halt::UnknownEntry { index });
    }
    match entry.kind.ok_or(Halt::UnknownEntry { index })? {
        pb::entry::Kind::Noop(_) => Ok(Applied::Noop),
        pb::entry::Kind::Level(pb::Level { level }) => {
            let level = level.max(state.level);
            let known = levels.check(level);
            known.map_err(|level| Halt::Level { level, index })?;
            Applier::new(store, state, index).level(level).map_err(Halt::from)
        }
        pb::entry::Kind::Verify(verify) => {
            let digest = Digest::from_bytes(&verify.digest).ok_or(Halt::Malformed { index })?;
            Ok(Applied::Verify {
                index: verify.index,
                digest,
            })
        }
        pb::entry::Kind::Txn(txn) => {
            if !check::is_known(&txn) {
                return Err(Halt::UnknownEntry { index });
            }
            let known = levels.check(state.level);
            known.map_err(|level| Halt::Level { level, index })?;
            if let Err(Broken(limit)) = check::txn_limits(&txn, bytes) {
                return Ok(Applied::Txn(vec![SubOutcome::TooLarge { limit }; txn.subs.len()]));
            }
            let mut applier = Applier::new(store, state, index);
            applier.txn(txn).map(Applied::Txn).map_err(Halt::from)
        }
    }
}

/// What there is where a call's request row would be written.
#[derive(Clone, Copy)]
enum Row {
    /// No record. Only the call itself can write one before its SubTxn has ended, and ids are hashes: to look again
    /// would be the dearest read of the entry.
    Absent,
    /// Perhaps one that counts no more.
    Unknown,
}

struct Applier<'a, S> {
    store: &'a mut S,
    state: &'a mut SystemState,
    index: u64,
    appended: u32,
    sessions: SessionRows,
}

impl<'a, S: OrderedWrite> Applier<'a, S> {
    fn new(store: &'a mut S, state: &'a mut SystemState, index: u64) -> Self {
        Self {
            store,
            state,
            index,
            appended: 0,
            sessions: SessionRows::default(),
        }
    }

    /// From here on the rules of this level hold. Never goes back, and the same level again changes nothing.
    fn level(&mut self, level: u32) -> Result<Applied, ReadError> {
        let rises = level > self.state.level;
        self.state.level = level;
        if rises && self.state.follows(Rule::REQUESTS_BY_BUCKET) {
            self.state.requests.keep_by_bucket(self.index);
        }
        if rises && self.state.follows(Rule::LEVEL_IN_A_ROW) {
            self.put(key::level(), levels::SCHEMA, levels::value(level))?;
        }
        Ok(Applied::Level(level))
    }

    fn txn(&mut self, txn: pb::Txn) -> Result<Vec<SubOutcome>, ReadError> {
        self.state.log_time_ms = self.state.log_time_ms.max(txn.proposed_at_ms);
        if mutant!("log-time-backwards") {
            self.state.log_time_ms = txn.proposed_at_ms;
        }
        self.state
            .requests
            .begin_entry(self.index, self.state.log_time_ms);
        let outcomes = txn
            .subs
            .into_iter()
            .map(|sub| self.sub(sub))
            .collect::<Result<_, _>>()?;
        for row in self.sessions.end_entry(&mut self.state.memo.sessions, self.index) {
            let replaced = self.put(row.key, session::SCHEMA, row.value)?;
            self.state.requests.wrote_row(replaced, Some(row.opened_ms));
        }
        self.sweep_requests()?;
        Ok(outcomes)
    }

    /// Order: limits, request id, slots, guards, mutations. Up to the mutations nothing is written.
    fn sub(&mut self, sub: pb::SubTxn) -> Result<SubOutcome, ReadError> {
        if let Err(Broken(limit)) = check::limits(&sub) {
            return Ok(SubOutcome::TooLarge { limit });
        }
        let mut row = Row::Unknown;
        if let Some(request) = &sub.request {
            let known;
            (known, row) = self.known(request)?;
            if let Some(known) = known {
                return Ok(known);
            }
        }
        if let Some(slot) = self
            .foreign_slot(&sub)?
            .filter(|_| !mutant!("foreign-slot-accepted"))
        {
            return Ok(SubOutcome::ForeignSlot { slot });
        }
        for (guard, place) in sub.guards.iter().zip(0_u32..) {
            if !guard::holds(self.store, self.index, guard)? && !mutant!("guard-ignored") {
                if let Some(request) = sub
                    .request
                    .as_ref()
                    .filter(|_| mutant!("failed-subtxn-remembered"))
                {
                    self.remember(request, row, Bytes::new())?;
                }
                return Ok(SubOutcome::GuardFailed { guard: place });
            }
        }
        if let Some(limit) = self.range_too_large(&sub.mutations)? {
            return Ok(SubOutcome::TooLarge { limit });
        }
        if check::touches_shard_rows(&sub) {
            self.state.memo.owned = None;
        }
        for mutation in sub.mutations {
            self.mutate(mutation)?;
        }
        if let Some(request) = sub.request.filter(|_| !mutant!("request-id-not-remembered")) {
            self.remember(&request, row, sub.outcome)?;
        }
        Ok(SubOutcome::Committed { revision: self.index })
    }

    /// The outcome of a call that must not be executed, and what there is at its row.
    fn known(&mut self, request: &pb::RequestKey) -> Result<(Option<SubOutcome>, Row), ReadError> {
        let (seen, row) = match &request.session {
            Some(call) => {
                let seen = self.sessions.look(self.store, self.state, request, call)?;
                (seen, Row::Unknown)
            }
            None => {
                let record = request::find(self.store, self.state, request)?;
                // What counts no more is not in the present bucket.
                let row = match self.state.requests.bucket() {
                    None if record.is_some() => Row::Unknown,
                    _ => Row::Absent,
                };
                (request::seen(record.as_ref(), self.state, request)?, row)
            }
        };
        let outcome = match seen {
            Seen::New => None,
            Seen::Before {
                same,
                revision,
                outcome,
            } if same || mutant!("request-digest-ignored") => {
                Some(SubOutcome::Replayed { revision, outcome })
            }
            Seen::Before { .. } => Some(SubOutcome::RequestIdReused),
            Seen::Expired if mutant!("expired-session-executed") => None,
            Seen::Expired => Some(SubOutcome::SessionExpired),
            Seen::Full => Some(SubOutcome::TooLarge {
                limit: "SESSION_DONE_MAX",
            }),
        };
        Ok((outcome, row))
    }

    /// A slot in the SubTxn that this shard does not own.
    fn foreign_slot(&mut self, sub: &pb::SubTxn) -> Result<Option<u16>, ReadError> {
        let touched = check::slots(sub);
        if touched.is_empty() && sub.request.is_none() {
            return Ok(None);
        }
        let owned = match &self.state.memo.owned {
            Some(owned) => owned,
            None => self.state.memo.owned.insert(slots::owned(self.store)?),
        };
        let Some(owned) = owned else {
            // The meta group owns no slots, and remembers request ids all the same.
            return Ok(touched.first().copied());
        };
        let requested = sub
            .request
            .iter()
            .filter_map(|request| u16::try_from(request.slot).ok());
        let mut all = requested.chain(touched);
        Ok(all.find(|slot| !slots::contains(owned, u32::from(*slot))))
    }

    fn range_too_large(&self, mutations: &[pb::Mutation]) -> Result<Option<&'static str>, ReadError> {
        for mutation in mutations {
            if let Some(pb::mutation::Kind::DeleteRange(range)) = &mutation.kind {
                let limit = usize::try_from(range.limit)
                    .unwrap_or(usize::MAX)
                    .min(RANGE_RECORDS_MAX);
                let end = key::successor(&range.prefix);
                if self.store.range(&range.prefix, &end, limit + 1)?.len() > limit {
                    return Ok(Some("RANGE_RECORDS_MAX"));
                }
            }
        }
        Ok(None)
    }

    fn mutate(&mut self, mutation: pb::Mutation) -> Result<(), ReadError> {
        match mutation.kind {
            Some(pb::mutation::Kind::Put(put)) => {
                // Copied: a part of the entry would keep all of it in memory.
                let (key, value) = (
                    Bytes::copy_from_slice(&put.key),
                    Bytes::copy_from_slice(&put.value),
                );
                self.put(key, put.schema, value).map(|_| ())
            }
            Some(pb::mutation::Kind::Delete(delete)) => self.delete(&delete.key),
            Some(pb::mutation::Kind::DeleteRange(range)) => self.delete_range(&range.prefix),
            Some(pb::mutation::Kind::Append(append)) => self.append(&append),
            // Refused as unknown before anything was applied.
            None => Ok(()),
        }
    }

    fn delete_range(&mut self, prefix: &[u8]) -> Result<(), ReadError> {
        let end = key::successor(prefix);
        // A SubTxn may have put into the range itself, so everything goes, not only what was counted.
        loop {
            let page = self.store.range(prefix, &end, RANGE_RECORDS_MAX)?;
            for (key, _) in &page {
                self.delete(key)?;
            }
            if page.len() < RANGE_RECORDS_MAX {
                return Ok(());
            }
        }
    }

    fn append(&mut self, append: &pb::Append) -> Result<(), ReadError> {
        let mut key = BytesMut::with_capacity(append.stream.len() + APPEND_POSITION_BYTES);
        key.put_slice(&append.stream);
        key.put_u64(self.index);
        key.put_u32(self.appended);
        self.appended += 1;
        let key = key.freeze();
        if append.chained {
            let head_key = chain::head_key(&append.stream);
            let head = chain::head_of(self.store.get(&head_key)?.as_ref());
            let head = chain::next(&head, &key, &append.value);
            self.put(head_key, chain::HEAD_SCHEMA, chain::head_value(&head))?;
        }
        self.put(key, append.schema, Bytes::copy_from_slice(&append.value))?;
        Ok(())
    }

    fn remember(&mut self, request: &pb::RequestKey, row: Row, outcome: Bytes) -> Result<(), ReadError> {
        if let Some(call) = &request.session {
            let done = (self.index, outcome);
            return self
                .sessions
                .remember(self.store, self.state, request, call, done);
        }
        let value = request::row_after(request, self.state.log_time_ms, self.index, outcome);
        let key = match self.state.requests.bucket() {
            Some(bucket) => Bytes::copy_from_slice(&request::together_key(request, bucket)),
            None => request::scattered_key(request),
        };
        let replaced = match row {
            Row::Unknown => self.put(key, request::SCHEMA, value)?,
            Row::Absent => {
                self.insert(key, request::SCHEMA, value);
                None
            }
        };
        self.state.requests.wrote_row(replaced, None);
        Ok(())
    }

    /// Gives the revision of the record that it replaced, if any.
    fn put(&mut self, key: Key, schema: u32, value: Bytes) -> Result<Option<u64>, ReadError> {
        let (record, digest) = self.record(&key, schema, value);
        let replaced = self.store.replace(key, record, digest)?;
        Ok(self.count(digest, replaced))
    }

    /// The same where nothing is at the key.
    fn insert(&mut self, key: Key, schema: u32, value: Bytes) {
        let (record, digest) = self.record(&key, schema, value);
        self.store.put(key, record, digest);
        self.count(digest, None);
    }

    fn record(&self, key: &Key, schema: u32, value: Bytes) -> (Record, Digest) {
        let record = Record {
            schema,
            revision: self.index,
            value,
        };
        let digest = Digest::of_record(key, &record);
        (record, digest)
    }

    /// Counts a record that was written, in the place of another one if there was one, whose revision it gives.
    fn count(&mut self, digest: Digest, replaced: Option<(u64, Digest)>) -> Option<u64> {
        self.state.digest = self.state.digest.plus(digest);
        self.state.record_count = self.state.record_count.saturating_add(1);
        replaced.map(|(revision, digest)| self.discount(revision, digest))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), ReadError> {
        if self.forget(key)?.is_some() {
            self.store.delete(key);
        }
        Ok(())
    }

    /// Takes the present record, if any, out of the counters, and gives its revision.
    fn forget(&mut self, key: &[u8]) -> Result<Option<u64>, ReadError> {
        let present = self.store.digested(key)?;
        Ok(present.map(|(revision, digest)| self.discount(revision, digest)))
    }

    fn discount(&mut self, revision: u64, digest: Digest) -> u64 {
        if !mutant!("digest-keeps-the-deleted") {
            self.state.digest = self.state.digest.minus(digest);
        }
        self.state.record_count = self.state.record_count.saturating_sub(1);
        revision
    }
}
