//! One group's handle on the node's log.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Done;
use super::frame::Record;
use super::index::{GroupIndex, Slot};
use super::shared::{Command, Shared};
use crate::ids::{LogId, Vote};

/// The log of one replica. Clones share it. Changes of one group must come from one task, in order.
#[derive(Clone)]
pub struct GroupLog {
    id: u64,
    shared: Arc<Shared>,
    index: Arc<Mutex<GroupIndex>>,
}

fn stopped() -> io::Error {
    io::Error::other("the log has stopped")
}

impl GroupLog {
    pub(super) fn new(id: u64, shared: Arc<Shared>) -> Self {
        let index = shared.group(id);
        Self { id, shared, index }
    }

    async fn send(&self, records: Vec<Record>, done: Option<Done>) -> io::Result<()> {
        if let Some(reason) = self.shared.failure() {
            return Err(io::Error::other(reason));
        }
        let command = Command {
            group: self.id,
            records,
            done,
        };
        self.shared.commands.send(command).await.map_err(|_| stopped())
    }

    /// First record of a replica; durable on return.
    ///
    /// # Errors
    /// The log failed.
    pub async fn create(&self) -> io::Result<()> {
        self.index.lock().created = true;
        let (tx, rx) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Nobody waits any more: then nobody relies on it.
            let _ = tx.send(result);
        });
        self.send(vec![Record::Created], Some(done)).await?;
        rx.await.map_err(|_| stopped())?
    }

    /// Whether the replica was ever created here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.index.lock().created
    }

    /// Appends entries that follow the last one. They are readable at once; `done` is called when they are durable.
    ///
    /// # Errors
    /// A gap, or the log failed; `done` is then not called.
    pub async fn append(&self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        let mut records = Vec::with_capacity(entries.len());
        {
            let mut index = self.index.lock();
            for (id, bytes) in entries {
                if !index.fits(id.index) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "a gap in the log"));
                }
                index.push(Slot {
                    id,
                    place: None,
                    bytes: Some(bytes.clone()),
                });
                records.push(Record::Entry(id, bytes));
            }
        }
        self.send(records, Some(done)).await
    }

    /// Stores a vote, in one order with entries; `done` is called when it is durable.
    ///
    /// # Errors
    /// The log failed; `done` is then not called.
    pub async fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.index.lock().vote = Some(vote);
        self.send(vec![Record::Vote(vote)], Some(done)).await
    }

    /// Remembers the newest committed entry. It becomes durable with the next batch that anybody waits for.
    pub fn save_committed(&self, id: LogId) {
        self.index.lock().committed = Some(id);
        self.shared.note_committed(self.id, id);
    }

    /// Drops entries above `keep`. Durable before anything that is appended later.
    ///
    /// # Errors
    /// The log failed.
    pub async fn truncate_after(&self, keep: Option<LogId>) -> io::Result<()> {
        let keep = keep.map(|id| id.index);
        self.index.lock().truncate_after(keep);
        self.send(vec![Record::Truncate(keep)], None).await
    }

    /// Drops entries up to `upto`, which may lie beyond the last one after a snapshot was installed.
    ///
    /// # Errors
    /// The log failed.
    pub async fn purge(&self, upto: LogId) -> io::Result<()> {
        self.index.lock().purge(upto);
        self.send(vec![Record::Purge(upto)], None).await
    }

    /// The stored vote.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.index.lock().vote
    }

    /// The newest entry known to be committed; may lag.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        self.index.lock().committed
    }

    /// The newest entry, or the purge mark of an empty log.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.index.lock().last()
    }

    /// Everything up to here was dropped.
    #[must_use]
    pub fn purged(&self) -> Option<LogId> {
        self.index.lock().purged
    }

    /// The entry at an index.
    #[must_use]
    pub fn log_id_at(&self, index: u64) -> Option<LogId> {
        self.index.lock().slot(index).map(|slot| slot.id)
    }

    /// Entries of the range that are there, oldest first, up to `bytes_max` but at least one.
    ///
    /// # Errors
    /// An entry cannot be read back, or fails its checksum.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let from = range.start.max(self.index.lock().first());
        for at in from..range.end {
            let slot = self.index.lock().slot(at).cloned();
            let Some(slot) = slot else { break };
            let entry = match slot.bytes {
                Some(entry) => entry,
                None => self.shared.read_entry(self.id, at)?,
            };
            bytes += entry.len();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push((slot.id, entry));
        }
        Ok(entries)
    }
}
