//! A disk that fails, hangs or is full, and callers that go away: every callback is called, nothing deadlocks.

use std::time::Duration;

use spine_storage::disk::{Disk, SimDisk};
use spine_storage::wal::{Driver, Wal};
use tokio::time::timeout;

use crate::support::{Place, TASKS, append, check_whole, done, entries, save_vote, vote};

const PATIENCE: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(30);

async fn failing_sync(driver: Driver) {
    let disk = SimDisk::new(3);
    let place = Place::simulated(&disk, driver);
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    append(&log, 1, 1..=5, 100).await.unwrap();
    // The segment being written, not the one being prepared.
    disk.fail_next_sync(Some(&place.path("0000000000000001.seg")));
    let mut waiting = Vec::new();
    for index in 6..=20 {
        let (done, rx) = done();
        // The first may have failed already.
        drop(log.append(entries(1, index..=index, 100), done).await);
        waiting.push(rx);
    }
    for rx in waiting {
        assert!(rx.await.expect("every callback is called").is_err());
    }
    timeout(PATIENCE, wal.fatal()).await.unwrap();
    assert!(wal.poison_reason().is_some());
    assert!(
        save_vote(&log, vote(1)).await.is_err(),
        "a failed sync is never tried again"
    );
    assert!(wal.close().await.is_err());
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)).len(), 5);
}

#[tokio::test]
async fn a_failed_sync_stops_the_log() {
    failing_sync(TASKS).await;
    failing_sync(Driver::Threads).await;
}

/// Appends without waiting for durability until the queue takes no more; returns what waits.
async fn fill_queue(wal: &Wal) -> Vec<tokio::sync::oneshot::Receiver<std::io::Result<()>>> {
    let log = wal.group(1);
    let mut waiting = Vec::new();
    loop {
        let next = log.last().map_or(1, |id| id.index + 1);
        let (done, rx) = done();
        let appended = timeout(SHORT, log.append(entries(1, next..=next, 1000), done)).await;
        match appended {
            Ok(result) => {
                result.unwrap();
                waiting.push(rx);
            }
            Err(_) => {
                assert!(rx.await.unwrap().is_err(), "a cancelled append still calls back");
                return waiting;
            }
        }
    }
}

#[tokio::test]
async fn a_stalled_disk_makes_callers_wait_and_is_noticed() {
    let disk = SimDisk::new(3);
    let place = Place::simulated(&disk, TASKS);
    let wal = place.open().await;
    wal.group(1).create().await.unwrap();
    assert_eq!(wal.stalled_for(), Duration::ZERO);
    disk.stall(true);
    let waiting = fill_queue(&wal).await;
    assert!(waiting.len() < 100, "the queue is bounded");
    assert!(!wal.is_full());
    assert!(wal.stalled_for() >= SHORT);
    assert!(wal.stats().queue_bytes <= place.options.queue_bytes);
    disk.stall(false);
    for rx in waiting {
        timeout(PATIENCE, rx).await.unwrap().unwrap().unwrap();
    }
    append(
        &wal.group(1),
        1,
        wal.group(1).last().unwrap().index + 1..=200,
        100,
    )
    .await
    .unwrap();
    assert_eq!(wal.stalled_for(), Duration::ZERO);
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)).len(), 200);
}

async fn full_disk(driver: Driver) {
    let disk = SimDisk::new(3);
    let place = Place::simulated(&disk, driver);
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    append(&log, 1, 1..=2, 1000).await.unwrap();
    disk.fill(Some(disk.used_bytes()));
    let waiting = fill_queue(&wal).await;
    assert!(wal.stalled_for() > Duration::ZERO);
    assert!(wal.is_full(), "full is told from stalled");
    assert_eq!(log.read(1..3, usize::MAX).unwrap().len(), 2, "reads go on");
    disk.fill(None);
    let count = waiting.len();
    for rx in waiting {
        timeout(PATIENCE, rx).await.unwrap().unwrap().unwrap();
    }
    assert!(!wal.is_full());
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)).len(), 2 + count);
}

#[tokio::test]
async fn a_full_disk_makes_callers_wait_until_there_is_room() {
    full_disk(TASKS).await;
    full_disk(Driver::Threads).await;
}

#[tokio::test]
async fn closing_on_a_full_disk_ends_and_tells_everybody() {
    let disk = SimDisk::new(3);
    let place = Place::simulated(&disk, TASKS);
    let wal = place.open().await;
    wal.group(1).create().await.unwrap();
    disk.fill(Some(disk.used_bytes()));
    let waiting = fill_queue(&wal).await;
    assert!(timeout(PATIENCE, wal.close()).await.unwrap().is_err());
    for rx in waiting {
        // Those that had room are durable, the others are not; all are told.
        drop(timeout(PATIENCE, rx).await.unwrap().unwrap());
    }
    disk.fill(None);
    let wal = place.open().await;
    check_whole(&wal.group(1));
}

#[tokio::test]
async fn dropping_every_handle_finishes_the_work() {
    for driver in [TASKS, Driver::Threads] {
        let disk = SimDisk::new(3);
        let place = Place::simulated(&disk, driver);
        let (done, rx) = done();
        {
            let wal = place.open().await;
            let log = wal.group(1);
            log.create().await.unwrap();
            log.append(entries(1, 1..=3, 100), done).await.unwrap();
        }
        timeout(PATIENCE, rx).await.unwrap().unwrap().unwrap();
    }
}

#[test]
fn a_killed_process_still_calls_back() {
    let disk = SimDisk::new(3);
    let place = Place::simulated(&disk, TASKS);
    let process = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut rx = process.block_on(async {
        let wal = place.open().await;
        wal.group(1).create().await.unwrap();
        disk.stall(true);
        let (done, rx) = done();
        wal.group(1).append(entries(1, 1..=3, 100), done).await.unwrap();
        Some(rx)
    });
    drop(process);
    assert!(rx.take().unwrap().blocking_recv().unwrap().is_err());
    disk.power_cut();
    assert!(!disk.stalled());
}

#[tokio::test]
async fn many_callers_on_a_small_queue_all_get_through() {
    for driver in [TASKS, Driver::Threads] {
        let disk = SimDisk::new(3);
        let mut place = Place::simulated(&disk, driver);
        place.options.queue_bytes = 4096;
        let wal = place.open().await;
        let mut callers = tokio::task::JoinSet::new();
        for group in 1..=20 {
            let log = wal.group(group);
            callers.spawn(async move {
                log.create().await.unwrap();
                for index in 0..20 {
                    append(&log, 1, index * 3 + 1..=index * 3 + 3, 500).await.unwrap();
                    log.save_committed(log.last().unwrap()).await.unwrap();
                }
            });
        }
        timeout(PATIENCE, callers.join_all()).await.unwrap();
        wal.close().await.unwrap();
        let wal = place.open().await;
        for group in 1..=20 {
            assert_eq!(check_whole(&wal.group(group)).len(), 60);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_shows_how_the_disk_works_and_leaves_no_trace() {
    let disk = SimDisk::new(3);
    let place = Place::simulated(&disk, TASKS);
    let wal = place.open().await;
    wal.group(1).create().await.unwrap();
    let fsyncs = wal.stats().fsyncs;
    wal.probe().await.unwrap();
    assert_eq!(
        wal.stats().fsyncs,
        fsyncs + 1,
        "a probe is a sync, also of an idle log"
    );
    assert!(wal.slowest_batch() < SHORT);
    disk.stall(true);
    let probing = tokio::spawn({
        let wal = wal.clone();
        async move { wal.probe().await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!probing.is_finished() && wal.stalled_for() >= Duration::from_secs(2));
    disk.stall(false);
    probing.await.unwrap().unwrap();
    tokio::time::sleep(SHORT).await;
    assert!(wal.slowest_batch() >= Duration::from_secs(2));
    assert_eq!(wal.slowest_batch(), Duration::ZERO, "asked once");
    append(&wal.group(1), 1, 1..=3, 100).await.unwrap();
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)).len(), 3);
}
