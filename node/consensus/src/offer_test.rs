//! What a follower that cannot be reached costs the replica that offers it a snapshot again and again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::RaftStateMachine as _;
use spine_storage::Driver;
use spine_storage::disk::SimDisk;
use spine_storage::engine::MemoryFactory;
use spine_storage::ids::LogId;
use spine_storage::replica::{ApplyPayload, CheckpointWorker, ReplicaOptions, ReplicaStore, WorkerOptions};

use crate::state_adapter::{OFFER_FRESH, StateAdapter};

fn apply(store: &ReplicaStore, index: u64) {
    let id = LogId {
        term: 1,
        leader: 1,
        index,
    };
    store.apply(vec![(id, ApplyPayload::Blank)]).expect("apply");
}

async fn offered(adapter: &mut StateAdapter) -> u64 {
    let snapshot = adapter.get_current_snapshot().await.expect("offer");
    let last = snapshot.expect("there is state").meta.last_log_id;
    last.map_or(0, |id| id.index())
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_taken_for_a_follower_now_and_then_and_not_each_time_it_is_tried() {
    let disk = SimDisk::new(1).shared();
    let engine = Arc::new(MemoryFactory::new(disk.clone()));
    let store = ReplicaStore::create(disk, Path::new("/replica"), engine, ReplicaOptions::default());
    let store = store.expect("create");
    let driver = Driver::Tasks {
        sync_latency: Duration::from_micros(50),
    };
    let on_failure = Arc::new(|_: &ReplicaStore, _: &_| ());
    let checkpoints = CheckpointWorker::start(driver, WorkerOptions { on_failure }).expect("start");
    let mut adapter = StateAdapter::new(1, store.clone(), checkpoints.clone());

    apply(&store, 0);
    apply(&store, 1);
    checkpoints.checkpoint(&store).await.expect("checkpoint");
    apply(&store, 2);
    assert_eq!(offered(&mut adapter).await, 2, "the first is taken for it");
    apply(&store, 3);
    assert_eq!(offered(&mut adapter).await, 2, "the same again");
    checkpoints.checkpoint(&store).await.expect("checkpoint");
    assert_eq!(offered(&mut adapter).await, 3, "one that was taken anyway");
    apply(&store, 4);
    tokio::time::sleep(OFFER_FRESH).await;
    assert_eq!(offered(&mut adapter).await, 4, "in time a new one");
}
