//! Removing forgotten request rows, page by page in step with the work done: the same ones on every replica.

use bytes::Bytes;

use super::Applier;
use crate::key::{self, Family};
use crate::limits::REQUEST_SWEEP_ROWS;
use crate::request;
use crate::store::{OrderedWrite, ReadError};

impl<S: OrderedWrite> Applier<'_, S> {
    pub(super) fn sweep_requests(&mut self) -> Result<(), ReadError> {
        while let Some(cursor) = self.state.requests.next_sweep() {
            if !self.sweep_together()? {
                self.sweep_scattered(&cursor)?;
            }
        }
        Ok(())
    }

    /// A page of rows that stand together: those of forgotten buckets are the first. Whether there were any.
    fn sweep_together(&mut self) -> Result<bool, ReadError> {
        let (cursor, floor) = self.state.requests.forgotten_together();
        // Nothing is written any more below the last one that was removed: the removed are not passed again.
        let from = match &cursor[..] {
            [] => Bytes::copy_from_slice(&request::together_prefix(0)),
            last => key::just_after(last),
        };
        let page = self
            .store
            .range(&from, &request::together_prefix(floor), REQUEST_SWEEP_ROWS)?;
        let Some((last, _)) = page.last() else {
            return Ok(false);
        };
        for (key, _) in &page {
            self.delete(key)?;
        }
        let removed = u64::try_from(page.len()).unwrap_or(u64::MAX);
        self.state.requests.removed_together(last.clone(), removed);
        Ok(true)
    }

    /// A page of the others, going round all of them.
    fn sweep_scattered(&mut self, cursor: &Bytes) -> Result<(), ReadError> {
        let from = if cursor.is_empty() {
            Bytes::copy_from_slice(&[Family::Request as u8])
        } else {
            key::just_after(cursor)
        };
        let page = self
            .store
            .range(&from, &request::together_prefix(0), REQUEST_SWEEP_ROWS)?;
        let mut removed = 0;
        for (key, record) in &page {
            if !self.state.requests.remembers(record.revision) {
                self.delete(key)?;
                removed += 1;
            }
        }
        let cursor = match page.last() {
            Some((key, _)) if page.len() == REQUEST_SWEEP_ROWS => key.clone(),
            _ => Bytes::new(),
        };
        self.state.requests.swept(cursor, removed);
        Ok(())
    }
}
