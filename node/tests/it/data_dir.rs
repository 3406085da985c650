//! A node starts only on a directory that is its own, whole and of a known format.

use std::fs;
use std::path::Path;

use spine_node::data_dir::{self, DataDirError, Identity, Lock, Membership};

use crate::plain_disk::PlainDisk;

const DISK: PlainDisk = PlainDisk { free_bytes: 5_000 };
const STORE: [u8; 16] = [7; 16];
const MEMBER: Membership = Membership {
    cluster_id: [9; 16],
    node_id: 3,
};

fn open(dir: &Path) -> Result<Identity, DataDirError> {
    data_dir::open(&DISK, dir, "sled", STORE)
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::take(dir.path()).unwrap();
    // A lock belongs to the open file, so a second one in the same process is refused as well.
    let error = Lock::take(dir.path()).unwrap_err().to_string();
    let pid = std::process::id();
    assert_eq!(
        error,
        format!(
            "the data directory {} is in use by process {pid}",
            dir.path().display()
        )
    );
    drop(lock);
    Lock::take(dir.path()).unwrap();
}

#[test]
fn a_new_directory_gets_an_identity_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/node");
    let _lock = Lock::take(&path).unwrap();
    let first = open(&path).unwrap();
    assert_eq!(
        first,
        Identity {
            store_uuid: STORE,
            engine: "sled".to_owned(),
            member: None,
            format: 1
        }
    );
    assert_eq!(data_dir::open(&DISK, &path, "sled", [8; 16]).unwrap(), first);
}

#[test]
fn a_member_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let joined = data_dir::join(&DISK, dir.path(), MEMBER).unwrap();
    assert_eq!(joined.member, Some(MEMBER));
    assert_eq!(data_dir::join(&DISK, dir.path(), MEMBER).unwrap(), joined);
    let other = Membership { node_id: 4, ..MEMBER };
    assert!(matches!(
        data_dir::join(&DISK, dir.path(), other),
        Err(DataDirError::Taken { .. })
    ));
    assert_eq!(open(dir.path()).unwrap(), joined);
}

#[test]
fn data_without_an_identity_is_never_started_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("wal")).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("holds \"wal\" but no identity"), "{error}");
    assert!(!dir.path().join("IDENTITY").exists());
    data_dir::join(&DISK, dir.path(), MEMBER).unwrap_err();
}

#[test]
fn a_crash_while_the_identity_is_written_leaves_a_usable_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("LOCK"), "1\n").unwrap();
    fs::write(dir.path().join("IDENTITY.tmp"), "SPI").unwrap();
    open(dir.path()).unwrap();
}

#[test]
fn every_changed_byte_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    data_dir::join(&DISK, dir.path(), MEMBER).unwrap();
    let path = dir.path().join("IDENTITY");
    let good = fs::read(&path).unwrap();
    fs::remove_file(dir.path().join("IDENTITY-COPY")).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(
            matches!(open(dir.path()), Err(DataDirError::Damaged { .. })),
            "byte {at}"
        );
    }
    for len in 0..good.len() {
        fs::write(&path, &good[..len]).unwrap();
        assert!(
            matches!(open(dir.path()), Err(DataDirError::Damaged { .. })),
            "cut to {len}"
        );
    }
}

#[test]
fn an_identity_is_mended_from_its_copy_and_the_reverse() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let member = data_dir::join(&DISK, dir.path(), MEMBER).unwrap();
    let names = ["IDENTITY", "IDENTITY-COPY"].map(|name| dir.path().join(name));
    let good = fs::read(&names[0]).unwrap();
    for name in &names {
        for spoilt in [None, Some(&good[1..]), Some(&[][..])] {
            match spoilt {
                None => fs::remove_file(name).unwrap(),
                Some(bytes) => fs::write(name, bytes).unwrap(),
            }
            assert_eq!(data_dir::read(&DISK, dir.path()).unwrap(), Some(member.clone()));
            assert_eq!(open(dir.path()).unwrap(), member);
            assert!(names.iter().all(|name| fs::read(name).unwrap() == good));
        }
    }
    names.iter().for_each(|name| fs::write(name, "SPINEID").unwrap());
    assert!(matches!(open(dir.path()), Err(DataDirError::Damaged { .. })));
}

#[test]
fn the_stored_bytes_are_frozen() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    data_dir::join(&DISK, dir.path(), MEMBER).unwrap();
    let hex: String = fs::read(dir.path().join("IDENTITY"))
        .unwrap()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        hex,
        concat!(
            // Magic, checksum, format 1, cluster id, node id 3, store id, engine.
            "5350494e45494400",
            "763455d177bf4000",
            "0801",
            "121009090909090909090909090909090909",
            "1803",
            "221007070707070707070707070707070707",
            "2a04736c6564"
        )
    );
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // Format 2, otherwise empty.
    let content = [0x08, 2];
    let bytes = [
        &b"SPINEID\0"[..],
        &blake3::hash(&content).as_bytes()[..8],
        &content,
    ]
    .concat();
    fs::write(dir.path().join("IDENTITY"), bytes).unwrap();
    let later = data_dir::open_within(&DISK, dir.path(), "", STORE, 2);
    assert!(
        matches!(later, Err(DataDirError::Damaged { .. })),
        "a later release reads on"
    );
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("has stored format 2 and this program reads 1 to 1; install a release that reads it"),
        "{error}"
    );
}

#[test]
fn the_engine_is_fixed() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let error = data_dir::open(&DISK, dir.path(), "fjall", STORE)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("storage.engine = \"sled\", the configuration says \"fjall\""),
        "{error}"
    );
}

#[test]
fn a_nearly_full_disk_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(data_dir::check_space(&DISK, dir.path(), 5_000).unwrap(), 5_000);
    let error = data_dir::check_space(&DISK, dir.path(), 5_001)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("only 5000 bytes are free in "), "{error}");
    assert!(error.ends_with("storage.min_free_bytes asks for 5001"), "{error}");
}
