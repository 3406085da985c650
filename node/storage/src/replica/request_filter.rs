//! Which request ids a replica surely does not have, told from memory.
//!
//! Nearly every request id that is looked up is new. To find that out from the engine would be a read of a cold leaf for
//! each bucket that counts, so for each bucket a Bloom filter is kept of the ids in it: 2 bytes of memory for an id. It is
//! this replica's own: it stands in rows of the engine that are no records, moved there by the checkpoint that moves the
//! request rows. A bucket without one is looked up in the engine.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut as _, Bytes};
use spine_mutants::mutant;
use spine_proto::storage::v1;
use spine_statemachine::request::{self, HASH_BYTES};
use spine_statemachine::store::{Key, Record};
use spine_statemachine::window::RequestWindow;

use super::ReplicaError;
use super::codec::{decode_record, encode_record};
use crate::engine::{Change, Engine};

/// Behind the engine's mark and before every record.
const KEY_PREFIX: [u8; 2] = [0, 1];
/// Schema of a filter's row.
const SCHEMA: u32 = 1;

/// Ids that the first segment of a filter takes.
const FIRST_SEGMENT_IDS: usize = 256;
/// Each further one takes so many times as many as the one before ...
const SEGMENT_GROWTH: usize = 4;
/// ... but not more than this: a bucket of usual size has up to four segments.
const SEGMENT_IDS_MAX: usize = 16_384;
/// Bits for each id. With five of them set about one id in five hundred is taken for one that is there.
const BITS_PER_ID: usize = 16;
const PROBES: u32 = 5;
/// All bits of an id are in one block: a cache line of 512 bits.
const BLOCK_WORDS: usize = 8;
const BLOCK_BITS: usize = BLOCK_WORDS * 64;
const BLOCK_BITS_64: u64 = BLOCK_BITS as u64;

type Id = [u8; HASH_BYTES];

/// The filters of the buckets that count, by the bucket's first index.
#[derive(Default)]
pub(crate) struct RequestFilters(BTreeMap<u64, Entry>);

struct Entry {
    /// `None`: the ids are not known, for nothing says what is in the engine.
    filter: Option<Filter>,
    /// The engine, or a frozen delta, has a row of it ...
    stored: bool,
    /// ... that does not hold all of it.
    changed: bool,
}

impl RequestFilters {
    /// Those that an engine holds for the buckets of its state.
    pub(crate) fn load(window: &RequestWindow, engine: &dyn Engine) -> Result<Self, ReplicaError> {
        let mut filters = BTreeMap::new();
        for bucket in window.buckets_together() {
            let stored = engine.get(&row_key(bucket))?;
            let filter = stored
                .map(|stored| Filter::decode(&decode_record(stored)?.value))
                .transpose()?;
            let filter = if mutant!("request-filter-not-stored") {
                Some(Filter::default())
            } else {
                filter
            };
            let entry = Entry {
                stored: filter.is_some(),
                filter,
                changed: false,
            };
            filters.insert(bucket, entry);
        }
        Ok(Self(filters))
    }

    /// Notes a record that is written. A bucket of which nothing is known has begun with it.
    pub(crate) fn note(&mut self, key: &[u8]) {
        let Some((bucket, id)) = request::together(key) else {
            return;
        };
        let entry = self.0.entry(bucket).or_insert_with(Entry::of_new_bucket);
        if let Some(filter) = &mut entry.filter {
            filter.insert(&id);
            entry.changed = true;
        }
    }

    /// Whether there is surely no record at this key.
    pub(crate) fn surely_lacks(&self, key: &[u8]) -> bool {
        let Some((bucket, id)) = request::together(key) else {
            return false;
        };
        if mutant!("request-filter-forgets") && id[0].is_multiple_of(16) {
            return true;
        }
        let filter = self.0.get(&bucket).and_then(|entry| entry.filter.as_ref());
        filter.is_some_and(|filter| !filter.may_hold(&id))
    }

    /// What a checkpoint of the state at `revision` writes beside the records, so that [`Self::load`] finds it.
    pub(crate) fn take_changes(
        &mut self,
        window: &RequestWindow,
        revision: u64,
    ) -> Vec<(Key, Option<Record>)> {
        let counting: BTreeSet<u64> = window.buckets_together().collect();
        let mut changes = Vec::new();
        self.0.retain(|bucket, entry| {
            let counts = counting.contains(bucket);
            if !counts && entry.stored {
                changes.push((row_key(*bucket), None));
            }
            counts
        });
        for bucket in counting {
            // One that has begun and has no row yet is stored, too: without one its rows would not be known.
            let entry = self.0.entry(bucket).or_insert_with(Entry::of_new_bucket);
            if let Some(filter) = entry.filter.as_ref().filter(|_| entry.changed || !entry.stored) {
                let record = Record {
                    schema: SCHEMA,
                    revision,
                    value: filter.encode(),
                };
                changes.push((row_key(bucket), Some(record)));
                (entry.stored, entry.changed) = (true, false);
            }
        }
        changes
    }

    /// The same as an engine takes it.
    pub(crate) fn take_rows(&mut self, state: &v1::ReplicaState, window: &RequestWindow) -> Vec<Change> {
        let revision = state.applied.as_ref().map_or(0, |applied| applied.index);
        let changes = self.take_changes(window, revision);
        let mut rows: Vec<Change> = changes
            .into_iter()
            .map(|(key, record)| (key, record.as_ref().map(encode_record)))
            .collect();
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        rows
    }
}

impl Entry {
    fn of_new_bucket() -> Self {
        Self {
            filter: Some(Filter::default()),
            stored: false,
            changed: false,
        }
    }
}

fn row_key(bucket: u64) -> Bytes {
    [&KEY_PREFIX[..], &bucket.to_be_bytes()].concat().into()
}

/// A Bloom filter that grows by segments.
#[derive(Default, Debug, PartialEq, Eq)]
struct Filter {
    ids: usize,
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
struct Segment {
    blocks: Vec<[u64; BLOCK_WORDS]>,
    /// Ids that it still takes.
    room: usize,
}

/// How many ids each segment takes, the first one first.
fn segment_ids() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(FIRST_SEGMENT_IDS), |ids| {
        Some((ids * SEGMENT_GROWTH).min(SEGMENT_IDS_MAX))
    })
}

fn blocks_of(ids: usize) -> usize {
    ids * BITS_PER_ID / BLOCK_BITS
}

impl Filter {
    fn insert(&mut self, id: &Id) {
        if self.segments.last().is_none_or(|last| last.room == 0) {
            let room = segment_ids().nth(self.segments.len()).unwrap_or(SEGMENT_IDS_MAX);
            let blocks = vec![[0; BLOCK_WORDS]; blocks_of(room)];
            self.segments.push(Segment { blocks, room });
        }
        if let Some(last) = self.segments.last_mut() {
            last.room -= 1;
            let (block, bits) = place(id, last.blocks.len());
            for (word, bits) in last.blocks[block].iter_mut().zip(bits) {
                *word |= bits;
            }
            self.ids += 1;
        }
    }

    fn may_hold(&self, id: &Id) -> bool {
        self.segments.iter().any(|segment| {
            let (block, bits) = place(id, segment.blocks.len());
            let words = segment.blocks[block].iter().zip(bits);
            words.fold(true, |all, (word, bits)| all & (word & bits == bits))
        })
    }

    fn encode(&self) -> Bytes {
        let mut value = Vec::new();
        value.put_u64_le(u64::try_from(self.ids).unwrap_or(u64::MAX));
        let blocks = self.segments.iter().flat_map(|segment| &segment.blocks);
        blocks.flatten().for_each(|word| value.put_u64_le(*word));
        value.into()
    }

    fn decode(value: &[u8]) -> Result<Self, ReplicaError> {
        let wrong =
            || ReplicaError::Damaged("a filter of request ids has another length than it says".into());
        let (ids, mut rest) = value.split_first_chunk().ok_or_else(wrong)?;
        let ids = usize::try_from(u64::from_le_bytes(*ids)).map_err(|_| wrong())?;
        let (mut segments, mut taken) = (Vec::new(), 0);
        for capacity in segment_ids() {
            if taken >= ids {
                break;
            }
            let bytes = blocks_of(capacity) * BLOCK_BITS / 8;
            let (words, after) = rest.split_at_checked(bytes).ok_or_else(wrong)?;
            let (words, _) = words.as_chunks::<8>();
            let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            let (blocks, _) = words.as_chunks::<BLOCK_WORDS>();
            let room = capacity - capacity.min(ids - taken);
            segments.push(Segment {
                blocks: blocks.to_vec(),
                room,
            });
            taken += capacity;
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self { ids, segments })
        } else {
            Err(wrong())
        }
    }
}

/// The block of an id, and its bits there. Ids are hashes: their own bytes are as good as another hash of them.
fn place(id: &Id, blocks: usize) -> (usize, [u64; BLOCK_WORDS]) {
    let (halves, _) = id.as_chunks::<8>();
    let [low, mut high] = [halves[0], halves[1]].map(u64::from_le_bytes);
    let blocks = u64::try_from(blocks).unwrap_or_default();
    // The high half of the product is below `blocks`, which is below 2^32.
    let block = usize::try_from(((low >> 32) * blocks) >> 32).unwrap_or_default();
    let mut bits = [0; BLOCK_WORDS];
    for _ in 0..PROBES {
        let bit = usize::try_from(high % BLOCK_BITS_64).unwrap_or_default();
        bits[bit / 64] |= 1 << (bit % 64);
        high /= BLOCK_BITS_64;
    }
    (block, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        let mut id = [0; HASH_BYTES];
        id.copy_from_slice(&blake3::hash(&number.to_be_bytes()).as_bytes()[..HASH_BYTES]);
        id
    }

    #[test]
    fn what_was_noted_is_never_lacked_and_little_else_is_thought_to_be_there() {
        let mut filter = Filter::default();
        for count in [0, 1, 255, 256, 257, 1_280, 5_000, 21_760, 40_000] {
            while filter.ids < count {
                filter.insert(&id(filter.ids as u64));
            }
            assert!(
                (0..count as u64).all(|number| filter.may_hold(&id(number))),
                "{count}"
            );
            let wrong = (0..20_000)
                .filter(|number| filter.may_hold(&id(1_000_000 + number)))
                .count();
            assert!(wrong < 300, "{count}: {wrong} of 20,000");
            assert_eq!(Filter::decode(&filter.encode()).unwrap(), filter, "{count}");
        }
    }

    #[test]
    fn a_filter_of_another_length_is_damage() {
        let mut filter = Filter::default();
        (0..300).for_each(|number| filter.insert(&id(number)));
        let good = filter.encode();
        let more = [&good[..], &[0]].concat();
        let much = [&u64::MAX.to_le_bytes()[..], &good[8..]].concat();
        for wrong in [&good[..0], &good[..7], &good[..good.len() - 1], &more, &much] {
            assert!(matches!(Filter::decode(wrong), Err(ReplicaError::Damaged(_))));
        }
    }
}
