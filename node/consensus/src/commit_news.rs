//! A follower hears of a commit with the next entries, where they come soon.
//!
//! Sent on its own, the news would cost as many messages as the entries themselves. Nobody waits for it: clients are
//! answered by the leader, and a follower that is elected learns what is committed from its own first entry.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _, unfold};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, timeout_at};

use crate::types::SpineRaft;

/// News of a commit waits so long for entries to go with.
pub(crate) const COMMIT_NEWS_DELAY: Duration = Duration::from_millis(10);

type Request = AppendEntriesRequest<SpineRaft>;

/// The same requests, less those without entries that another one follows soon: an answer acknowledges everything
/// before it, so nobody misses theirs.
pub(crate) fn with_entries<S>(requests: S) -> Pin<Box<dyn Stream<Item = Request> + Send>>
where
    S: Stream<Item = Request> + Send + Unpin + 'static,
{
    Box::pin(unfold(Some(requests), |requests| async move {
        let mut requests = requests?;
        let mut request = requests.next().await?;
        let until = Instant::now() + COMMIT_NEWS_DELAY;
        while request.entries.is_empty() {
            match timeout_at(until, requests.next()).await {
                Ok(Some(next)) => request = next,
                Ok(None) => return Some((request, None)),
                Err(_) => break,
            }
        }
        Some((request, Some(requests)))
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::stream::poll_fn;
    use openraft::EntryPayload;
    use spine_storage::ids::{LogId, Vote};
    use tokio::sync::mpsc;

    use super::*;
    use crate::convert;
    use crate::types::RaftEntry;

    fn request(commit: u64, entries: u64) -> Request {
        let id = |index| {
            convert::raft_log_id(LogId {
                index,
                ..LogId::default()
            })
        };
        let entries = (1..=entries).map(|at| RaftEntry {
            log_id: id(commit + at),
            payload: EntryPayload::Blank,
        });
        Request {
            vote: convert::raft_vote(Vote::default()),
            prev_log_id: Some(id(commit)),
            entries: entries.collect(),
            leader_commit: Some(id(commit)),
        }
    }

    fn commit(request: Option<Request>) -> Option<u64> {
        request?.leader_commit.map(|id| id.index)
    }

    #[tokio::test(start_paused = true)]
    async fn news_goes_with_entries_that_come_soon_and_alone_where_none_do() {
        let (sender, mut requests) = mpsc::unbounded_channel();
        let mut told = with_entries(poll_fn(move |context| requests.poll_recv(context)));
        let began = Instant::now();
        sender.send(request(1, 2)).expect("it listens");
        assert_eq!(commit(told.next().await), Some(1), "entries wait for nothing");
        sender.send(request(3, 0)).expect("it listens");
        sender.send(request(4, 0)).expect("it listens");
        sender.send(request(4, 1)).expect("it listens");
        let next = told.next().await.expect("a request");
        assert_eq!(next.entries.len(), 1);
        assert_eq!(began.elapsed(), Duration::ZERO);
        sender.send(request(5, 0)).expect("it listens");
        assert_eq!(commit(told.next().await), Some(5));
        assert_eq!(began.elapsed().as_millis(), COMMIT_NEWS_DELAY.as_millis());
        sender.send(request(6, 0)).expect("it listens");
        drop(sender);
        assert_eq!(commit(told.next().await), Some(6), "the last one is told at once");
        assert_eq!(commit(told.next().await), None);
    }
}
