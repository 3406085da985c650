//! The only function that changes replicated state. No clock, no randomness, no I/O of its own.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_proto::storage::v1::{self as pb, SlotRange};

use crate::check::{self, Broken};
use crate::digest::Digest;
use crate::guard;
use crate::key::{self, Family};
use crate::limits::{LEVEL_MAX, RANGE_RECORDS_MAX, REQUEST_EXPIRY_RECORDS_MAX};
use crate::state::SystemState;
use crate::store::{Key, OrderedWrite, ReadError, Record};
use crate::{frame, request};

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
    /// Written by a newer release.
    #[error("log entry of an unknown kind at index {index}; this release is too old for it")]
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
    #[error("level {level} at index {index} is newer than this release's {LEVEL_MAX}")]
    LevelTooHigh {
        /// The level.
        level: u32,
        /// Where.
        index: u64,
    },
    /// The replica's own store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Applies one encoded `storage.v1.Entry` at its index.
///
/// # Errors
/// [`Halt`]: the replica must stop. Nothing was changed, unless the store failed half way, and then it is rebuilt.
pub fn apply(
    store: &mut impl OrderedWrite,
    state: &mut SystemState,
    index: u64,
    entry: &[u8],
) -> Result<Applied, Halt> {
    let entry = pb::Entry::decode(entry).map_err(|_| Halt::Malformed { index })?;
    match entry.kind.ok_or(Halt::UnknownEntry { index })? {
        pb::entry::Kind::Noop(_) => Ok(Applied::Noop),
        pb::entry::Kind::Level(pb::Level { level }) if level > LEVEL_MAX => {
            Err(Halt::LevelTooHigh { level, index })
        }
        pb::entry::Kind::Level(pb::Level { level }) => {
            state.level = state.level.max(level);
            Ok(Applied::Level(state.level))
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
            let mut applier = Applier {
                store,
                state,
                index,
                appended: 0,
            };
            applier.txn(txn).map(Applied::Txn).map_err(Halt::from)
        }
    }
}

struct Applier<'a, S> {
    store: &'a mut S,
    state: &'a mut SystemState,
    index: u64,
    appended: u32,
}

impl<S: OrderedWrite> Applier<'_, S> {
    fn txn(&mut self, txn: pb::Txn) -> Result<Vec<SubOutcome>, ReadError> {
        self.state.log_time_ms = self.state.log_time_ms.max(txn.proposed_at_ms);
        request::raise_floor(self.state);
        let outcomes = txn
            .subs
            .into_iter()
            .map(|sub| self.sub(sub))
            .collect::<Result<_, _>>()?;
        request::raise_floor(self.state);
        self.remove_forgotten()?;
        Ok(outcomes)
    }

    /// Order: limits, request id, slots, guards, mutations. Up to the mutations nothing is written.
    fn sub(&mut self, sub: pb::SubTxn) -> Result<SubOutcome, ReadError> {
        if let Err(Broken(limit)) = check::limits(&sub) {
            return Ok(SubOutcome::TooLarge { limit });
        }
        if let Some(request) = &sub.request
            && let Some(row) = request::lookup(self.store, self.state, request)?
        {
            let same = row.body_digest == request.body_digest;
            return Ok(if same {
                SubOutcome::Replayed {
                    revision: row.revision,
                    outcome: row.outcome,
                }
            } else {
                SubOutcome::RequestIdReused
            });
        }
        if let Some(slot) = self.foreign_slot(&sub)? {
            return Ok(SubOutcome::ForeignSlot { slot });
        }
        for (guard, place) in sub.guards.iter().zip(0_u32..) {
            if !guard::holds(self.store, guard)? {
                return Ok(SubOutcome::GuardFailed { guard: place });
            }
        }
        if let Some(limit) = self.range_too_large(&sub.mutations)? {
            return Ok(SubOutcome::TooLarge { limit });
        }
        for mutation in sub.mutations {
            self.mutate(mutation)?;
        }
        if let Some(request) = sub.request {
            self.remember(&request, sub.outcome)?;
        }
        Ok(SubOutcome::Committed { revision: self.index })
    }

    /// A slot in the SubTxn that this shard does not own.
    fn foreign_slot(&self, sub: &pb::SubTxn) -> Result<Option<u16>, ReadError> {
        let slots = check::slots(sub);
        if slots.is_empty() {
            return Ok(None);
        }
        let owned = match self.store.get(&key::slots_owned())? {
            Some(record) => {
                let value = frame::decode(&record.value).map_err(|error| ReadError(error.to_string()))?;
                Some(SlotRange::decode(value).map_err(|error| ReadError(error.to_string()))?)
            }
            None => None,
        };
        let owns = |slot: u16| {
            owned
                .as_ref()
                .is_some_and(|range| (range.first..=range.last).contains(&u32::from(slot)))
        };
        Ok(slots.into_iter().find(|slot| !owns(*slot)))
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
            Some(pb::mutation::Kind::Put(put)) => self.put(put.key, put.schema, put.value),
            Some(pb::mutation::Kind::Delete(delete)) => self.delete(&delete.key),
            Some(pb::mutation::Kind::DeleteRange(range)) => self.delete_range(&range.prefix),
            Some(pb::mutation::Kind::Append(append)) => self.append(append),
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

    fn append(&mut self, append: pb::Append) -> Result<(), ReadError> {
        let mut key = BytesMut::with_capacity(append.stream.len() + 12);
        key.put_slice(&append.stream);
        key.put_u64(self.index);
        key.put_u32(self.appended);
        self.appended += 1;
        let key = key.freeze();
        if append.chained {
            let head_key = head_key(&append.stream);
            let mut hasher = blake3::Hasher::new();
            if let Some(head) = self.store.get(&head_key)? {
                hasher.update(&frame::decode(&head.value).map_err(|error| ReadError(error.to_string()))?);
            }
            hasher.update(&key);
            hasher.update(&append.value);
            let head = frame::encode(hasher.finalize().as_bytes());
            self.put(head_key, HEAD_SCHEMA, head)?;
        }
        self.put(key, append.schema, append.value)
    }

    fn remember(&mut self, request: &pb::RequestKey, outcome: Bytes) -> Result<(), ReadError> {
        let row = pb::RequestRow {
            body_digest: request.body_digest.clone(),
            revision: self.index,
            outcome,
            at_ms: self.state.log_time_ms,
        };
        let (bucket, key) = request::new_row_key(self.state, &request.id);
        *self.state.request_buckets.entry(bucket).or_default() += 1;
        self.put(key, request::SCHEMA, frame::encode(&row.encode_to_vec()))
    }

    fn remove_forgotten(&mut self) -> Result<(), ReadError> {
        let floor = self.state.request_floor;
        if self.state.request_buckets.range(..floor).next().is_none() {
            return Ok(());
        }
        let (from, to) = ([Family::Request as u8], request::row_key(floor, &[]));
        for (key, _) in self.store.range(&from, &to, REQUEST_EXPIRY_RECORDS_MAX)? {
            self.delete(&key)?;
            if let Some(bucket) = request::bucket_in(&key)
                && let Some(rows) = self.state.request_buckets.get_mut(&bucket)
            {
                *rows -= 1;
                if *rows == 0 {
                    self.state.request_buckets.remove(&bucket);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, key: Key, schema: u32, value: Bytes) -> Result<(), ReadError> {
        let record = Record {
            schema,
            revision: self.index,
            value,
        };
        self.forget(&key)?;
        self.state.digest = self.state.digest.plus(Digest::of_record(&key, &record));
        self.state.record_count += 1;
        self.store.put(key, record);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), ReadError> {
        self.forget(key)?;
        self.store.delete(key);
        Ok(())
    }

    /// Takes the present record out of the counters.
    fn forget(&mut self, key: &[u8]) -> Result<(), ReadError> {
        if let Some(old) = self.store.get(key)? {
            self.state.digest = self.state.digest.minus(Digest::of_record(key, &old));
            self.state.record_count -= 1;
        }
        Ok(())
    }
}

/// Schema number of a chained stream's head.
pub const HEAD_SCHEMA: u32 = 1;

/// Where a chained stream keeps its head: behind every entry that the stream can have.
#[must_use]
pub fn head_key(stream: &[u8]) -> Key {
    [stream, &[0xff; 12]].concat().into()
}
