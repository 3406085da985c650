//! What a power cut leaves, without a mount.

use std::ffi::OsStr;

use spine_faultdisk::{Cut, Kind, Store};

const ROOT: u64 = 1;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// A file with this content; the sync of its content and of its name are the caller's.
fn write(store: &mut Store, file: &str, content: &[u8]) -> u64 {
    let ino = store.create(ROOT, name(file)).unwrap();
    store.write(store.life(), ino, 0, content).unwrap();
    ino
}

fn cut(store: &mut Store) {
    store.power_cut(Cut::Clean);
    store.power_on();
}

fn content(store: &mut Store, file: &str) -> Option<Vec<u8>> {
    let ino = store.lookup(ROOT, name(file)).ok()?;
    store.open(ino).unwrap();
    Some(store.read(store.life(), ino, 0, 1 << 20).unwrap())
}

fn sync_root(store: &mut Store) {
    store.sync_dir(store.life(), ROOT).unwrap();
}

#[test]
fn what_was_synced_is_there_and_what_was_not_is_gone() {
    let mut store = Store::default();
    let kept = write(&mut store, "kept", b"one");
    write(&mut store, "content-only-in-cache", b"two");
    let nameless = write(&mut store, "name-only-in-cache", b"three");
    store.sync(store.life(), kept).unwrap();
    sync_root(&mut store);
    store.remove_file(ROOT, name("name-only-in-cache")).unwrap();
    sync_root(&mut store);
    let again = write(&mut store, "name-only-in-cache", b"four");
    store.sync(store.life(), again).unwrap();
    store.write(store.life(), kept, 3, b" more").unwrap();
    assert_eq!(content(&mut store, "kept").unwrap(), b"one more");
    cut(&mut store);
    assert_eq!(content(&mut store, "kept").unwrap(), b"one");
    assert_eq!(content(&mut store, "content-only-in-cache").unwrap(), b"");
    assert_eq!(content(&mut store, "name-only-in-cache"), None);
    assert_ne!(nameless, again);
}

#[test]
fn a_rename_and_a_removal_need_a_sync_of_the_directory() {
    let mut store = Store::default();
    for file in ["old", "removed"] {
        let ino = write(&mut store, file, file.as_bytes());
        store.sync(store.life(), ino).unwrap();
    }
    sync_root(&mut store);
    let new = write(&mut store, "tmp", b"new");
    store.sync(store.life(), new).unwrap();
    store.rename((ROOT, name("tmp")), (ROOT, name("old"))).unwrap();
    store.remove_file(ROOT, name("removed")).unwrap();
    assert_eq!(content(&mut store, "old").unwrap(), b"new");
    cut(&mut store);
    assert_eq!(content(&mut store, "old").unwrap(), b"old");
    assert_eq!(content(&mut store, "tmp"), None);
    assert_eq!(content(&mut store, "removed").unwrap(), b"removed");

    store.remove_file(ROOT, name("removed")).unwrap();
    store.rename((ROOT, name("old")), (ROOT, name("moved"))).unwrap();
    sync_root(&mut store);
    cut(&mut store);
    assert_eq!(content(&mut store, "old"), None);
    assert_eq!(content(&mut store, "removed"), None);
    assert_eq!(content(&mut store, "moved").unwrap(), b"old");
}

#[test]
fn a_directory_is_a_name_in_its_parent() {
    let mut store = Store::default();
    let dir = store.make_dir(ROOT, name("dir")).unwrap();
    let file = store.create(dir, name("file")).unwrap();
    store.sync(store.life(), file).unwrap();
    store.sync_dir(store.life(), dir).unwrap();
    cut(&mut store);
    assert!(store.lookup(ROOT, name("dir")).is_err());

    let dir = store.make_dir(ROOT, name("dir")).unwrap();
    store.create(dir, name("file")).unwrap();
    store.create(dir, name("lost")).unwrap();
    store.remove_file(dir, name("lost")).unwrap();
    store.sync_dir(store.life(), dir).unwrap();
    store.create(dir, name("lost")).unwrap();
    sync_root(&mut store);
    cut(&mut store);
    assert_eq!(store.lookup(ROOT, name("dir")), Ok(dir));
    let names = store.entries(dir).unwrap().1;
    assert_eq!(names.len(), 1);
    assert_eq!(store.kind(names[0].1), Ok(Kind::File(0)));
    assert!(store.remove_dir(ROOT, name("dir")).is_err());
}

#[test]
fn a_cut_to_shorter_and_longer_is_undone() {
    let mut store = Store::default();
    let ino = write(&mut store, "file", &[7; 10_000]);
    store.sync(store.life(), ino).unwrap();
    sync_root(&mut store);
    store.set_len(ino, 100).unwrap();
    store.set_len(ino, 9_000).unwrap();
    let seen = content(&mut store, "file").unwrap();
    assert_eq!((seen.len(), seen[99], seen[100]), (9_000, 7, 0));
    cut(&mut store);
    assert_eq!(content(&mut store, "file").unwrap(), vec![7; 10_000]);
}

/// By seed: whole sectors of the last write, and once in a while a torn one; never a byte that was not written.
#[test]
fn a_torn_cut_keeps_sectors_by_luck_and_synced_bytes_always() {
    let mut partial = 0;
    let mut torn = 0;
    for seed in 0..400 {
        let mut store = Store::default();
        let ino = write(&mut store, "file", &[1; 4096]);
        store.sync(store.life(), ino).unwrap();
        sync_root(&mut store);
        store.write(store.life(), ino, 4096, &[2; 3000]).unwrap();
        store.power_cut(Cut::Torn(seed));
        store.power_on();
        let left = content(&mut store, "file").unwrap();
        assert_eq!(left[..4096], [1; 4096]);
        let new = &left[4096..];
        assert!(new.len() <= 3000 && new.iter().all(|byte| [0, 2].contains(byte)));
        partial += u32::from(new.contains(&2) && (new.len() < 3000 || new.contains(&0)));
        torn += u32::from(new.iter().filter(|byte| **byte == 2).count() % 512 != 0 && new.len() < 3000);
    }
    assert!(partial > 50, "{partial}");
    assert!(torn > 10, "{torn}");
}

#[test]
fn a_torn_cut_keeps_names_by_luck() {
    let mut kept = 0;
    for seed in 0..100 {
        let mut store = Store::default();
        let ino = write(&mut store, "tmp", b"x");
        store.sync(store.life(), ino).unwrap();
        store.rename((ROOT, name("tmp")), (ROOT, name("file"))).unwrap();
        store.power_cut(Cut::Torn(seed));
        store.power_on();
        if let Some(left) = content(&mut store, "file") {
            assert_eq!(left, b"x");
            kept += 1;
        }
    }
    assert!((10..90).contains(&kept), "{kept}");
}

#[test]
fn handles_of_an_earlier_life_are_dead_and_nothing_works_without_power() {
    let mut store = Store::default();
    let ino = write(&mut store, "file", b"x");
    sync_root(&mut store);
    let life = store.life();
    store.power_cut(Cut::Clean);
    assert!(store.create(ROOT, name("other")).is_err());
    assert!(store.lookup(ROOT, name("file")).is_err());
    store.power_on();
    assert!(store.write(life, ino, 0, b"y").is_err());
    assert!(store.sync(life, ino).is_err());
    assert!(store.write(store.life(), ino, 0, b"y").is_ok());
}

#[test]
fn a_planned_cut_strikes_in_its_change() {
    let mut store = Store::default();
    let ino = write(&mut store, "file", b"x");
    store.plan_cut(2, Cut::Clean);
    store.sync(store.life(), ino).unwrap();
    sync_root(&mut store);
    assert!(store.write(store.life(), ino, 0, b"y").is_err());
    assert!(!store.counters().on);
    store.power_on();
    assert_eq!(content(&mut store, "file").unwrap(), b"x");
    assert_eq!(store.counters().power_cuts, 1);
}

#[test]
fn a_full_disk_takes_what_needs_no_room() {
    let mut store = Store::default();
    let ino = write(&mut store, "file", &[1; 8192]);
    store.limit_free(Some(4096));
    assert_eq!(store.free_bytes(), 4096);
    let life = store.life();
    assert!(store.write(life, ino, 100, &[2; 8000]).is_ok());
    assert!(store.write(life, ino, 8192, &[2; 4096]).is_ok());
    assert_eq!(
        store.write(life, ino, 12_288, b"x"),
        Err(rustix::io::Errno::NOSPC)
    );
    assert!(store.allocate(life, ino, 12_288, 1, true).is_err());
    assert!(store.sync(life, ino).is_ok());
    store.limit_free(None);
    assert!(store.write(life, ino, 12_288, b"x").is_ok());
}

#[test]
fn an_unlinked_file_lives_as_long_as_its_handle() {
    let mut store = Store::default();
    let ino = write(&mut store, "file", b"x");
    store.remove_file(ROOT, name("file")).unwrap();
    sync_root(&mut store);
    assert_eq!(store.read(store.life(), ino, 0, 10).unwrap(), b"x");
    store.close(store.life(), ino);
    assert!(store.kind(ino).is_err());
}
