//! What every engine must do, checked against a plain map.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use spine_storage::engine::{Change, Engine, EngineError, EngineFactory};
use support::engines;

fn each_engine(check: impl Fn(&dyn EngineFactory, &Path)) {
    for case in engines() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        check(case.as_ref(), &dir.path().join("engine"));
    }
}

fn key(number: u32) -> Bytes {
    format!("key-{number:06}").into_bytes().into()
}

fn put(number: u32, value: &[u8]) -> Change {
    (key(number), Some(Bytes::copy_from_slice(value)))
}

fn all(engine: &dyn Engine) -> BTreeMap<Bytes, Bytes> {
    engine
        .range(&[], &[], usize::MAX)
        .expect("range")
        .into_iter()
        .collect()
}

#[test]
fn an_empty_engine_has_nothing() {
    each_engine(|factory, dir| {
        let engine = factory.open(dir).expect("open");
        assert!(engine.get(b"absent").expect("get").is_none());
        assert!(engine.range(&[], &[], 10).expect("range").is_empty());
        engine.write_sorted(&[]).expect("an empty batch");
        engine.sync().expect("sync");
        engine.sync().expect("sync of nothing");
    });
}

#[test]
fn puts_replaces_and_removes() {
    each_engine(|factory, dir| {
        let engine = factory.open(dir).expect("open");
        engine
            .write_sorted(&[put(1, b"a"), put(2, b""), put(3, b"c")])
            .expect("write");
        engine
            .write_sorted(&[put(1, b"aa"), (key(3), None), (key(9), None)])
            .expect("write");
        let name = factory.name();
        assert_eq!(
            engine.get(&key(1)).expect("get").as_deref(),
            Some(&b"aa"[..]),
            "{name}"
        );
        assert_eq!(
            engine.get(&key(2)).expect("get").as_deref(),
            Some(&b""[..]),
            "an empty value is a value: {name}"
        );
        assert!(engine.get(&key(3)).expect("get").is_none(), "{name}");
        assert!(engine.get(&key(9)).expect("get").is_none(), "{name}");
    });
}

#[test]
fn ranges_are_ordered_half_open_and_limited() {
    each_engine(|factory, dir| {
        let engine = factory.open(dir).expect("open");
        let batch: Vec<Change> = (0..1000).map(|n| put(n * 2, &n.to_be_bytes())).collect();
        engine.write_sorted(&batch).expect("write");
        let numbers = |start: u32, end: u32, limit: usize| -> Vec<Bytes> {
            let pairs = engine.range(&key(start), &key(end), limit).expect("range");
            pairs.into_iter().map(|(key, _)| key).collect()
        };
        let name = factory.name();
        assert_eq!(numbers(10, 16, 10), [key(10), key(12), key(14)], "{name}");
        assert_eq!(numbers(11, 17, 10), [key(12), key(14), key(16)], "{name}");
        assert_eq!(numbers(10, 16, 2), [key(10), key(12)], "{name}");
        assert!(numbers(10, 16, 0).is_empty(), "{name}");
        assert!(numbers(16, 10, 5).is_empty(), "{name}");
        assert!(numbers(10, 10, 5).is_empty(), "{name}");
        assert_eq!(
            engine.range(&key(1996), &[], 9).expect("range").len(),
            2,
            "an empty end is no end: {name}"
        );
        assert_eq!(all(engine.as_ref()).len(), 1000, "{name}");
    });
}

#[test]
fn keys_are_ordered_as_bytes() {
    each_engine(|factory, dir| {
        let engine = factory.open(dir).expect("open");
        let keys: [&'static [u8]; 6] = [&[0], &[0, 0], &[0, 0xff], &[1], &[0xff], &[0xff; 280]];
        let batch: Vec<Change> = keys
            .iter()
            .map(|key| (Bytes::from_static(key), Some(Bytes::new())))
            .collect();
        engine.write_sorted(&batch).expect("write");
        let found: Vec<Bytes> = all(engine.as_ref()).into_keys().collect();
        assert_eq!(found, keys, "{}", factory.name());
    });
}

#[test]
fn what_was_synced_survives_reopening() {
    each_engine(|factory, dir| {
        let mut expected = BTreeMap::new();
        {
            let engine = factory.open(dir).expect("open");
            for round in 0..5_u32 {
                let batch: Vec<Change> = (round * 100..round * 100 + 300)
                    .map(|n| put(n, &[7; 200]))
                    .collect();
                engine.write_sorted(&batch).expect("write");
                expected.extend(batch.into_iter().map(|(key, value)| (key, value.expect("a put"))));
                engine.sync().expect("sync");
                engine.reopen().expect("reopen");
                assert_eq!(all(engine.as_ref()), expected, "{} after reopen", factory.name());
            }
        }
        let engine = factory.open(dir).expect("open again");
        assert_eq!(all(engine.as_ref()), expected, "{} after open", factory.name());
    });
}

#[test]
fn large_values_and_many_removals() {
    each_engine(|factory, dir| {
        let engine = factory.open(dir).expect("open");
        // Does not compress: each byte from a small generator.
        let mut seed = 1_u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        let large: Vec<u8> = (0..2 * 1024 * 1024).map(|_| noise()).collect();
        engine
            .write_sorted(&[put(1, &large), put(2, &large[1..]), put(3, b"small")])
            .expect("write");
        engine.sync().expect("sync");
        engine
            .write_sorted(&(10..3000).map(|n| put(n, b"gone")).collect::<Vec<_>>())
            .expect("write");
        engine.sync().expect("sync");
        engine
            .write_sorted(&(10..3000).map(|n| (key(n), None)).collect::<Vec<_>>())
            .expect("remove");
        engine.sync().expect("sync");
        engine.reopen().expect("reopen");
        let found = all(engine.as_ref());
        assert_eq!(found.len(), 3, "{}", factory.name());
        assert!(
            found[&key(1)] == large && found[&key(2)] == large[1..],
            "{}",
            factory.name()
        );
    });
}

/// Readers on other threads while one thread writes, syncs and reopens: they see old or new values, never none.
#[test]
fn readers_do_not_wait_for_the_writer() {
    each_engine(|factory, dir| {
        let engine: Arc<dyn Engine> = factory.open(dir).expect("open").into();
        let batch = |value: u8| (0..500).map(|n| put(n, &[value; 64])).collect::<Vec<_>>();
        engine.write_sorted(&batch(0)).expect("write");
        engine.sync().expect("sync");
        let readers: Vec<_> = (0..6)
            .map(|reader: u32| {
                let engine = Arc::clone(&engine);
                std::thread::spawn(move || {
                    for round in 0..150 {
                        let at = (round * 37 + reader * 11) % 500;
                        assert_eq!(engine.get(&key(at)).expect("get").expect("present").len(), 64);
                        let pairs = engine.range(&key(at), &[], 20).expect("range");
                        assert_eq!(pairs.len(), 20.min(500 - at as usize));
                    }
                })
            })
            .collect();
        for round in 1..12 {
            engine.write_sorted(&batch(round)).expect("write");
            engine.sync().expect("sync");
            if round % 4 == 0 {
                engine.reopen().expect("reopen");
            }
        }
        for reader in readers {
            reader.join().expect("a reader");
        }
        assert!(
            all(engine.as_ref()).values().all(|value| value[..] == [11; 64]),
            "{}",
            factory.name()
        );
    });
}

/// Memory is bounded by reopening only if the figure says when.
#[test]
fn sled_counts_what_it_wrote_since_it_opened() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let factory = spine_storage::engine::SledFactory::default();
    let engine = factory.open(&dir.path().join("engine")).expect("open");
    assert_eq!(engine.memory_bytes(), 0);
    let batch: Vec<Change> = (0..3000).map(|n| put(n, &[1; 90])).collect();
    engine.write_sorted(&batch).expect("write");
    assert!(engine.memory_bytes() >= 3000 * 100);
    engine.sync().expect("sync");
    engine.reopen().expect("reopen");
    assert_eq!(engine.memory_bytes(), 0);
    // One record in each of many leaves: each keeps its whole leaf.
    let spread: Vec<Change> = (0..3000).step_by(300).map(|n| put(n, &[2; 90])).collect();
    engine.write_sorted(&spread).expect("write");
    let held = engine.memory_bytes();
    assert!((10 * 4_000..=10 * 40_000).contains(&held), "{held}");
}

/// Flips one byte in every file in turn: the engine refuses to open or to read, or reads what was written.
#[test]
fn damage_is_refused_or_harmless() {
    each_engine(|factory, dir| {
        let batch: Vec<Change> = (0..2000)
            .map(|n| put(n, format!("value {n} ").repeat(8).as_bytes()))
            .collect();
        {
            let engine = factory.open(dir).expect("open");
            engine.write_sorted(&batch).expect("write");
            engine.sync().expect("sync");
        }
        let files = support::files(dir);
        let mut refused = 0;
        for (number, file) in files.iter().enumerate() {
            let mut content = std::fs::read(file).expect("read");
            if content.is_empty() {
                continue;
            }
            let copy = dir.with_extension(number.to_string());
            support::copy_tree(dir, &copy);
            let middle = content.len() / 2;
            content[middle] ^= 0x40;
            std::fs::write(copy.join(file.strip_prefix(dir).expect("below")), &content).expect("write");
            let same = |found: &[(Bytes, Bytes)]| {
                let expected = batch.iter().map(|(key, value)| (key, value.as_ref()));
                found.iter().map(|(key, value)| (key, Some(value))).eq(expected)
            };
            match factory
                .open(&copy)
                .and_then(|engine| engine.range(&[], &[], usize::MAX))
            {
                Ok(found) => refused += usize::from(!same(&found)),
                Err(EngineError::Damaged(_) | EngineError::Io(_)) => refused += 1,
            }
        }
        assert!(
            refused > 0,
            "{}: no flipped byte was noticed in {} files",
            factory.name(),
            files.len()
        );
    });
}

/// Only `sync` flushes sled: not a dropped iterator, not a read. Two threads that flush are how it was seen to hang.
#[test]
fn reading_sled_does_not_flush_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let factory = spine_storage::engine::SledFactory::default();
    let path = dir.path().join("engine");
    let engine = factory.open(&path).expect("open");
    engine.write_sorted(&[put(1, b"synced")]).expect("write");
    engine.sync().expect("sync");
    engine.write_sorted(&[put(2, b"not synced")]).expect("write");
    assert_eq!(all(engine.as_ref()).len(), 2);
    let copy = dir.path().join("copy");
    support::copy_tree(&path, &copy);
    let copied = factory.open(&copy).expect("open the copy");
    assert_eq!(all(copied.as_ref()).into_keys().collect::<Vec<_>>(), [key(1)]);
}
