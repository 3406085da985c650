//! A leader of few entries of its own, before followers that have the old ones, some of them, or lose them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use openraft::EntryPayload;
use openraft::network::{RPCOption, RaftNetworkFactory as _, RaftNetworkV2 as _};
use openraft::raft::AppendEntriesResponse;
use parking_lot::Mutex;
use spine_proto::internal::raft::v1 as pb;
use spine_storage::Driver;
use spine_storage::disk::SimDisk;
use spine_storage::ids::{LogId, Vote};
use spine_storage::wal::{GroupLog, Wal, WalOptions};

use crate::convert;
use crate::network_adapter::{Append, Network, NetworkFactory};
use crate::peers::{CallError, Peers, SnapshotFeed};
use crate::types::{RaftEntry, ReplicaNode};

const OLD_TERM: u64 = 4;
const TERM: u64 = 5;
/// Entries of the old term; two of the new one follow.
const OLD: u64 = 100;

/// Has a log up to some index and notes what it is sent: index of the entry before, and entries.
struct Follower {
    last: AtomicU64,
    sent: Mutex<Vec<(u64, usize)>>,
}

#[async_trait]
impl Peers for Follower {
    async fn call(
        &self,
        _node_id: u64,
        request: pb::GroupRequest,
        _deadline: Duration,
    ) -> Result<pb::GroupResponse, CallError> {
        let Some(pb::group_request::Kind::Append(append)) = request.kind else {
            return Err(CallError::Unreachable);
        };
        let prev = append.prev_log_id.map_or(0, |id| id.index);
        self.sent.lock().push((prev, append.entries.len()));
        let outcome = if prev <= self.last.load(Ordering::Relaxed) {
            pb::append_response::Outcome::Success(true)
        } else {
            pb::append_response::Outcome::Conflict(true)
        };
        Ok(pb::GroupResponse {
            kind: Some(pb::group_response::Kind::Append(pb::AppendResponse {
                outcome: Some(outcome),
            })),
        })
    }

    async fn send_snapshot(
        &self,
        _node_id: u64,
        _start: pb::SnapshotStart,
        _feed: Box<dyn SnapshotFeed>,
    ) -> Result<pb::GroupResponse, CallError> {
        Err(CallError::Unreachable)
    }
}

struct Leader {
    follower: Arc<Follower>,
    network: Network,
    _dir: tempfile::TempDir,
}

impl Leader {
    /// Before a follower that has the old entries up to `last`.
    async fn of(last: u64) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let follower = Arc::new(Follower {
            last: last.into(),
            sent: Mutex::default(),
        });
        let mut factory = NetworkFactory {
            shard: 1,
            peers: Arc::clone(&follower) as Arc<dyn Peers>,
            log: log(dir.path()).await,
        };
        let node = ReplicaNode { node_id: 2 };
        Self {
            follower,
            network: factory.new_client(22, &node).await,
            _dir: dir,
        }
    }

    /// Sends `entries` after index `prev` as the leader of `term`.
    async fn send(
        &mut self,
        term: u64,
        prev: u64,
        entries: u64,
    ) -> AppendEntriesResponse<crate::types::SpineRaft> {
        let rpc = Append {
            vote: convert::raft_vote(Vote {
                term,
                leader: 1,
                committed: true,
            }),
            prev_log_id: Some(convert::raft_log_id(id(prev))),
            entries: (prev + 1..=prev + entries).map(blank).collect(),
            leader_commit: None,
        };
        let option = RPCOption::new(Duration::from_secs(1));
        self.network.append_entries(rpc, option).await.expect("an answer")
    }

    /// What the follower was sent since the last look.
    fn sent(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut *self.follower.sent.lock())
    }
}

fn id(index: u64) -> LogId {
    LogId {
        term: if index <= OLD { OLD_TERM } else { TERM },
        leader: 1,
        index,
    }
}

fn blank(index: u64) -> RaftEntry {
    RaftEntry {
        log_id: convert::raft_log_id(id(index)),
        payload: EntryPayload::Blank,
    }
}

async fn log(dir: &std::path::Path) -> GroupLog {
    let driver = Driver::Tasks {
        sync_latency: Duration::from_micros(50),
    };
    let options = WalOptions {
        segment_bytes: 64 * 1024,
        ..WalOptions::default()
    };
    let wal = Wal::open(
        SimDisk::new(1).shared(),
        &dir.join("wal"),
        [1; 16],
        options,
        driver,
    )
    .await
    .expect("log opens");
    let log = wal.group(1);
    log.create().await.expect("replica is created");
    let entries = (1..=OLD + 2).map(|index| (id(index), convert::encode_entry(&blank(index))));
    log.append(entries.collect(), Box::new(|_| ()))
        .await
        .expect("entries are taken");
    log
}

#[tokio::test]
async fn a_follower_that_has_all_before_the_term_is_asked_once_given_the_first_entry_and_sent_nothing_old() {
    let mut leader = Leader::of(OLD).await;
    for (prev, entries) in [(50, 8), (75, 8), (92, 8)] {
        assert_eq!(
            leader.send(TERM, prev, entries).await,
            AppendEntriesResponse::Success
        );
    }
    assert_eq!(leader.sent(), [(OLD, 1)]);
    assert_eq!(leader.send(TERM, OLD, 1).await, AppendEntriesResponse::Success);
    assert_eq!(leader.sent(), [], "given with the question");
    // What it may not have goes to it.
    assert_eq!(leader.send(TERM, OLD, 2).await, AppendEntriesResponse::Success);
    assert_eq!(leader.sent(), [(OLD, 2)]);
    // The next leader asks anew, and has nothing of its own yet.
    leader.send(TERM + 1, 50, 8).await;
    assert_eq!(leader.sent(), [(OLD + 2, 0), (50, 8)]);
}

#[tokio::test]
async fn a_follower_that_lacks_some_is_searched() {
    let mut leader = Leader::of(60).await;
    assert_eq!(leader.send(TERM, 50, 8).await, AppendEntriesResponse::Success);
    assert_eq!(leader.send(TERM, 75, 8).await, AppendEntriesResponse::Conflict);
    assert_eq!(leader.sent(), [(OLD, 1), (50, 8), (75, 8)]);
}

#[tokio::test]
async fn a_follower_whose_log_turns_out_shorter_is_believed_no_more() {
    let mut leader = Leader::of(OLD).await;
    leader.send(TERM, 50, 8).await;
    leader.follower.last.store(10, Ordering::Relaxed);
    assert_eq!(leader.send(TERM, OLD, 2).await, AppendEntriesResponse::Conflict);
    leader.sent();
    assert_eq!(leader.send(TERM, 50, 8).await, AppendEntriesResponse::Conflict);
    assert_eq!(leader.sent(), [(50, 8)]);
}

#[tokio::test]
async fn heartbeats_ask_nothing() {
    let mut leader = Leader::of(OLD).await;
    leader.send(TERM, 50, 0).await;
    assert_eq!(leader.sent(), [(50, 0)]);
}
