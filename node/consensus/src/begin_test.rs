//! The first moments of a group.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spine_proto::internal::raft::v1 as pb;
use spine_storage::Driver;
use spine_storage::disk::{Disk, SimDisk};
use spine_storage::engine::MemoryFactory;
use spine_storage::ids::{LogId, Vote};
use spine_storage::replica::{CheckpointWorker, ReplicaOptions, ReplicaStore, WorkerOptions};
use spine_storage::wal::{GroupLog, Wal, WalOptions};

use crate::begin::begin;
use crate::group::{GroupIdentity, GroupTimings, RaftGroup};
use crate::peers::{CallError, Peers, SnapshotFeed};

const DRIVER: Driver = Driver::Tasks {
    sync_latency: Duration::from_micros(50),
};
/// (replica id, node id).
const VOTERS: [(u64, u64); 3] = [(12, 2), (11, 1), (13, 3)];

async fn log_on(disk: &Arc<dyn Disk>, replica: u64) -> (Wal, GroupLog) {
    let (dir, options) = (Path::new("/wal"), WalOptions::default());
    let wal = Wal::open(disk.clone(), dir, [1; 16], options, DRIVER)
        .await
        .expect("open");
    let log = wal.group(replica);
    log.create().await.expect("create");
    (wal, log)
}

async fn save(log: &GroupLog, vote: Vote) {
    log.save_vote(vote, Box::new(|_| ())).await.expect("save");
}

#[tokio::test]
async fn all_first_voters_begin_with_the_same_entry_and_only_where_there_is_nothing() {
    let mut entries = Vec::new();
    for (replica, _) in VOTERS {
        let (_wal, log) = log_on(&SimDisk::new(replica).shared(), replica).await;
        for _ in 0..2 {
            begin(&log, &VOTERS).await.expect("begin");
        }
        assert_eq!(log.last().map(|last| last.index), Some(0));
        entries.push(log.read(0..1, usize::MAX).expect("read"));
    }
    let first = LogId {
        term: 0,
        leader: 11,
        index: 0,
    };
    assert_eq!(entries[0][0].0, first);
    assert!(entries.iter().all(|found| *found == entries[0]));

    let (_wal, log) = log_on(&SimDisk::new(1).shared(), 11).await;
    let vote = Vote {
        term: 1,
        leader: 13,
        committed: false,
    };
    save(&log, vote).await;
    begin(&log, &VOTERS).await.expect("begin");
    assert_eq!(log.last(), None, "it has voted with an empty log");
}

/// Replica 12 votes for whoever asks; 13 is gone.
struct OneVoter;

#[async_trait]
impl Peers for OneVoter {
    async fn call(
        &self,
        node_id: u64,
        request: pb::GroupRequest,
        _deadline: Duration,
    ) -> Result<pb::GroupResponse, CallError> {
        use pb::group_request::Kind::{PreVote, Vote};
        match request.kind {
            Some(Vote(asked) | PreVote(asked)) if node_id == 2 => {
                let granted = pb::VoteResponse {
                    vote: asked.vote,
                    last_log_id: asked.last_log_id,
                    granted: true,
                };
                Ok(pb::GroupResponse {
                    kind: Some(pb::group_response::Kind::Vote(granted)),
                })
            }
            _ => Err(CallError::Unreachable),
        }
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

/// It voted, heard that the other one leads, and nothing more: the membership was to come with the first entries.
#[tokio::test]
async fn a_voter_that_lost_the_first_leader_before_it_had_an_entry_can_be_elected() {
    let disk = SimDisk::new(1).shared();
    let (_wal, log) = log_on(&disk, 11).await;
    begin(&log, &VOTERS).await.expect("begin");
    let vote = Vote {
        term: 1,
        leader: 13,
        committed: true,
    };
    save(&log, vote).await;
    let engine = Arc::new(MemoryFactory::new(disk.clone()));
    let options = ReplicaOptions::default();
    let store = ReplicaStore::create(disk, Path::new("/replica"), engine, options).expect("create");
    let on_failure = Arc::new(|_: &ReplicaStore, _: &_| ());
    let checkpoints = CheckpointWorker::start(DRIVER, WorkerOptions { on_failure }).expect("start");
    let identity = GroupIdentity {
        shard: 1,
        replica_id: 11,
        first_voters: VOTERS.to_vec(),
    };
    let timings = GroupTimings::default();
    let group = RaftGroup::open(identity, timings, log, store, checkpoints, Arc::new(OneVoter));
    let group = group.await.expect("open");
    let leads = async {
        while !group.status().leading {
            group.elect(true).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let elected = tokio::time::timeout(Duration::from_secs(5), leads).await;
    assert!(elected.is_ok(), "{:?}", group.status());
}
