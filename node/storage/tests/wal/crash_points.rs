//! A short script, with the power cut at each of its disk operations in turn; and what the disk saw of it.

use spine_storage::disk::SimDisk;
use spine_storage::disk::sim::TraceEvent;

use crate::model::{Model, Op};
use crate::support::{Place, TASKS, append, check_whole, id, save_vote, vote};

/// Chances that the same cut can leave different remains.
const SEEDS: u64 = 4;

fn script() -> Vec<(u64, Op)> {
    let mut script = vec![(1, Op::Create), (2, Op::Create)];
    for _ in 0..5 {
        script.extend([
            (1, Op::Append { count: 3, len: 1500 }),
            (2, Op::Vote),
            (2, Op::Append { count: 1, len: 30 }),
            (1, Op::Truncate(1)),
            (1, Op::Append { count: 6, len: 700 }),
            (1, Op::Committed),
            (1, Op::Purge(6)),
            (1, Op::Vote),
        ]);
    }
    script
}

fn run(disk: &SimDisk, cut_at: Option<u64>) -> Model {
    let mut model = Model::new(1..=2);
    let place = Place::simulated(disk, TASKS);
    let process = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    if let Some(operation) = cut_at {
        disk.power_cut_after(operation - 1);
    }
    process.block_on(async {
        let Ok(wal) = place.try_open() else { return };
        for (at, (group, op)) in script().into_iter().enumerate() {
            if !model.run(&wal, group, &op).await {
                return;
            }
            if at % 3 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // The rest may find the power gone.
        drop(wal.close().await);
    });
    model
}

#[test]
fn power_may_go_at_every_operation() {
    let whole = SimDisk::new(0);
    run(&whole, None);
    let operations = whole.counters().operations;
    assert!(operations > 60, "only {operations} operations");
    for seed in 0..SEEDS {
        for operation in 1..=operations {
            let disk = SimDisk::new(seed * 10_000 + operation);
            let mut model = run(&disk, Some(operation));
            disk.cancel_power_cut();
            let place = Place::simulated(&disk, TASKS);
            let process = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            process.block_on(async {
                let wal = place
                    .try_open()
                    .unwrap_or_else(|error| panic!("cut at {operation}: {error}"));
                model.recovered(&wal);
                // It goes on from there, and holds it.
                for group in [1, 2] {
                    assert!(model.run(&wal, group, &Op::Create).await);
                    assert!(model.run(&wal, group, &Op::Append { count: 2, len: 100 }).await);
                }
                wal.close().await.unwrap();
                model.check_now(&place.open());
            });
        }
    }
}

/// A purge is written without a sync of its own. Until one comes, what it purged must stay on disk.
#[test]
fn a_purge_that_is_not_durable_frees_nothing() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let place = Place::simulated(&disk, TASKS);
        let process = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        process.block_on(async {
            let wal = place.open();
            let log = wal.group(1);
            log.create().await.unwrap();
            // So far that the group's own facts have moved out of the oldest segment.
            append(&log, 1, 1..=150, 1000).await.unwrap();
            log.purge(id(1, 140)).await.unwrap();
            append(&log, 1, 151..=190, 1000).await.unwrap();
            save_vote(&log, vote(1)).await.unwrap();
            append(&log, 1, 191..=200, 1000).await.unwrap();
            log.purge(id(1, 200)).await.unwrap();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            disk.power_cut();
            let log = place.open().group(1);
            let left = check_whole(&log).len();
            assert!(left == 60 || log.purged() == Some(id(1, 200)), "{left} entries");
        });
    }
}

#[tokio::test]
async fn every_acknowledgement_comes_after_a_sync_of_what_it_stands_for() {
    let disk = SimDisk::new(5);
    let place = Place::simulated(&disk, TASKS);
    let wal = place.open();
    let log = wal.group(1);
    log.create().await.unwrap();
    disk.start_trace();
    for index in 1..=60 {
        append(&log, 1, index..=index, 600).await.unwrap();
        disk.mark("ack");
        save_vote(&log, vote(index)).await.unwrap();
        disk.mark("ack");
        if index % 10 == 0 {
            log.purge(id(1, index - 5)).await.unwrap();
        }
    }
    let trace = disk.take_trace();
    let mut unsynced = std::collections::BTreeSet::new();
    let (mut acks, mut written) = (0, false);
    for event in trace {
        match event {
            TraceEvent::Write(path) => {
                unsynced.insert(path.unwrap());
                written = true;
            }
            TraceEvent::Sync(path) => drop(unsynced.remove(&path.unwrap())),
            TraceEvent::Mark(_) => {
                // Files that are only being prepared are named otherwise.
                let pending = unsynced
                    .iter()
                    .filter(|path| path.extension().is_some_and(|end| end == "wal"));
                assert_eq!(pending.count(), 0, "acknowledged before a sync");
                assert!(written, "acknowledged without a write");
                written = false;
                acks += 1;
            }
        }
    }
    assert_eq!(acks, 120);
}
