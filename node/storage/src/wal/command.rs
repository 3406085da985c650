//! What a group asks the writer to do, and the promise that whoever asked hears of it exactly once.

use std::io;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::closed;
use crate::ids::{LogId, Vote};

/// Called exactly once: `Ok` when everything it stands for is durable, `Err` if it may not be.
/// Runs on the writer, so it must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A [`Done`] that is called even if it is only dropped.
pub(super) struct Completion(Option<Done>);

impl Completion {
    pub(super) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    pub(super) fn complete(mut self, result: io::Result<()>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(closed()));
        }
    }
}

/// An entry on its way to the disk.
pub(super) struct NewEntry {
    pub(super) id: LogId,
    pub(super) ticket: u64,
    pub(super) bytes: Bytes,
}

/// What to write; at most one frame.
pub(super) enum Record {
    Created,
    Entries(Vec<NewEntry>),
    Vote(Vote),
    /// Index of the last entry kept.
    Truncate(Option<u64>),
    Purge(LogId),
    Removed,
    /// Nothing: only waits for what was asked before.
    Barrier,
    /// A mark of no meaning, so that there is something to sync.
    Probe,
}

/// One record of one group.
pub(super) struct Command {
    pub(super) group: u64,
    pub(super) record: Record,
    /// Without one, the record needs no sync of its own.
    pub(super) completion: Option<Completion>,
    pub(super) bytes: u64,
    /// Room in the queue, given back when the command is done.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What stands in the writer's queue.
pub(super) enum Message {
    Command(Command),
    /// Write and sync what was asked before, then end.
    Stop(oneshot::Sender<io::Result<()>>),
}
