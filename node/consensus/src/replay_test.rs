//! A state that is behind its log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::EntryPayload;
use spine_storage::Driver;
use spine_storage::disk::{Disk, SimDisk};
use spine_storage::engine::MemoryFactory;
use spine_storage::ids::LogId;
use spine_storage::replica::{CheckpointWorker, ReplicaOptions, ReplicaStore, WorkerOptions};
use spine_storage::wal::{GroupLog, Wal, WalOptions};

use crate::convert;
use crate::replay::replay;
use crate::types::RaftEntry;

const DRIVER: Driver = Driver::Tasks {
    sync_latency: Duration::from_micros(50),
};

struct Case {
    _wal: Wal,
    log: GroupLog,
    store: ReplicaStore,
    checkpoints: CheckpointWorker,
}

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term,
        leader: 1,
        index,
    }
}

fn blank(id: LogId) -> (LogId, Bytes) {
    let entry = RaftEntry {
        log_id: convert::raft_log_id(id),
        payload: EntryPayload::Blank,
    };
    (id, convert::encode_entry(&entry))
}

/// A log of so many entries of term 1 beside an empty state.
async fn case(entries: u64) -> Case {
    let disk: Arc<dyn Disk> = SimDisk::new(1).shared();
    let wal = Wal::open(
        disk.clone(),
        Path::new("/wal"),
        [1; 16],
        WalOptions::default(),
        DRIVER,
    )
    .await
    .expect("open");
    let log = wal.group(1);
    log.create().await.expect("create");
    let all = (0..entries).map(|index| blank(id(1, index))).collect();
    log.append(all, Box::new(|_| ())).await.expect("append");
    let engine = Arc::new(MemoryFactory::new(disk.clone()));
    let options = ReplicaOptions::default();
    let store = ReplicaStore::create(disk, Path::new("/replica"), engine, options).expect("create");
    let on_failure = Arc::new(|_: &ReplicaStore, _: &_| ());
    let checkpoints = CheckpointWorker::start(DRIVER, WorkerOptions { on_failure }).expect("start");
    Case {
        _wal: wal,
        log,
        store,
        checkpoints,
    }
}

impl Case {
    fn replay(&self) -> Option<LogId> {
        replay(&self.log, &self.store, &self.checkpoints).expect("replay");
        self.store.applied()
    }
}

#[tokio::test]
async fn what_is_committed_is_applied_and_no_more() {
    let case = case(1_000).await;
    assert_eq!(case.replay(), None, "nothing is known to be committed");
    case.log.save_committed(id(1, 700)).await.expect("save");
    assert_eq!(case.replay(), Some(id(1, 700)), "over several batches");
    assert_eq!(case.replay(), Some(id(1, 700)));
    case.log.save_committed(id(1, 999)).await.expect("save");
    assert_eq!(case.replay(), Some(id(1, 999)));
}

#[tokio::test]
async fn a_log_beside_the_state_is_left_alone() {
    let case = case(10).await;
    let other = (0..6)
        .map(|index| (id(2, index), spine_storage::replica::ApplyPayload::Blank))
        .collect();
    case.store.apply(other).expect("apply");
    case.log.save_committed(id(1, 9)).await.expect("save");
    assert_eq!(case.replay(), Some(id(2, 5)));
}

#[tokio::test]
async fn a_log_that_begins_later_is_left_alone() {
    let case = case(10).await;
    case.log.save_committed(id(1, 9)).await.expect("save");
    case.log.purge(id(1, 4)).await.expect("purge");
    assert_eq!(case.replay(), None);
}
