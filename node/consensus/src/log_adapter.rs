//! openraft's log storage on top of one group of the node's shared log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use futures_util::Stream;
use futures_util::stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use spine_mutants::mutant;
use spine_storage::wal::GroupLog;
use tokio::sync::oneshot;

use crate::convert;
use crate::types::{RaftEntry, RaftLogId, RaftVote, SpineRaft};

/// Bytes of entries handed to one append to a follower: one that is far behind takes them in small bites, so that others
/// have their turn in between.
const REPLICATION_BATCH_BYTES_MAX: usize = 128 * 1024;
/// Bytes of entries read at a time for applying.
const APPLY_READ_BYTES_MAX: usize = 1024 * 1024;

/// The log of one replica.
#[derive(Clone)]
pub(crate) struct LogAdapter {
    log: GroupLog,
}

impl LogAdapter {
    /// Wraps one group of the node's log.
    #[must_use]
    pub(crate) fn new(log: GroupLog) -> Self {
        Self { log }
    }

    /// Cuts a range to what the log holds.
    fn clamp<RB: RangeBounds<u64>>(&self, range: &RB) -> Range<u64> {
        let purged = self.log.purged().map_or(0, |id| id.index + 1);
        let first = self.log.first_index().unwrap_or(purged);
        let end = self.log.last().map_or(first, |id| id.index + 1).max(first);
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => first,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => end,
        };
        from.max(first)..to.min(end)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let entries = self.log.read(range, bytes_max)?;
        entries
            .into_iter()
            .map(|(_, bytes)| convert::decode_entry(bytes))
            .collect()
    }
}

impl RaftLogReader<SpineRaft> for LogAdapter {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        self.read(self.clamp(&range), usize::MAX)
    }

    /// Reads lazily, so that replaying a long log needs little memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let this = self.clone();
        let range = this.clamp(&range);
        let chunks = stream::unfold((this, range, false), |(this, range, failed)| async move {
            if failed || range.start >= range.end {
                return None;
            }
            match this.read(range.clone(), APPLY_READ_BYTES_MAX) {
                Ok(entries) => {
                    let next = entries.last().map_or(range.end, |entry| entry.log_id.index() + 1);
                    let items: Vec<io::Result<RaftEntry>> = entries.into_iter().map(Ok).collect();
                    Some((stream::iter(items), (this, next..range.end, false)))
                }
                Err(error) => Some((stream::iter(vec![Err(error)]), (this, range, true))),
            }
        });
        Box::pin(futures_util::StreamExt::flatten(chunks))
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.vote().map(convert::raft_vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        self.read(self.clamp(&(start..end)), REPLICATION_BATCH_BYTES_MAX)
    }
}

impl RaftLogStorage<SpineRaft> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<SpineRaft>> {
        let last_purged_log_id = self.log.purged().map(convert::raft_log_id);
        let last_log_id = self.log.last().map(convert::raft_log_id).or(last_purged_log_id);
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done = Box::new(move |result| {
            // The core may be gone: then nobody waits for this vote.
            let _ = tx.send(result);
        });
        self.log.save_vote(convert::vote(vote), done).await?;
        if mutant!("vote-before-fsync") {
            return Ok(());
        }
        rx.await
            .map_err(|_| io::Error::other("log stopped before the vote was durable"))?
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        match committed {
            Some(id) => self.log.save_committed(convert::log_id(&id)).await,
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.log.committed().map(convert::raft_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<SpineRaft>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(|entry| (convert::log_id(&entry.log_id), convert::encode_entry(&entry)))
            .collect();
        self.log
            .append(entries, Box::new(move |result| callback.io_completed(result)))
            .await
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> io::Result<()> {
        self.log
            .truncate_after(last_log_id.map(|id| convert::log_id(&id)))
            .await
    }

    async fn purge(&mut self, log_id: RaftLogId) -> io::Result<()> {
        let upto = self.log.last().filter(|_| mutant!("purge-too-far"));
        self.log
            .purge(upto.unwrap_or_else(|| convert::log_id(&log_id)))
            .await
    }
}
