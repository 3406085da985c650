//! The digest of a state: the sum modulo 2^128 of one hash per record, so that it can be kept step by step.

use std::fmt;

use crate::store::{Key, OrderedRead, ReadError, Record};

/// Digest of a set of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// Of one record: revision, schema, key and value under BLAKE3.
    #[must_use]
    pub fn of_record(key: &[u8], record: &Record) -> Self {
        let key_len = u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes();
        let (revision, schema) = (record.revision.to_be_bytes(), record.schema.to_be_bytes());
        // In one piece BLAKE3 takes its chunks of 1 KiB beside each other: half of the time with 2 KiB, a third with more.
        let whole = [&revision[..], &schema, &key_len, key, &record.value].concat();
        let hash = blake3::hash(&whole);
        let mut low = [0; 16];
        low.copy_from_slice(&hash.as_bytes()[..16]);
        Self(u128::from_be_bytes(low))
    }

    /// With a record more.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// With a record less.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// 16 bytes, big endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From 16 bytes; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Digest and number of all records of a store, by reading them.
///
/// # Errors
/// [`ReadError`]
pub fn scan(store: &impl OrderedRead) -> Result<(Digest, u64), ReadError> {
    const PAGE: usize = 1_024;
    let (mut digest, mut count) = (Digest::default(), 0);
    let mut from = Key::new();
    loop {
        let page = store.range(&from, &[0xff; 1], PAGE)?;
        for (key, record) in &page {
            digest = digest.plus(Digest::of_record(key, record));
            count += 1;
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => from = crate::key::just_after(key),
            _ => return Ok((digest, count)),
        }
    }
}
