//! What the state machine needs of a store: ordered reads and writes.

use bytes::Bytes;

use crate::digest::Digest;

/// An encoded key; see [`crate::key`].
pub type Key = Bytes;

/// One replicated record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the value's encoding; see `docs/ARCHITECTURE.md`.
    pub schema: u32,
    /// Index of the log entry that wrote this value.
    pub revision: u64,
    /// The value frame; see [`crate::frame`].
    pub value: Bytes,
}

/// A store could not read what it holds. The replica stops serving; nothing is guessed.
#[derive(Debug, thiserror::Error)]
#[error("read from store: {0}")]
pub struct ReadError(pub String);

/// Ordered reads, exact at one applied index.
pub trait OrderedRead {
    /// The record at `key`.
    ///
    /// # Errors
    /// [`ReadError`] where the store cannot be read or is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Record>, ReadError>;

    /// Whether there is nothing at `key`, as far as that is known without looking there: `false` says nothing.
    fn surely_lacks(&self, _key: &[u8]) -> bool {
        false
    }

    /// Records with `start <= key < end` in key order, at most `limit` of them.
    ///
    /// # Errors
    /// [`ReadError`] where the store cannot be read or is damaged.
    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Key, Record)>, ReadError>;
}

/// Writes into memory; they cannot fail.
pub trait OrderedWrite: OrderedRead {
    /// Stores `record`, whose digest this is, at `key`.
    fn put(&mut self, key: Key, record: Record, digest: Digest);
    /// The same; gives revision and digest of what was there.
    ///
    /// # Errors
    /// [`ReadError`] where the store cannot be read or is damaged; then nothing is written.
    fn replace(
        &mut self,
        key: Key,
        record: Record,
        digest: Digest,
    ) -> Result<Option<(u64, Digest)>, ReadError> {
        let replaced = self.digested(&key)?;
        self.put(key, record, digest);
        Ok(replaced)
    }
    /// Removes the record at `key`, if any.
    fn delete(&mut self, key: &[u8]);
    /// Revision and digest of the record at `key`. A store that keeps digests need not compute them again.
    ///
    /// # Errors
    /// [`ReadError`] where the store cannot be read or is damaged.
    fn digested(&self, key: &[u8]) -> Result<Option<(u64, Digest)>, ReadError> {
        let record = self.get(key)?;
        Ok(record.map(|record| (record.revision, Digest::of_record(key, &record))))
    }
}
