//! The reference model: a sorted map in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::digest::Digest;
use crate::store::{Key, OrderedRead, OrderedWrite, ReadError, Record};

/// Records in key order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    records: BTreeMap<Key, Record>,
}

impl MemoryStore {
    /// All records.
    #[must_use]
    pub fn records(&self) -> &BTreeMap<Key, Record> {
        &self.records
    }
}

impl OrderedRead for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        Ok(self.records.get(key).cloned())
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(start), Bound::Excluded(end));
        let records = self.records.range::<[u8], _>(range);
        Ok(records
            .take(limit)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect())
    }
}

impl OrderedWrite for MemoryStore {
    fn put(&mut self, key: Key, record: Record, _: Digest) {
        self.records.insert(key, record);
    }

    fn delete(&mut self, key: &[u8]) {
        self.records.remove(key);
    }
}
