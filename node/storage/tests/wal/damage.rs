//! Bytes that rot: what was durable is never silently cut, what was never acknowledged may go.

use std::path::PathBuf;

use spine_storage::disk::SimDisk;
use spine_storage::wal::{Damage, GroupLog, Wal, WalError};

use crate::support::{Place, TASKS, append, check_whole, done, entries, id, save_vote, vote};

const SEED: u64 = 11;
/// Entries of this size leave no padding in a frame, so that every byte counts.
const LEN: usize = 104;
const ENTRIES: u64 = 400;
const HEAD_BYTES: u64 = 4096;
/// Frame of one such entry.
const FRAME_BYTES: u64 = 32 + 4 + 28 + LEN as u64;

fn process() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

async fn created(wal: &Wal) -> GroupLog {
    let log = wal.group(1);
    log.create().await.unwrap();
    log
}

/// A log of several segments, every entry durable on its own.
fn fill(disk: &SimDisk, close: bool) {
    let process = process();
    process.block_on(async {
        let wal = Place::simulated(disk, TASKS).open().await;
        let log = created(&wal).await;
        for index in 1..=ENTRIES {
            append(&log, 1, index..=index, LEN).await.unwrap();
        }
        if close {
            wal.close().await.unwrap();
        }
    });
}

fn reopen(disk: &SimDisk) -> Result<Vec<u64>, WalError> {
    process().block_on(async {
        let wal = Place::simulated(disk, TASKS).try_open().await?;
        Ok(check_whole(&wal.group(1)).iter().map(|id| id.index).collect())
    })
}

fn path(place: &Place, name: &str) -> PathBuf {
    place.path(name)
}

/// Where the records of a segment end.
fn used_bytes(place: &Place, name: &str) -> u64 {
    let bytes = place.disk.read(&path(place, name)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

#[test]
fn flipped_bytes_in_the_middle_are_always_refused() {
    let disk = SimDisk::new(SEED);
    fill(&disk, true);
    let place = Place::simulated(&disk, TASKS);
    let segments = place.segments();
    assert!(segments.len() >= 4);
    let mut refused = 0;
    for name in &segments[..segments.len() - 2] {
        let used = used_bytes(&place, name);
        for step in 0..8 {
            let offset = HEAD_BYTES + (used - HEAD_BYTES - 1) * step / 7;
            disk.corrupt(&path(&place, name), offset, 1).unwrap();
            assert!(
                matches!(reopen(&disk), Err(WalError::Damaged(Damage { .. }))),
                "{name} byte {offset} of {used}"
            );
            disk.corrupt(&path(&place, name), offset, 1).unwrap();
            refused += 1;
        }
    }
    assert!(refused >= 24, "{refused}");
    assert_eq!(
        reopen(&disk).unwrap().len() as u64,
        ENTRIES,
        "flipped back, it is whole"
    );
}

#[test]
fn after_a_clean_end_the_last_record_counts_too() {
    let disk = SimDisk::new(SEED);
    fill(&disk, true);
    let place = Place::simulated(&disk, TASKS);
    let segments = place.segments();
    let last = path(&place, &segments[segments.len() - 2]);
    let used = used_bytes(&place, &segments[segments.len() - 2]);
    // The frame in front of the closing mark, which is a bare header that ends with zeros.
    disk.corrupt(&last, used.next_multiple_of(8) - 60, 1).unwrap();
    assert!(matches!(reopen(&disk), Err(WalError::Damaged(_))));
}

#[test]
fn heads_and_the_identity_are_checked() {
    let disk = SimDisk::new(SEED);
    fill(&disk, true);
    let place = Place::simulated(&disk, TASKS);
    for name in place.segments().iter().chain(&["identity".to_owned()]) {
        for offset in [0, 10, 19] {
            disk.corrupt(&path(&place, name), offset, 1).unwrap();
            assert!(
                matches!(reopen(&disk), Err(WalError::Damaged(_))),
                "{name} byte {offset}"
            );
            disk.corrupt(&path(&place, name), offset, 1).unwrap();
        }
    }
}

#[test]
fn a_missing_segment_is_refused() {
    for missing in 0..3 {
        let disk = SimDisk::new(SEED);
        fill(&disk, true);
        let place = Place::simulated(&disk, TASKS);
        let name = place.segments()[missing].clone();
        place.disk.remove_file(&path(&place, &name)).unwrap();
        assert!(matches!(reopen(&disk), Err(WalError::Damaged(_))), "{name}");
    }
    let disk = SimDisk::new(SEED);
    fill(&disk, true);
    let place = Place::simulated(&disk, TASKS);
    for name in place.segments() {
        place.disk.remove_file(&path(&place, &name)).unwrap();
    }
    assert!(
        matches!(reopen(&disk), Err(WalError::Damaged(_))),
        "an empty log under an identity"
    );
}

#[test]
fn a_torn_tail_goes_and_the_log_goes_on() {
    let disk = SimDisk::new(SEED);
    fill(&disk, false);
    let place = Place::simulated(&disk, TASKS);
    let segments = place.segments();
    let name = &segments[segments.len() - 2];
    let used = used_bytes(&place, name);
    disk.corrupt(&path(&place, name), used - 10, 5).unwrap();
    assert_eq!(reopen(&disk).unwrap().len() as u64, ENTRIES - 1);
    process().block_on(async {
        let wal = place.open().await;
        append(&wal.group(1), 2, ENTRIES..=ENTRIES + 20, LEN)
            .await
            .unwrap();
        wal.close().await.unwrap();
    });
    assert_eq!(reopen(&disk).unwrap().len() as u64, ENTRIES + 20);
}

/// Three frames of one write; the first is torn, the others are whole. Frames of the next life that take exactly the
/// place of the first must not bring the others back.
#[test]
fn the_remains_of_a_torn_write_never_come_back() {
    let disk = SimDisk::new(SEED);
    let place = Place::simulated(&disk, TASKS);
    let first_byte = process().block_on(async {
        let wal = place.open().await;
        let log = created(&wal).await;
        save_vote(&log, vote(1)).await.unwrap();
        let used = used_bytes(&place, &place.segments()[0]).next_multiple_of(8);
        let mut waiting = Vec::new();
        for index in 1..=3 {
            let (done, rx) = done();
            log.append(entries(1, index..=index, LEN), done).await.unwrap();
            waiting.push(rx);
        }
        for rx in waiting {
            rx.await.unwrap().unwrap();
        }
        used
    });
    let segment = path(&place, &place.segments()[0]);
    let bytes = place.disk.read(&segment).unwrap();
    let payload_bytes = u32::try_from(FRAME_BYTES - 32).unwrap();
    let start = (first_byte..first_byte + 64)
        .step_by(8)
        .find(|at| bytes[usize::try_from(*at).unwrap()..].starts_with(&payload_bytes.to_le_bytes()))
        .expect("the first frame");
    disk.corrupt(&segment, start + 40, 1).unwrap();
    assert_eq!(
        reopen(&disk).unwrap(),
        [0; 0],
        "torn in one write: none of it was acknowledged for sure"
    );
    // The mark of that opening stands in the place of the first frame's head; fill up to where the second one stood.
    process().block_on(async {
        let wal = place.open().await;
        let log = wal.group(1);
        let marks = 2 * 32;
        let len = usize::try_from(FRAME_BYTES - marks - 32 - 4 - 28).unwrap();
        append(&log, 2, 1..=1, len).await.unwrap();
    });
    process().block_on(async {
        let wal = place.open().await;
        assert_eq!(check_whole(&wal.group(1)), [id(2, 1)]);
    });
}

#[tokio::test]
async fn an_entry_that_rots_is_not_read() {
    let disk = SimDisk::new(SEED);
    let mut place = Place::simulated(&disk, TASKS);
    place.options.cache_bytes = 0;
    let wal = place.open().await;
    let log = created(&wal).await;
    append(&log, 1, 1..=10, LEN).await.unwrap();
    let name = &place.segments()[0];
    let used = used_bytes(&place, name);
    disk.corrupt(&place.path(name), used - 3, 1).unwrap();
    assert_eq!(log.read(1..10, usize::MAX).unwrap().len(), 9);
    let error = log.read(1..11, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.get_ref().unwrap().is::<Damage>());
}

#[test]
fn a_segment_of_others_is_not_removed() {
    let disk = SimDisk::new(SEED);
    let place = Place::simulated(&disk, TASKS);
    place.disk.create_dir_all(&place.dir).unwrap();
    let path = place.path("0000000000000001.seg");
    let file = place.disk.open(&path, true).unwrap();
    file.write_all_at(&[7; 20_000], 0).unwrap();
    assert!(matches!(reopen(&disk), Err(WalError::Damaged(_))));
    assert!(place.disk.exists(&path).unwrap());
}
