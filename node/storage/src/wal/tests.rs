//! The log on a simulated disk: what was acknowledged is there after any power cut, in order, without holes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Driver, GroupLog, Wal, WalError, WalOptions};
use crate::disk::{Disk as _, RealDisk, SimDisk};
use crate::ids::{LogId, Vote};

const UUID: [u8; 16] = [9; 16];
const DRIVER: Driver = Driver::Tasks {
    sync_latency: Duration::from_micros(100),
};

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 4_096,
        cache_bytes: 1_024,
    }
}

fn open(disk: &SimDisk) -> Result<Wal, WalError> {
    Wal::open(Arc::new(disk.clone()), Path::new("/wal"), UUID, options(), DRIVER)
}

fn id(index: u64) -> LogId {
    LogId {
        term: 1,
        leader: 1,
        index,
    }
}

fn value(index: u64) -> Bytes {
    Bytes::from(vec![u8::try_from(index % 251).unwrap(); 100])
}

async fn append(log: &GroupLog, index: u64) -> std::io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    log.append(
        vec![(id(index), value(index))],
        Box::new(move |result| drop(tx.send(result))),
    )
    .await?;
    rx.await.unwrap_or_else(|_| Err(std::io::Error::other("dropped")))
}

async fn vote(log: &GroupLog, term: u64) -> std::io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let vote = Vote {
        term,
        leader: 2,
        committed: false,
    };
    log.save_vote(vote, Box::new(move |result| drop(tx.send(result))))
        .await?;
    rx.await.unwrap_or_else(|_| Err(std::io::Error::other("dropped")))
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_reopening() {
    let disk = SimDisk::new(1);
    let wal = open(&disk).unwrap();
    let log = wal.group(7);
    log.create().await.unwrap();
    for index in 0..200 {
        append(&log, index).await.unwrap();
    }
    vote(&log, 5).await.unwrap();
    log.save_committed(id(150));
    log.truncate_after(Some(id(180))).await.unwrap();
    log.purge(id(20)).await.unwrap();
    wal.flush().await.unwrap();
    disk.power_cut();

    let log = open(&disk).unwrap().group(7);
    assert!(log.exists());
    assert_eq!(
        (log.last(), log.purged(), log.committed()),
        (Some(id(180)), Some(id(20)), Some(id(150)))
    );
    assert_eq!(log.vote().map(|vote| vote.term), Some(5));
    let read = log.read(0..1_000, usize::MAX).unwrap();
    assert_eq!(read.len(), 160);
    assert!(read.iter().all(|(id, bytes)| *bytes == value(id.index)));
    assert_eq!(
        log.read(30..40, 1).unwrap().len(),
        1,
        "never empty where something is there"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_group_does_not_pin_the_disk() {
    let disk = SimDisk::new(2);
    let wal = open(&disk).unwrap();
    let (idle, busy) = (wal.group(1), wal.group(2));
    idle.create().await.unwrap();
    append(&idle, 0).await.unwrap();
    vote(&idle, 3).await.unwrap();
    for index in 0..2_000 {
        append(&busy, index).await.unwrap();
        if index % 10 == 9 {
            busy.purge(id(index - 5)).await.unwrap();
        }
    }
    let files = disk.list(Path::new("/wal")).unwrap();
    assert!(files.len() < 12, "{} files", files.len());
    disk.power_cut();
    let idle = open(&disk).unwrap().group(1);
    assert_eq!(idle.read(0..9, usize::MAX).unwrap(), vec![(id(0), value(0))]);
    assert_eq!(idle.vote().map(|vote| vote.term), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_purge_beyond_the_end_empties_the_log() {
    let disk = SimDisk::new(3);
    let wal = open(&disk).unwrap();
    let log = wal.group(1);
    append(&log, 0).await.unwrap();
    log.purge(id(50)).await.unwrap();
    assert_eq!((log.last(), log.purged()), (Some(id(50)), Some(id(50))));
    append(&log, 51).await.unwrap();
    disk.power_cut();
    let log = open(&disk).unwrap().group(1);
    assert_eq!((log.last(), log.purged()), (Some(id(51)), Some(id(50))));
}

#[tokio::test(start_paused = true)]
async fn flipped_bytes_in_the_middle_are_refused_and_a_torn_tail_is_not() {
    for round in 0..24_u64 {
        let disk = SimDisk::new(round);
        let wal = open(&disk).unwrap();
        let log = wal.group(1);
        for index in 0..100 {
            append(&log, index).await.unwrap();
        }
        disk.process_crash();
        let path = Path::new("/wal/0000000000000001.wal");
        // Segment 1 holds well over 2,000 bytes of batches behind its header.
        disk.flip_bit(path, (64 + round * 80) * 8 + round % 8).unwrap();
        match open(&disk) {
            // The bytes between two batches mean nothing.
            Ok(wal) => {
                let read = wal.group(1).read(0..100, usize::MAX).unwrap();
                assert!(read.len() == 100 && read.iter().all(|(id, bytes)| *bytes == value(id.index)));
            }
            Err(error) => assert!(matches!(error, WalError::Damaged { .. }), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_sync_nothing_is_acknowledged() {
    let disk = SimDisk::new(4);
    let wal = open(&disk).unwrap();
    let log = wal.group(1);
    append(&log, 0).await.unwrap();
    disk.fail_next_sync();
    assert!(append(&log, 1).await.is_err());
    assert!(append(&log, 2).await.is_err());
    assert!(vote(&log, 9).await.is_err());
    assert!(wal.failure().is_some());
}

#[tokio::test(start_paused = true)]
async fn another_store_is_refused() {
    let disk = SimDisk::new(5);
    append(&open(&disk).unwrap().group(1), 0).await.unwrap();
    let other = Wal::open(Arc::new(disk), Path::new("/wal"), [1; 16], options(), DRIVER);
    assert!(matches!(other, Err(WalError::OtherStore)));
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_and_a_real_disk_do_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Wal::open(Arc::new(RealDisk), dir.path(), UUID, options(), Driver::Threads).unwrap();
    let wal = open();
    let mut writers = Vec::new();
    for group in 1..=8 {
        let log = wal.group(group);
        writers.push(tokio::spawn(async move {
            for index in 0..100 {
                append(&log, index).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(wal.fsyncs() < 800 + 200, "syncs are shared: {}", wal.fsyncs());
    drop(wal);
    let wal = open();
    for group in 1..=8 {
        let read = wal.group(group).read(0..100, usize::MAX).unwrap();
        assert!(read.len() == 100 && read.iter().all(|(id, bytes)| *bytes == value(id.index)));
    }
}

/// What a group must at least hold, and at most.
#[derive(Default, Clone)]
struct Model {
    acknowledged: Option<u64>,
    appended: Option<u64>,
    purged: Option<u64>,
    vote: u64,
    vote_asked: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, u8),
    Vote(u64),
    Purge(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4_u64, 1..20_u8).prop_map(|(group, count)| Step::Append(group, count)),
        1 => (1..4_u64).prop_map(Step::Vote),
        1 => (1..4_u64).prop_map(Step::Purge),
        1 => Just(Step::Reopen),
    ]
}

fn check(wal: &Wal, models: &mut BTreeMap<u64, Model>) {
    for (group, model) in models.iter_mut() {
        let log = wal.group(*group);
        let last = log.last().map(|id| id.index);
        assert!(
            last >= model.acknowledged,
            "acknowledged entries are there: {last:?}"
        );
        assert!(last <= model.appended.max(model.purged), "nothing is invented");
        let term = log.vote().map_or(0, |vote| vote.term);
        assert!(
            term >= model.vote && term <= model.vote_asked,
            "votes never go back"
        );
        let first = log.purged().map_or(0, |id| id.index + 1);
        let read = log.read(first..u64::MAX, usize::MAX).expect("readable");
        let indexes: Vec<u64> = read.iter().map(|(id, _)| id.index).collect();
        let expected: Vec<u64> = (first..last.map_or(first, |last| last + 1)).collect();
        assert_eq!(indexes, expected, "no holes");
        assert!(read.iter().all(|(id, bytes)| *bytes == value(id.index)));
        model.appended = last;
        model.acknowledged = last;
        model.vote = term;
        model.vote_asked = term;
        model.purged = log.purged().map(|id| id.index);
    }
}

async fn run(steps: Vec<Step>, seed: u64, cut_after: u64) {
    let disk = SimDisk::new(seed);
    let mut models: BTreeMap<u64, Model> = (1..4).map(|group| (group, Model::default())).collect();
    let mut wal = open(&disk).expect("fresh");
    disk.power_cut_after(cut_after);
    for step in steps {
        match step {
            Step::Append(group, count) => {
                let model = models.get_mut(&group).expect("known");
                let log = wal.group(group);
                for _ in 0..count {
                    let next = log.last().map_or(0, |id| id.index + 1);
                    model.appended = Some(next);
                    if append(&log, next).await.is_ok() {
                        model.acknowledged = Some(next);
                    } else {
                        break;
                    }
                }
            }
            Step::Vote(group) => {
                let model = models.get_mut(&group).expect("known");
                model.vote_asked += 1;
                if vote(&wal.group(group), model.vote_asked).await.is_ok() {
                    model.vote = model.vote_asked;
                }
            }
            Step::Purge(group) => {
                let model = models.get_mut(&group).expect("known");
                if let Some(last) = model.acknowledged {
                    model.purged = Some(last / 2);
                    // A log that has failed refuses; then the power is gone already.
                    let _ = wal.group(group).purge(id(last / 2)).await;
                }
            }
            Step::Reopen => {
                disk.cancel_power_cut();
                disk.power_cut();
                wal = open(&disk).expect("opens after a power cut");
                check(&wal, &mut models);
                disk.power_cut_after(cut_after);
            }
        }
        if wal.failure().is_some() {
            disk.cancel_power_cut();
            disk.power_cut();
            wal = open(&disk).expect("opens after a power cut");
            check(&wal, &mut models);
        }
    }
    disk.cancel_power_cut();
    disk.power_cut();
    check(&open(&disk).expect("opens at the end"), &mut models);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_survives_a_power_cut_at_any_moment(
        steps in proptest::collection::vec(step(), 1..40),
        seed in any::<u64>(),
        cut_after in 0..200_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps, seed, cut_after));
    }
}
