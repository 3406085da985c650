//! What a log does, the same on every disk and with every driver.

use std::time::Duration;

use spine_storage::disk::SimDisk;
use spine_storage::wal::{Driver, WalError};

use crate::support::{Place, STORE, TASKS, append, body, check_whole, done, entries, id, save_vote, vote};

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod on_the_real_disk { $( #[tokio::test] async fn $name() { super::$name(super::Place::real()).await; } )* }
        mod on_a_simulated_disk { $( #[tokio::test] async fn $name() {
            let disk = super::SimDisk::new(1);
            super::$name(super::Place::simulated(&disk, super::Driver::Threads)).await;
        } )* }
        mod in_simulated_time { $( #[tokio::test] async fn $name() {
            let disk = super::SimDisk::new(2);
            super::$name(super::Place::simulated(&disk, super::TASKS)).await;
        } )* }
    };
}

suite!(
    a_new_log_is_empty,
    entries_are_readable_at_once_and_after_reopening,
    reads_are_cut_by_bytes_but_never_empty,
    the_last_vote_and_committed_position_are_kept,
    truncation_keeps_its_position,
    truncated_entries_can_be_replaced,
    purge_in_the_middle_at_the_end_and_beyond,
    groups_do_not_see_each_other,
    entries_out_of_sequence_are_refused,
    nothing_before_creation,
    a_removed_replica_is_gone,
    evicted_entries_are_read_back,
    callbacks_come_in_order,
    an_append_of_many_frames_completes_once,
    another_store_is_refused,
    a_closed_log_refuses,
    large_entries_up_to_the_limit,
);

async fn a_new_log_is_empty(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    assert!(!log.exists());
    log.create().await.unwrap();
    log.create().await.unwrap();
    assert!(log.exists());
    assert_eq!(
        (log.last(), log.purged(), log.vote(), log.committed()),
        (None, None, None, None)
    );
    assert!(log.read(0..10, 100).unwrap().is_empty());
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert!(wal.group(1).exists());
    assert!(!wal.group(2).exists());
    assert_eq!(wal.replicas(), [1]);
    wal.close().await.unwrap();
}

async fn entries_are_readable_at_once_and_after_reopening(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    let (done, rx) = done();
    log.append(entries(1, 1..=5, 100), done).await.unwrap();
    assert_eq!(check_whole(&log).len(), 5);
    rx.await.unwrap().unwrap();
    append(&log, 2, 6..=7, 100).await.unwrap();
    assert_eq!(log.last(), Some(id(2, 7)));
    assert_eq!(log.log_id_at(5), Some(id(1, 5)));
    assert_eq!(log.log_id_at(8), None);
    wal.close().await.unwrap();
    for _ in 0..3 {
        let wal = place.open().await;
        let log = wal.group(1);
        assert_eq!(check_whole(&log).len(), 7);
        assert_eq!(log.log_id_at(6), Some(id(2, 6)));
        wal.close().await.unwrap();
    }
}

async fn reads_are_cut_by_bytes_but_never_empty(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    append(&log, 1, 1..=10, 100).await.unwrap();
    assert_eq!(log.read(3..9, 0).unwrap().len(), 1);
    assert_eq!(log.read(3..9, 250).unwrap().len(), 2);
    assert_eq!(log.read(3..9, 300).unwrap().len(), 3);
    assert_eq!(log.read(3..99, usize::MAX).unwrap().len(), 8);
    assert_eq!(log.read(5..5, usize::MAX).unwrap().len(), 0);
    assert_eq!(log.read(11..20, usize::MAX).unwrap().len(), 0);
    wal.close().await.unwrap();
}

async fn the_last_vote_and_committed_position_are_kept(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    for term in 1..=3 {
        save_vote(&log, vote(term)).await.unwrap();
    }
    append(&log, 3, 1..=4, 10).await.unwrap();
    log.save_committed(id(3, 4)).await.unwrap();
    assert_eq!(log.committed(), Some(id(3, 4)));
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(wal.group(1).vote(), Some(vote(3)));
    assert_eq!(wal.group(1).committed(), Some(id(3, 4)));
    wal.close().await.unwrap();
}

async fn truncation_keeps_its_position(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    append(&log, 1, 1..=10, 50).await.unwrap();
    log.truncate_after(Some(id(1, 20))).await.unwrap();
    assert_eq!(log.last(), Some(id(1, 10)));
    log.truncate_after(Some(id(1, 6))).await.unwrap();
    assert_eq!(log.last(), Some(id(1, 6)));
    wal.close().await.unwrap();
    let wal = place.open().await;
    let log = wal.group(1);
    assert_eq!(check_whole(&log).len(), 6);
    log.truncate_after(None).await.unwrap();
    assert_eq!(log.last(), None);
    append(&log, 2, 1..=2, 50).await.unwrap();
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)), [id(2, 1), id(2, 2)]);
    wal.close().await.unwrap();
}

async fn truncated_entries_can_be_replaced(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    for term in 1..=5 {
        log.truncate_after(Some(id(1, 3))).await.unwrap();
        let first = log.last().map_or(1, |id| id.index + 1);
        append(&log, term, first..=6, 40).await.unwrap();
    }
    let expected = [id(1, 1), id(1, 2), id(1, 3), id(5, 4), id(5, 5), id(5, 6)];
    assert_eq!(check_whole(&log), expected);
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)), expected);
    wal.close().await.unwrap();
}

async fn purge_in_the_middle_at_the_end_and_beyond(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    append(&log, 1, 1..=10, 50).await.unwrap();
    log.purge(id(1, 4)).await.unwrap();
    log.purge(id(1, 2)).await.unwrap();
    assert_eq!(log.purged(), Some(id(1, 4)));
    assert_eq!(log.log_id_at(4), Some(id(1, 4)));
    assert_eq!(log.log_id_at(3), None);
    let left: Vec<u64> = log
        .read(0..7, 1000)
        .unwrap()
        .iter()
        .map(|(id, _)| id.index)
        .collect();
    assert_eq!(left, [5, 6], "what was purged is left out");
    assert_eq!(check_whole(&log).len(), 6);
    log.truncate_after(None).await.unwrap();
    assert_eq!(log.last(), Some(id(1, 4)), "a truncation never undoes a purge");
    append(&log, 1, 5..=5, 50).await.unwrap();
    log.purge(id(1, 5)).await.unwrap();
    assert_eq!(log.last(), Some(id(1, 5)));
    log.purge(id(3, 100)).await.unwrap();
    assert_eq!((log.last(), log.purged()), (Some(id(3, 100)), Some(id(3, 100))));
    assert!(append(&log, 3, 6..=6, 50).await.is_err());
    append(&log, 3, 101..=102, 50).await.unwrap();
    wal.close().await.unwrap();
    let wal = place.open().await;
    let log = wal.group(1);
    assert_eq!(log.purged(), Some(id(3, 100)));
    assert_eq!(check_whole(&log), [id(3, 101), id(3, 102)]);
    wal.close().await.unwrap();
}

async fn groups_do_not_see_each_other(place: Place) {
    let wal = place.open().await;
    for group in 1..=50 {
        wal.group(group).create().await.unwrap();
    }
    for round in 0..4 {
        for group in 1..=50 {
            let first = round * group + 1;
            append(&wal.group(group), group, first..=first + group - 1, 20)
                .await
                .unwrap();
        }
    }
    wal.close().await.unwrap();
    let wal = place.open().await;
    for group in 1..=50 {
        let ids = check_whole(&wal.group(group));
        assert_eq!(ids.len() as u64, 4 * group);
        assert!(ids.iter().all(|id| id.term == group));
    }
    wal.close().await.unwrap();
}

async fn entries_out_of_sequence_are_refused(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    append(&log, 1, 1..=2, 10).await.unwrap();
    for wrong in [
        entries(1, 2..=3, 10),
        entries(1, 4..=4, 10),
        [entries(1, 3..=3, 10), entries(1, 5..=5, 10)].concat(),
    ] {
        let (done, rx) = done();
        let error = log.append(wrong, done).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(rx.await.unwrap().is_err(), "the callback is called too");
    }
    let (done, rx) = done();
    log.append(Vec::new(), done).await.unwrap();
    rx.await.unwrap().unwrap();
    append(&log, 1, 3..=3, 10).await.unwrap();
    wal.close().await.unwrap();
}

async fn nothing_before_creation(place: Place) {
    let wal = place.open().await;
    let log = wal.group(9);
    assert!(save_vote(&log, vote(1)).await.is_err());
    assert!(append(&log, 1, 1..=1, 10).await.is_err());
    assert!(log.purge(id(1, 1)).await.is_err());
    assert_eq!((log.vote(), log.last()), (None, None));
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert!(wal.replicas().is_empty());
    wal.close().await.unwrap();
}

async fn a_removed_replica_is_gone(place: Place) {
    let wal = place.open().await;
    for group in [1, 2] {
        wal.group(group).create().await.unwrap();
        append(&wal.group(group), 1, 1..=10, 100).await.unwrap();
    }
    wal.group(1).remove().await.unwrap();
    assert!(!wal.group(1).exists());
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(wal.replicas(), [2]);
    assert_eq!(check_whole(&wal.group(2)).len(), 10);
    wal.close().await.unwrap();
}

async fn evicted_entries_are_read_back(mut place: Place) {
    place.options.cache_bytes = 1000;
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    for index in 1..=100 {
        append(&log, 1, index..=index, 300).await.unwrap();
    }
    assert_eq!(check_whole(&log).len(), 100);
    // Places are published and the cache is cut before the callback.
    assert!(wal.stats().cache_bytes <= 1000);
    wal.close().await.unwrap();
}

async fn callbacks_come_in_order(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    for index in 1..=200 {
        let tx = tx.clone();
        let done = Box::new(move |result: std::io::Result<()>| tx.send((index, result.is_ok())).unwrap());
        if index % 10 == 0 {
            log.save_vote(vote(index), done).await.unwrap();
        } else {
            let next = log.last().map_or(1, |id| id.index + 1);
            log.append(entries(1, next..=next, 30), done).await.unwrap();
        }
    }
    for index in 1..=200 {
        assert_eq!(rx.recv().await, Some((index, true)));
    }
    assert!(wal.stats().fsyncs < 200, "commands that wait share syncs");
    wal.close().await.unwrap();
}

async fn an_append_of_many_frames_completes_once(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    // Far more than the queue and than a segment holds.
    append(&log, 1, 1..=1000, 200).await.unwrap();
    assert_eq!(check_whole(&log).len(), 1000);
    wal.close().await.unwrap();
    let wal = place.open().await;
    assert_eq!(check_whole(&wal.group(1)).len(), 1000);
    wal.close().await.unwrap();
}

async fn another_store_is_refused(place: Place) {
    let wal = place.open().await;
    wal.group(1).create().await.unwrap();
    wal.close().await.unwrap();
    let mut other = STORE;
    other[3] ^= 1;
    let opened =
        spine_storage::wal::Wal::open(place.disk.clone(), &place.dir, other, place.options, place.driver)
            .await;
    assert!(matches!(opened.err(), Some(WalError::AnotherStore)));
    place.disk.remove_file(&place.path("identity")).unwrap();
    assert!(matches!(place.try_open().await.err(), Some(WalError::Damaged(_))));
}

async fn a_closed_log_refuses(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    wal.close().await.unwrap();
    let (done, rx) = done();
    assert!(log.append(entries(1, 1..=1, 10), done).await.is_err());
    assert!(rx.await.unwrap().is_err());
    assert!(wal.close().await.is_err());
    assert_eq!(log.last(), None);
}

async fn large_entries_up_to_the_limit(place: Place) {
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    let max = usize::try_from(log.entry_bytes_max()).unwrap();
    append(&log, 1, 1..=1, max).await.unwrap();
    append(&log, 1, 2..=2, max - 1).await.unwrap();
    assert!(append(&log, 1, 3..=3, max + 1).await.is_err());
    append(&log, 1, 3..=3, 0).await.unwrap();
    wal.close().await.unwrap();
    let wal = place.open().await;
    let read = wal.group(1).read(1..4, usize::MAX).unwrap();
    assert_eq!(read[1].1, body(id(1, 2), max - 1));
    assert_eq!(read[2].1.len(), 0);
    wal.close().await.unwrap();
}

/// The callback of a replaced entry comes while its successor at the same index is still on its way.
#[tokio::test]
async fn an_entry_replaced_while_it_is_being_synced_is_not_mixed_up() {
    let disk = SimDisk::new(4);
    let mut place = Place::simulated(
        &disk,
        Driver::Tasks {
            sync_latency: Duration::from_millis(20),
        },
    );
    place.options.cache_bytes = 0;
    let wal = place.open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    let (first, first_done) = done();
    log.append(entries(1, 1..=3, 50), first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    log.truncate_after(Some(id(1, 1))).await.unwrap();
    let (second, second_done) = done();
    log.append(entries(2, 2..=3, 50), second).await.unwrap();
    first_done.await.unwrap().unwrap();
    assert_eq!(check_whole(&log), [id(1, 1), id(2, 2), id(2, 3)]);
    second_done.await.unwrap().unwrap();
    assert_eq!(check_whole(&log), [id(1, 1), id(2, 2), id(2, 3)]);
}

/// A committed position goes to the disk with or after its entry, never before: nobody could apply up to it.
#[tokio::test]
async fn a_committed_position_never_lies_beyond_the_log() {
    let disk = SimDisk::new(4);
    let place = Place::simulated(&disk, TASKS);
    let open = || async { place.open().await.group(1) };
    let log = open().await;
    log.create().await.unwrap();
    log.purge(id(1, 9)).await.unwrap();
    // Known to be committed by others before the entry is here.
    log.save_committed(id(1, 12)).await.unwrap();
    append(&log, 1, 10..=11, 50).await.unwrap();
    disk.power_cut();
    let log = open().await;
    assert_eq!((log.committed(), log.last()), (None, Some(id(1, 11))));
    log.save_committed(id(1, 12)).await.unwrap();
    append(&log, 1, 12..=12, 50).await.unwrap();
    disk.power_cut();
    assert_eq!(open().await.committed(), Some(id(1, 12)));
}
