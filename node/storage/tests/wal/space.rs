//! Disk space stays bounded: segments are recycled, and quiet groups do not keep old ones.

use spine_storage::disk::{SimDisk, TraceEvent};
use spine_storage::wal::{Driver, Wal};

use crate::support::{Place, TASKS, append, check_whole, id, save_vote, vote};

/// Live bytes twice, the slack of the collector, and what one batch adds before it is collected.
fn segments_allowed(wal: &Wal, segment_bytes: u64) -> u64 {
    2 * wal.stats().live_bytes.div_ceil(segment_bytes - 4096) + 4 + 2
}

fn places() -> Vec<Place> {
    let disk = SimDisk::new(21);
    let other = SimDisk::new(22);
    vec![
        Place::real(),
        Place::simulated(&disk, TASKS),
        Place::simulated(&other, Driver::Threads),
    ]
}

#[tokio::test]
async fn purged_segments_are_recycled() {
    for place in places() {
        let wal = place.open().await;
        let log = wal.group(1);
        log.create().await.unwrap();
        for index in 1..=400 {
            append(&log, 1, index..=index, 1000).await.unwrap();
            if index > 10 {
                log.purge(id(1, index - 10)).await.unwrap();
            }
            assert!(wal.stats().segments <= segments_allowed(&wal, place.options.segment_bytes));
        }
        wal.close().await.unwrap();
        let files = place.disk.list(&place.dir).unwrap();
        assert!(
            files.len() <= 12,
            "400 KB in files of 16 KB, nearly all purged: {files:?}"
        );
        let wal = place.open().await;
        assert_eq!(check_whole(&wal.group(1)).len(), 10);
        assert_eq!(wal.group(1).purged(), Some(id(1, 390)));
    }
}

#[tokio::test]
async fn a_quiet_group_does_not_keep_old_segments() {
    for place in places() {
        let wal = place.open().await;
        let (quiet, empty, busy) = (wal.group(1), wal.group(2), wal.group(3));
        for log in [&quiet, &empty, &busy] {
            log.create().await.unwrap();
        }
        append(&quiet, 5, 1..=7, 300).await.unwrap();
        quiet.purge(id(5, 2)).await.unwrap();
        quiet.save_committed(id(5, 7)).await.unwrap();
        save_vote(&quiet, vote(5)).await.unwrap();
        for index in 1..=400 {
            append(&busy, 1, index..=index, 1000).await.unwrap();
            busy.purge(id(1, index)).await.unwrap();
            assert!(wal.stats().segments <= segments_allowed(&wal, place.options.segment_bytes));
        }
        assert!(wal.stats().relocated_bytes > 0);
        assert_eq!(check_whole(&quiet).len(), 5);
        wal.close().await.unwrap();
        let wal = place.open().await;
        let quiet = wal.group(1);
        assert_eq!(check_whole(&quiet).len(), 5);
        assert_eq!(quiet.vote(), Some(vote(5)));
        assert_eq!(quiet.committed(), Some(id(5, 7)));
        assert_eq!(quiet.purged(), Some(id(5, 2)));
        assert!(wal.group(2).exists());
        append(&quiet, 6, 8..=8, 300).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_quiet_group_costs_no_more_than_twice_its_size() {
    for place in places() {
        let wal = place.open().await;
        let (quiet, busy) = (wal.group(1), wal.group(2));
        quiet.create().await.unwrap();
        busy.create().await.unwrap();
        append(&quiet, 1, 1..=120, 700).await.unwrap();
        for index in 1..=600 {
            append(&busy, 1, index..=index, 1000).await.unwrap();
            busy.purge(id(1, index)).await.unwrap();
            assert!(wal.stats().segments <= segments_allowed(&wal, place.options.segment_bytes));
        }
        // Moving costs about as much as is written, not more.
        assert!(wal.stats().relocated_bytes < 2 * 600 * 1000);
        assert_eq!(check_whole(&quiet).len(), 120);
        wal.close().await.unwrap();
        let wal = place.open().await;
        assert_eq!(check_whole(&wal.group(1)).len(), 120);
    }
}

#[tokio::test]
async fn a_removed_replica_keeps_no_segments() {
    for place in places() {
        let wal = place.open().await;
        let log = wal.group(1);
        log.create().await.unwrap();
        append(&log, 1, 1..=100, 1000).await.unwrap();
        log.remove().await.unwrap();
        let other = wal.group(2);
        other.create().await.unwrap();
        append(&other, 1, 1..=1, 10).await.unwrap();
        assert_eq!(wal.stats().segments, 1);
    }
}

/// A block that is changed in part is read first, where the operating system has forgotten it.
#[tokio::test]
async fn writes_end_with_whole_blocks() {
    let disk = SimDisk::new(23);
    let wal = Place::simulated(&disk, TASKS).open().await;
    let log = wal.group(1);
    log.create().await.unwrap();
    disk.start_trace();
    for index in 1..=40 {
        append(&log, 1, index..=index, 700).await.unwrap();
    }
    let ends: Vec<u64> = disk
        .take_trace()
        .into_iter()
        .filter_map(|event| match event {
            TraceEvent::Write { offset, len, .. } => Some(offset + len as u64),
            _ => None,
        })
        .collect();
    assert!(ends.len() >= 40, "one write for each append: {ends:?}");
    assert!(ends.iter().all(|end| end.is_multiple_of(4096)), "{ends:?}");
}
