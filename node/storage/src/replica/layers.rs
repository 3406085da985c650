//! Reads through the layers: live delta over frozen delta over engine.

use std::iter::Peekable;

use bytes::Bytes;
use spine_statemachine::digest::Digest;
use spine_statemachine::store::{Key, OrderedRead, OrderedWrite, ReadError, Record};

use super::codec::decode_record;
use super::delta::Delta;
use super::effects::FIRST_RECORD_KEY;
use super::feed::{FeedChange, is_fed};
use super::request_filter::RequestFilters;
use crate::engine::Engine;

/// Pairs asked of the engine at once, at most.
const ENGINE_RANGE_PAIRS: usize = 256;

/// The three layers a read looks in, newest first.
#[derive(Clone, Copy)]
pub(crate) struct Layers<'a> {
    pub(crate) live: &'a Delta,
    pub(crate) frozen: Option<&'a Delta>,
    pub(crate) engine: &'a dyn Engine,
}

impl OrderedRead for Layers<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        let change = self
            .live
            .get(key)
            .or_else(|| self.frozen.and_then(|frozen| frozen.get(key)));
        if let Some(change) = change {
            return Ok(change.clone());
        }
        stored(self.engine, key)
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        // What is below is the replica's own.
        let start = start.max(FIRST_RECORD_KEY);
        if start >= end || limit == 0 {
            return Ok(Vec::new());
        }
        let frozen = self
            .frozen
            .into_iter()
            .flat_map(|frozen| frozen.range(start, end));
        let mut changes = Overlay {
            newer: self.live.range(start, end).peekable(),
            older: frozen.peekable(),
        }
        .peekable();
        let mut stored = EngineCursor::new(self.engine, start, end, limit);
        let mut found = Vec::new();
        while found.len() < limit {
            let changed = match (changes.peek(), stored.peek()?) {
                (None, None) => break,
                (Some((key, _)), Some(below)) => *key <= below,
                (change, _) => change.is_some(),
            };
            if !changed {
                found.extend(stored.take()?);
                continue;
            }
            let Some((key, change)) = changes.next() else {
                break;
            };
            if stored.peek()? == Some(key) {
                stored.skip();
            }
            if let Some(record) = change {
                found.push((key.clone(), record.clone()));
            }
        }
        Ok(found)
    }
}

/// Two sorted runs of changes as one; at equal keys the newer wins.
struct Overlay<N: Iterator, O: Iterator> {
    newer: Peekable<N>,
    older: Peekable<O>,
}

type ChangeRef<'a> = (&'a Key, &'a Option<Record>);

impl<'a, N, O> Iterator for Overlay<N, O>
where
    N: Iterator<Item = ChangeRef<'a>>,
    O: Iterator<Item = ChangeRef<'a>>,
{
    type Item = ChangeRef<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (Some(newer), Some(older)) = (self.newer.peek(), self.older.peek()) else {
            return self.newer.next().or_else(|| self.older.next());
        };
        match newer.0.cmp(older.0) {
            std::cmp::Ordering::Less => self.newer.next(),
            std::cmp::Ordering::Greater => self.older.next(),
            std::cmp::Ordering::Equal => {
                self.older.next();
                self.newer.next()
            }
        }
    }
}

/// Walks the engine in batches.
struct EngineCursor<'a> {
    engine: &'a dyn Engine,
    next_start: Vec<u8>,
    end: &'a [u8],
    batch: usize,
    /// In descending order, so that the next pair is popped from the end.
    pairs: Vec<(Bytes, Bytes)>,
    exhausted: bool,
}

impl<'a> EngineCursor<'a> {
    fn new(engine: &'a dyn Engine, start: &[u8], end: &'a [u8], limit: usize) -> Self {
        let batch = limit.clamp(1, ENGINE_RANGE_PAIRS);
        Self {
            engine,
            next_start: start.to_vec(),
            end,
            batch,
            pairs: Vec::new(),
            exhausted: false,
        }
    }

    fn peek(&mut self) -> Result<Option<&Bytes>, ReadError> {
        if self.pairs.is_empty() && !self.exhausted {
            let pairs = self.engine.range(&self.next_start, self.end, self.batch);
            self.pairs = pairs.map_err(|error| ReadError(error.to_string()))?;
            self.exhausted = self.pairs.len() < self.batch;
            if let Some((last, _)) = self.pairs.last() {
                // The smallest key after it.
                self.next_start = [last, &[0][..]].concat();
            }
            self.pairs.reverse();
        }
        Ok(self.pairs.last().map(|(key, _)| key))
    }

    fn skip(&mut self) {
        self.pairs.pop();
    }

    fn take(&mut self) -> Result<Option<(Key, Record)>, ReadError> {
        let Some((key, stored)) = self.pairs.pop() else {
            return Ok(None);
        };
        let record = decode_record(stored).map_err(|error| ReadError(error.to_string()))?;
        Ok(Some((key, record)))
    }
}

/// What apply writes through: reads see the layers, writes go to the live delta and are noted for the feed.
pub(crate) struct DeltaWriter<'a> {
    /// What watchers will be shown, if the entry can be applied.
    pub(crate) changes: &'a mut Vec<FeedChange>,
    pub(crate) live: &'a mut Delta,
    pub(crate) frozen: Option<&'a Delta>,
    pub(crate) engine: &'a dyn Engine,
    pub(crate) request_filters: &'a mut RequestFilters,
}

impl DeltaWriter<'_> {
    fn note(&mut self, key: &Key, record: Option<&Record>) {
        if is_fed(key) {
            let (key, record) = (key.clone(), record.cloned());
            self.changes.push(FeedChange { key, record });
        }
    }

    fn layers(&self) -> Layers<'_> {
        Layers {
            live: self.live,
            frozen: self.frozen,
            engine: self.engine,
        }
    }
}

impl OrderedRead for DeltaWriter<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.layers().get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        self.layers().range(start, end, limit)
    }

    fn surely_lacks(&self, key: &[u8]) -> bool {
        self.request_filters.surely_lacks(key)
    }
}

impl OrderedWrite for DeltaWriter<'_> {
    fn put(&mut self, key: Key, record: Record, digest: Digest) {
        self.note(&key, Some(&record));
        self.request_filters.note(&key);
        self.live.set(key, Some(record), digest);
    }

    fn replace(
        &mut self,
        key: Key,
        record: Record,
        digest: Digest,
    ) -> Result<Option<(u64, Digest)>, ReadError> {
        self.note(&key, Some(&record));
        self.request_filters.note(&key);
        let (frozen, engine) = (self.frozen, self.engine);
        let below = |key: &[u8]| below(frozen, engine, key);
        // Where it fails the replica halts, whatever was noted.
        self.live.replace(key, Some(record), digest, below)
    }

    fn delete(&mut self, key: &[u8]) {
        let key = Bytes::copy_from_slice(key);
        self.note(&key, None);
        self.live.set(key, None, Digest::default());
    }

    fn digested(&self, key: &[u8]) -> Result<Option<(u64, Digest)>, ReadError> {
        match self.live.digested(key) {
            Some(known) => Ok(known),
            None => below(self.frozen, self.engine, key),
        }
    }
}

/// Revision and digest of the record at `key` below the live delta.
fn below(
    frozen: Option<&Delta>,
    engine: &dyn Engine,
    key: &[u8],
) -> Result<Option<(u64, Digest)>, ReadError> {
    if let Some(known) = frozen.and_then(|frozen| frozen.digested(key)) {
        return Ok(known);
    }
    let record = stored(engine, key)?;
    Ok(record.map(|record| (record.revision, Digest::of_record(key, &record))))
}

fn stored(engine: &dyn Engine, key: &[u8]) -> Result<Option<Record>, ReadError> {
    let damaged = |error: &dyn std::fmt::Display| ReadError(error.to_string());
    let stored = engine.get(key).map_err(|error| damaged(&error))?;
    stored
        .map(|stored| decode_record(stored).map_err(|error| damaged(&error)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use proptest::{collection, option};

    use super::*;
    use crate::engine::{Change, EngineError};
    use crate::replica::codec::encode_record;

    /// A map as an engine.
    struct MapEngine(BTreeMap<Bytes, Bytes>);

    impl Engine for MapEngine {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
            Ok(self.0.get(key).cloned())
        }
        fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
            let pairs = self
                .0
                .iter()
                .filter(|(key, _)| key[..] >= *start && key[..] < *end);
            Ok(pairs
                .take(limit)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect())
        }
        fn write_sorted(&self, _: &[Change]) -> Result<(), EngineError> {
            Ok(())
        }
        fn sync(&self) -> Result<(), EngineError> {
            Ok(())
        }
        fn reopen(&self) -> Result<(), EngineError> {
            Ok(())
        }
        fn memory_bytes(&self) -> u64 {
            0
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            collection::vec(1_u8..4, 1..3),
            // Enough neighbours for the engine to be asked more than once.
            any::<u8>().prop_map(|last| vec![9, last]),
            // Some that differ only behind what the delta compares first, or are the beginning of others.
            (13_usize..18, collection::vec(0_u8..2, 0..3))
                .prop_map(|(same, rest)| [vec![7; same], rest].concat()),
        ]
    }

    fn bound() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![8 => key(), 1 => Just(vec![0]), 1 => Just(Vec::new()), 2 => Just(vec![255])]
    }

    fn changes() -> impl Strategy<Value = BTreeMap<Vec<u8>, Option<u64>>> {
        collection::btree_map(key(), option::of(any::<u64>()), 0..400)
    }

    fn record(revision: u64) -> Record {
        Record {
            schema: 1,
            revision,
            value: Bytes::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn merged_reads_are_those_of_one_map(
            stored in changes(), frozen in option::of(changes()), live in changes(),
            start in bound(), end in bound(), limit in prop_oneof![0_usize..6, Just(usize::MAX)],
        ) {
            let mut model = BTreeMap::new();
            let mut engine = MapEngine(BTreeMap::from([(Bytes::from_static(&[0]), Bytes::from_static(b"the engine's own row"))]));
            for (key, revision) in &stored {
                let revision = revision.unwrap_or_default();
                engine.0.insert(key.clone().into(), encode_record(&record(revision)));
                model.insert(key.clone(), revision);
            }
            let mut delta_of = |changes: &BTreeMap<Vec<u8>, Option<u64>>| {
                let mut delta = Delta::default();
                for (key, revision) in changes {
                    delta.set(key.clone().into(), revision.map(record), Digest::default());
                    match revision {
                        Some(revision) => model.insert(key.clone(), *revision),
                        None => model.remove(key),
                    };
                }
                delta
            };
            let frozen = frozen.as_ref().map(&mut delta_of);
            let live = delta_of(&live);
            let layers = Layers { live: &live, frozen: frozen.as_ref(), engine: &engine };
            let found: Vec<(Vec<u8>, u64)> = layers.range(&start, &end, limit).expect("range")
                .into_iter().map(|(key, record)| (key.to_vec(), record.revision)).collect();
            let expected: Vec<(Vec<u8>, u64)> = model.iter()
                .filter(|(key, _)| **key >= start && **key < end).take(limit)
                .map(|(key, revision)| (key.clone(), *revision)).collect();
            prop_assert_eq!(found, expected);
            for (key, _) in stored.iter().take(20) {
                let found = layers.get(key).expect("get").map(|record| record.revision);
                prop_assert_eq!(found, model.get(key).copied());
            }
        }
    }
}
