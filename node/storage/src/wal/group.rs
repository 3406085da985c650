//! One group's log: what the consensus layer holds.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::command::{Command, Completion, Done, Message, NewEntry, Record};
use super::error::closed;
use super::index::{GroupIndex, Slot};
use super::options::COMMAND_OVERHEAD_BYTES;
use super::queue::Queue;
use super::record::{ENTRIES_HEADER_BYTES, ENTRY_HEADER_BYTES};
use super::segment::HEAD_BYTES;
use super::shared::{Group, Shared};
use crate::ids::{LogId, Vote};

/// Handle to the log of one replica. Clones share it.
///
/// Changes are seen by every reader as soon as the call returns, in the order of the calls, and reach the disk in
/// that order. A call waits while the node's queue has no room for it; nothing that makes room ever waits for a
/// caller. After a failed write or sync everything fails: the process must end.
#[derive(Clone)]
pub struct GroupLog {
    group: u64,
    index: Group,
    shared: Arc<Shared>,
    queue: Queue,
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

impl GroupLog {
    pub(super) fn new(group: u64, shared: Arc<Shared>, queue: Queue) -> Self {
        let index = shared.group(group);
        Self {
            group,
            index,
            shared,
            queue,
        }
    }

    /// The replica whose log this is.
    #[must_use]
    pub fn replica_id(&self) -> u64 {
        self.group
    }

    /// Whether the replica was created in this log (and not removed). If not, it must not vote under its id.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.index.lock().exists
    }

    /// Begins the replica's log; durable on return. Harmless if it exists.
    ///
    /// # Errors
    /// A poisoned or closed log.
    pub async fn create(&self) -> io::Result<()> {
        self.durably(
            |index| {
                if index.exists {
                    Record::Barrier
                } else {
                    Record::Created
                }
            },
            |index| index.exists = true,
        )
        .await
    }

    /// Forgets the replica; durable on return. Its id must not be used again.
    ///
    /// # Errors
    /// A poisoned or closed log.
    pub async fn remove(&self) -> io::Result<()> {
        let forget = |index: &mut GroupIndex| {
            index.truncate_after(None);
            *index = GroupIndex::default();
            self.shared.committed.lock().remove(&self.group);
        };
        self.durably(
            |index| {
                if index.exists {
                    Record::Removed
                } else {
                    Record::Barrier
                }
            },
            forget,
        )
        .await
    }

    /// Adds entries at the end of the log. `done` is called once, also if this fails or is cancelled: `Ok` when the
    /// entries are durable.
    ///
    /// # Errors
    /// `InvalidInput` if an entry does not follow its predecessor or exceeds [`GroupLog::entry_bytes_max`], or if
    /// the replica was not created; a poisoned or closed log.
    pub async fn append(&self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        let completion = Completion::new(done);
        let bytes_max = self.entry_bytes_max();
        if entries.iter().any(|(_, bytes)| bytes.len() as u64 > bytes_max) {
            return refuse(completion, || invalid("entry is larger than a segment holds"));
        }
        if entries
            .windows(2)
            .any(|pair| pair[0].0.index.checked_add(1) != Some(pair[1].0.index))
        {
            return refuse(completion, || invalid("entries are not in sequence"));
        }
        let mut chunks = self.chunks(entries).into_iter().peekable();
        let mut completion = Some(completion);
        while let Some(chunk) = chunks.next() {
            let completion = if chunks.peek().is_none() {
                completion.take()
            } else {
                None
            };
            self.append_chunk(chunk, completion).await?;
        }
        match completion {
            // No entries at all: only wait for what was asked before.
            Some(completion) => {
                self.enqueue(0, Some(completion), |_| Ok(Record::Barrier), |_| ())
                    .await
            }
            None => Ok(()),
        }
    }

    /// Saves a vote, in one order with entries. `done` as for [`GroupLog::append`].
    ///
    /// # Errors
    /// `InvalidInput` if the replica was not created; a poisoned or closed log.
    pub async fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        let record = |index: &GroupIndex| existing(index, Record::Vote(vote));
        self.enqueue(0, Some(Completion::new(done)), record, |index| {
            index.facts.vote = Some(vote);
        })
        .await
    }

    /// Remembers what is known to be committed. Rides to the disk with the next batch that anybody waits for, and only
    /// when the entry itself is there: so it costs nothing, and may lag after a crash.
    ///
    /// # Errors
    /// `InvalidInput` if the replica was not created; a poisoned or closed log.
    pub async fn save_committed(&self, committed: LogId) -> io::Result<()> {
        if self.shared.room.is_closed() {
            return Err(self.shared.refusal());
        }
        let mut index = self.index.lock();
        existing(&index, Record::Barrier)?;
        index.facts.committed = Some(committed);
        self.shared.committed.lock().insert(self.group, committed);
        Ok(())
    }

    /// Forgets the entries after `keep`; all of them if `None`. Durable before anything that is asked later.
    ///
    /// # Errors
    /// `InvalidInput` if the replica was not created; a poisoned or closed log.
    pub async fn truncate_after(&self, keep: Option<LogId>) -> io::Result<()> {
        let keep = keep.map(|id| id.index);
        let record = |index: &GroupIndex| existing(index, Record::Truncate(keep));
        self.enqueue(0, None, record, |index| index.truncate_after(keep))
            .await
    }

    /// Forgets the entries up to `upto`, which may lie beyond the last one: then the log is empty and goes on behind
    /// `upto`. Does nothing if as much was purged before. Durable before anything that is asked later.
    ///
    /// # Errors
    /// `InvalidInput` if the replica was not created; a poisoned or closed log.
    pub async fn purge(&self, upto: LogId) -> io::Result<()> {
        let is_news = |index: &GroupIndex| index.facts.purged.is_none_or(|purged| purged.index < upto.index);
        let record = |index: &GroupIndex| {
            existing(
                index,
                if is_news(index) {
                    Record::Purge(upto)
                } else {
                    Record::Barrier
                },
            )
        };
        let change = |index: &mut GroupIndex| {
            if is_news(index) {
                index.purge(upto);
            }
        };
        self.enqueue(0, None, record, change).await
    }

    /// The last vote saved.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.index.lock().facts.vote
    }

    /// The last committed position saved; may lag after a crash.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        self.index.lock().facts.committed
    }

    /// The last entry; in an empty log what was purged last.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.index.lock().last()
    }

    /// What was purged last.
    #[must_use]
    pub fn purged(&self) -> Option<LogId> {
        self.index.lock().facts.purged
    }

    /// Index of the oldest entry that is there; `None` for an empty log.
    #[must_use]
    pub fn first_index(&self) -> Option<u64> {
        self.index.lock().first_index()
    }

    /// The id of the entry at `index`, or of the purge marker.
    #[must_use]
    pub fn log_id_at(&self, index: u64) -> Option<LogId> {
        let group = self.index.lock();
        group
            .slot(index)
            .map(|slot| slot.id)
            .or_else(|| group.facts.purged.filter(|purged| purged.index == index))
    }

    /// The entries of `range` that are there, in order, as many as fit into `bytes_max` but at least one if there is
    /// any. What was purged (perhaps just now, by another task) and what lies behind the last entry is left out.
    ///
    /// # Errors
    /// `InvalidData` (holding a [`super::Damage`]) if an entry does not read back as it was written; what the disk
    /// says.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        let group = self.index.lock();
        let first = group.first_index().unwrap_or(range.end);
        let range = range.start.max(first)..range.end;
        let mut sources = Vec::new();
        let mut bytes: usize = 0;
        for slot in group.slots(range) {
            bytes = bytes.saturating_add(slot.len as usize);
            if bytes > bytes_max && !sources.is_empty() {
                break;
            }
            sources.push((slot.id, self.shared.source(slot)?));
        }
        drop(group);
        let read: io::Result<Vec<_>> = sources
            .into_iter()
            .map(|(id, source)| Ok((id, source.read()?)))
            .collect();
        if let Err(error) = &read
            && error.kind() == io::ErrorKind::InvalidData
        {
            self.index.lock().damage = Some(error.to_string());
        }
        read
    }

    /// What a reader of this log found that is not as it was written, if anything.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.index.lock().damage.clone()
    }

    /// Bytes of the largest entry that can be appended.
    #[must_use]
    pub fn entry_bytes_max(&self) -> u64 {
        // Head, frame header, seal, and the padding of the frame.
        const SEGMENT_OVERHEAD_BYTES: u64 = HEAD_BYTES as u64 + 32 + 32 + 8;
        self.shared.options.segment_bytes - SEGMENT_OVERHEAD_BYTES - ENTRIES_HEADER_BYTES - ENTRY_HEADER_BYTES
    }

    /// Cuts entries into frames.
    fn chunks(&self, entries: Vec<(LogId, Bytes)>) -> Vec<Vec<(LogId, Bytes)>> {
        let chunk_bytes = self.shared.options.chunk_bytes();
        let mut chunks: Vec<Vec<(LogId, Bytes)>> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let entry_bytes = entry.1.len() as u64 + ENTRY_HEADER_BYTES;
            bytes += entry_bytes;
            match chunks.last_mut() {
                Some(chunk) if bytes <= chunk_bytes => chunk.push(entry),
                _ => {
                    bytes = entry_bytes;
                    chunks.push(vec![entry]);
                }
            }
        }
        chunks
    }

    async fn append_chunk(
        &self,
        chunk: Vec<(LogId, Bytes)>,
        completion: Option<Completion>,
    ) -> io::Result<()> {
        let bytes: u64 = chunk
            .iter()
            .map(|(_, bytes)| bytes.len() as u64 + ENTRY_HEADER_BYTES)
            .sum();
        let first_ticket = self
            .shared
            .tickets
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        let entries: Vec<NewEntry> = chunk
            .into_iter()
            .zip(first_ticket..)
            .map(|((id, bytes), ticket)| NewEntry { id, ticket, bytes })
            .collect();
        let slots: Vec<Slot> = entries.iter().map(slot_of).collect();
        let first = slots.first().map(|slot| slot.id.index);
        let record = |index: &GroupIndex| {
            if index.next_index().is_some_and(|next| Some(next) != first) {
                return Err(invalid("entries do not follow the last one"));
            }
            existing(index, Record::Entries(entries))
        };
        self.enqueue(bytes, completion, record, |index| {
            slots.into_iter().for_each(|slot| index.push(slot));
        })
        .await
    }

    /// Waits for room, then changes the index and queues the record as one step.
    async fn enqueue(
        &self,
        bytes: u64,
        completion: Option<Completion>,
        record: impl FnOnce(&GroupIndex) -> io::Result<Record>,
        change: impl FnOnce(&mut GroupIndex),
    ) -> io::Result<()> {
        let (bytes, permit) = match room(&self.shared, bytes).await {
            Ok(room) => room,
            Err(error) => return refuse_some(completion, || copy(&error)),
        };
        let mut index = self.index.lock();
        let record = match record(&index) {
            Ok(record) => record,
            Err(error) => {
                drop(index);
                return refuse_some(completion, || copy(&error));
            }
        };
        let command = Command {
            group: self.group,
            record,
            completion,
            bytes,
            permit,
        };
        match self.queue.try_send(Message::Command(command)) {
            Ok(()) => {
                self.shared.with_index(&mut index, change);
                Ok(())
            }
            Err(message) => {
                drop(index);
                let Message::Command(command) = message else {
                    return Err(self.shared.refusal());
                };
                refuse_some(command.completion, || self.shared.refusal())
            }
        }
    }

    async fn durably(
        &self,
        record: impl FnOnce(&GroupIndex) -> Record,
        change: impl FnOnce(&mut GroupIndex),
    ) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Nobody waits any more if the caller has gone.
            let _ = tx.send(result);
        });
        self.enqueue(0, Some(Completion::new(done)), |index| Ok(record(index)), change)
            .await?;
        rx.await.map_err(|_| closed())?
    }
}

/// Room in the queue for a command; the queue has a place for every command that has room.
async fn room(shared: &Shared, bytes: u64) -> io::Result<(u64, OwnedSemaphorePermit)> {
    let bytes = bytes + COMMAND_OVERHEAD_BYTES;
    let room = u32::try_from(bytes.min(shared.options.queue_bytes)).unwrap_or(u32::MAX);
    let permit = Arc::clone(&shared.room).acquire_many_owned(room).await;
    permit.map(|permit| (bytes, permit)).map_err(|_| shared.refusal())
}

/// See [`super::Wal::probe`].
pub(super) async fn probe(shared: &Shared, queue: &Queue) -> io::Result<()> {
    let (tx, rx) = oneshot::channel();
    let (bytes, permit) = room(shared, 0).await?;
    let done: Done = Box::new(move |result| {
        // Nobody waits any more if the caller has gone.
        let _ = tx.send(result);
    });
    let command = Command {
        group: 0,
        record: Record::Probe,
        completion: Some(Completion::new(done)),
        bytes,
        permit,
    };
    queue
        .try_send(Message::Command(command))
        .map_err(|_| shared.refusal())?;
    rx.await.map_err(|_| closed())?
}

fn slot_of(entry: &NewEntry) -> Slot {
    let len = u32::try_from(entry.bytes.len()).expect("checked against the segment's size");
    Slot {
        id: entry.id,
        ticket: entry.ticket,
        len,
        place: None,
        bytes: Some(entry.bytes.clone()),
    }
}

fn existing(index: &GroupIndex, record: Record) -> io::Result<Record> {
    if index.exists {
        Ok(record)
    } else {
        Err(invalid("replica was not created in this log"))
    }
}

/// The same error for the completion and for the caller.
fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn refuse(completion: Completion, error: impl Fn() -> io::Error) -> io::Result<()> {
    completion.complete(Err(error()));
    Err(error())
}

fn refuse_some(completion: Option<Completion>, error: impl Fn() -> io::Error) -> io::Result<()> {
    match completion {
        Some(completion) => refuse(completion, error),
        None => Err(error()),
    }
}
