//! Logs beside a state that came from elsewhere.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use spine_storage::Driver;
use spine_storage::disk::SimDisk;
use spine_storage::ids::LogId;
use spine_storage::wal::{GroupLog, Wal, WalOptions};

use crate::repair::align;

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term,
        leader: 1,
        index,
    }
}

async fn log_of(entries: &[LogId]) -> (Wal, GroupLog) {
    let driver = Driver::Tasks {
        sync_latency: Duration::from_micros(50),
    };
    let disk = SimDisk::new(1).shared();
    let wal = Wal::open(disk, Path::new("/wal"), [1; 16], WalOptions::default(), driver)
        .await
        .expect("open");
    let log = wal.group(1);
    log.create().await.expect("create");
    let entries = entries.iter().map(|id| (*id, Bytes::from_static(b"x"))).collect();
    log.append(entries, Box::new(|_| ())).await.expect("append");
    (wal, log)
}

#[tokio::test]
async fn a_log_that_differs_from_the_state_is_cut() {
    let (_wal, log) = log_of(&[id(1, 1), id(1, 2), id(1, 3), id(1, 4)]).await;
    align(&log, Some(id(2, 3))).await.expect("align");
    assert_eq!(log.last(), Some(id(2, 3)), "nothing follows from another term");
    assert_eq!(log.purged(), Some(id(2, 3)));
}

#[tokio::test]
async fn a_log_that_agrees_with_the_state_stays_whole() {
    let (_wal, log) = log_of(&[id(1, 1), id(1, 2), id(2, 3), id(2, 4)]).await;
    align(&log, Some(id(2, 3))).await.expect("align");
    assert_eq!((log.first_index(), log.last()), (Some(1), Some(id(2, 4))));
    align(&log, Some(id(3, 9))).await.expect("align");
    assert_eq!(
        log.last(),
        Some(id(2, 4)),
        "a state ahead of the log is dealt with at open"
    );
    align(&log, None).await.expect("align");
}
