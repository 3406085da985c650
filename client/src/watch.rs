//! A watch that survives broken connections: it goes on behind the last index it has given out.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use spine_proto::ids::Slot;
use spine_proto::records::v1 as wire;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};

use crate::address::Address;
use crate::call::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Node;
use crate::records::{Key, Record, client};
use crate::retry::{Backoff, Verdict, judge};

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With the first change after this call began.
    Now,
    /// With the first change at this index or later.
    Index(u64),
}

/// One changed record.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its name.
    pub key: Key,
    /// Absent for a deletion.
    pub record: Option<Record>,
}

/// All changes of one log entry.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// The entry's index; a watch from the next one continues without a gap.
    pub index: u64,
    /// What changed.
    pub changes: Vec<Change>,
}

/// A running watch. Made by [`crate::Records::watch`].
pub struct Watch {
    core: Arc<Core>,
    slot: Slot,
    routing_key: String,
    whole_shard: bool,
    next_index: u64,
    stream: Option<(Arc<Node>, Streaming<wire::WatchResponse>)>,
    hint: Option<Address>,
    tried: BTreeSet<Address>,
    backoff: Backoff,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("next_index", &self.next_index)
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(core: Arc<Core>, slot: Slot, routing_key: String, from_index: u64) -> Self {
        Self {
            core,
            slot,
            routing_key,
            whole_shard: false,
            next_index: from_index,
            stream: None,
            hint: None,
            tried: BTreeSet::new(),
            backoff: Backoff::default(),
        }
    }

    /// Watches all routing keys in the shard of this one.
    #[must_use]
    pub fn whole_shard(mut self) -> Self {
        self.whole_shard = true;
        self
    }

    /// The next changes; waits until there are some. Safe to cancel: nothing is skipped.
    ///
    /// # Errors
    /// `COMPACTED` where the log no longer reaches back so far: list, then watch from there.
    /// `Unavailable` where no node took the watch for the client's deadline; calling again goes on.
    pub async fn next(&mut self) -> Result<WatchEvent> {
        let mut give_up = None;
        loop {
            let Some((node, stream)) = &mut self.stream else {
                let until = *give_up.get_or_insert_with(|| Instant::now() + self.core.options.deadline);
                self.open(until).await?;
                continue;
            };
            let node = Arc::clone(node);
            give_up = None;
            match stream.message().await {
                Ok(Some(message)) => {
                    self.backoff = Backoff::default();
                    self.tried.clear();
                    // A resumed stream may begin with what was already given out.
                    if message.index >= self.next_index {
                        self.next_index = message.index + 1;
                        // Without changes it is a mark of progress: a broken stream goes on behind it.
                        if !message.changes.is_empty() {
                            return event(message);
                        }
                    }
                }
                Ok(None) => self.stream = None,
                Err(status) => self.broken(&node, &status).await?,
            }
        }
    }

    /// The same as a stream; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchEvent>> + Send {
        unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(event) => Some((Ok(event), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Opens a stream at some node, or fails for good.
    async fn open(&mut self, until: Instant) -> Result<()> {
        let out_of_time = || {
            Error::local(
                ErrorKind::Unavailable,
                "NO_NODE_REACHED",
                "no node took the watch within the deadline",
            )
        };
        let core = Arc::clone(&self.core);
        let candidates = core.candidates(self.slot, self.hint.take(), &self.tried);
        let dial = core.pool.connect(&candidates, core.options.connect_hedge);
        let connected = timeout_at(until, dial).await.map_err(|_| out_of_time())?;
        self.tried.extend(connected.refused);
        let Ok((node, link)) = connected.outcome else {
            return self.pause(until).await.ok_or_else(out_of_time);
        };
        self.tried.insert(node.address().clone());
        let request = wire::WatchRequest {
            routing_key: self.routing_key.clone(),
            from_index: self.next_index,
            whole_shard: self.whole_shard,
        };
        // The headers come at once even where no change does; the stream itself has no deadline.
        let mut request = core.request(request, core.options.deadline);
        request.metadata_mut().remove("grpc-timeout");
        let mut client = client(link);
        match timeout(core.options.try_deadline, client.watch(request)).await {
            Ok(Ok(answer)) => {
                self.stream = Some((node, answer.into_inner()));
                Ok(())
            }
            Ok(Err(status)) => self.broken(&node, &status).await,
            Err(_) => {
                node.suspect();
                if Instant::now() < until {
                    Ok(())
                } else {
                    Err(out_of_time())
                }
            }
        }
    }

    async fn broken(&mut self, node: &Arc<Node>, status: &Status) -> Result<()> {
        self.stream = None;
        match judge(status) {
            Verdict::Final(error) => return Err(error),
            Verdict::NotSent | Verdict::Unanswered(_) => node.suspect(),
            Verdict::Elsewhere { leader, shard, .. } => {
                self.core.routes.learn_shard(self.slot, shard);
                self.hint = leader.filter(|leader| !self.tried.contains(leader));
            }
            Verdict::Wait { after, .. } => sleep(after).await,
        }
        Ok(())
    }

    /// Ends a round of nodes. `None` when `until` has come.
    async fn pause(&mut self, until: Instant) -> Option<()> {
        self.tried.clear();
        sleep(self.backoff.next(&self.core.entropy)).await;
        (Instant::now() < until).then_some(())
    }
}

fn event(message: wire::WatchResponse) -> Result<WatchEvent> {
    let changes = message.changes.into_iter().map(|change| {
        let key = change.key.ok_or_else(|| Error::malformed_answer("a key"))?;
        Ok(Change {
            key: Key::new(key.routing_key, key.suffix),
            record: change.record.map(Record::of).transpose()?,
        })
    });
    Ok(WatchEvent {
        index: message.index,
        changes: changes.collect::<Result<_>>()?,
    })
}
