//! What a replica's state must do over every engine.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use spine_proto::storage::v1;
use spine_statemachine::store::OrderedRead;
use spine_statemachine::{Applied, SubOutcome};
use spine_storage::engine::{EngineFactory, EngineWatch};
use spine_storage::replica::{
    ApplyPayload, CHECKPOINT_ENTRIES, Progress, ReplicaError, ReplicaOptions, ReplicaStore,
};
use support::workload::{
    apply_to, contents, create, disk, encode, expected, log_id, open, plain, put, record_key,
};
use support::{copy_tree, engines};

const SEED: u64 = 3;

struct Case {
    factory: Arc<dyn EngineFactory>,
    home: tempfile::TempDir,
}

impl Case {
    fn dir(&self) -> PathBuf {
        self.home.path().join("replica")
    }
    fn create(&self) -> ReplicaStore {
        create(&self.dir(), Arc::clone(&self.factory))
    }
    fn open(&self) -> Result<ReplicaStore, ReplicaError> {
        open(&self.dir(), Arc::clone(&self.factory))
    }
    fn with(&self, options: ReplicaOptions) -> ReplicaStore {
        ReplicaStore::create(disk(), &self.dir(), Arc::clone(&self.factory), options).expect("create")
    }
}

fn each_engine(check: impl Fn(&Case)) {
    for factory in engines() {
        check(&Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        });
    }
}

fn checkpoint(store: &ReplicaStore) -> Option<u64> {
    store
        .checkpoint_now(&EngineWatch::default())
        .expect("checkpoint")
        .map(|id| id.index)
}

fn error<T>(result: Result<T, ReplicaError>) -> ReplicaError {
    result.err().expect("an error")
}

#[test]
fn is_created_once_and_opened_by_its_owner() {
    each_engine(|case| {
        let options = |owner: &[u8]| ReplicaOptions {
            owner: owner.to_vec(),
            ..ReplicaOptions::default()
        };
        let again =
            |owner: &[u8]| ReplicaStore::open(disk(), &case.dir(), Arc::clone(&case.factory), options(owner));
        assert!(matches!(error(case.open()), ReplicaError::Missing));
        let store = case.with(options(b"me"));
        assert!(ReplicaStore::exists(disk().as_ref(), &case.dir()).expect("exists"));
        assert!(store.applied().is_none() && store.durable_index().is_none());
        drop(store);
        let twice = ReplicaStore::create(disk(), &case.dir(), Arc::clone(&case.factory), options(b"me"));
        assert!(matches!(error(twice), ReplicaError::Exists));
        assert!(matches!(error(again(b"other")), ReplicaError::Foreign { .. }));
        assert!(again(b"me").expect("open").applied().is_none());
        ReplicaStore::destroy(disk().as_ref(), &case.dir()).expect("destroy");
        assert!(matches!(error(case.open()), ReplicaError::Missing));
        assert!(!case.dir().exists());
    });
}

#[test]
fn what_is_applied_is_seen_at_once_at_its_index() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 2).expect("apply");
        let key = record_key(1, 0);
        let value = |text: &'static str| plain(vec![put(key.clone(), Bytes::from_static(text.as_bytes()))]);
        for (index, text) in [(3, "one"), (4, "two")] {
            let applied = store
                .apply(vec![(log_id(index), ApplyPayload::Entry(value(text)))])
                .expect("apply");
            let committed = Applied::Txn(vec![SubOutcome::Committed { revision: index }]);
            assert!(applied == [committed]);
            checkpoint(&store);
        }
        let seen = store
            .read(|view| (view.get(&key).expect("get"), view.applied()))
            .expect("running");
        let record = seen.0.expect("present");
        assert_eq!(
            (&record.value[..], record.revision, seen.1),
            (&b"two"[..], 4, Some(log_id(4)))
        );
    });
}

#[test]
fn entries_must_follow_each_other() {
    each_engine(|case| {
        let store = case.create();
        let blank = |index| (log_id(index), ApplyPayload::Blank);
        assert!(matches!(
            error(store.apply(vec![blank(2)])),
            ReplicaError::OutOfOrder { applied: None, .. }
        ));
        store
            .apply(vec![blank(0), blank(1)])
            .expect("a first entry has index 0 or 1");
        let gap = store.apply(vec![blank(2), blank(4)]);
        assert!(matches!(error(gap), ReplicaError::OutOfOrder { .. }));
        assert_eq!(
            store.applied(),
            Some(log_id(1)),
            "nothing of the batch was applied"
        );
        assert!(matches!(
            error(store.apply(vec![blank(1)])),
            ReplicaError::OutOfOrder { .. }
        ));
    });
}

#[test]
fn a_checkpoint_survives_and_the_rest_is_replayed() {
    each_engine(|case| {
        let store = case.create();
        assert_eq!(checkpoint(&store), None, "nothing to do");
        for upto in [40, 41, 90] {
            apply_to(&store, SEED, upto).expect("apply");
            assert_eq!(checkpoint(&store), Some(upto));
            assert_eq!(contents(&store), expected(SEED, upto));
            assert_eq!(store.delta_bytes(), 0);
        }
        apply_to(&store, SEED, 130).expect("apply");
        drop(store);
        let store = case.open().expect("open");
        assert_eq!(store.durable_index(), Some(log_id(90)));
        assert_eq!(contents(&store), expected(SEED, 90));
        assert_eq!(store.verify_scan().expect("scan").digest, store.status().digest);
        apply_to(&store, SEED, 130).expect("replay");
        assert_eq!(contents(&store), expected(SEED, 130), "{}", case.factory.name());
    });
}

/// Before, between and after each step of a checkpoint reads are the same, and a crash there loses nothing durable.
#[test]
fn a_checkpoint_may_stop_after_any_step() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 60).expect("apply");
        checkpoint(&store);
        for steps in 0..7_usize {
            let copy = case.home.path().join(format!("after-{steps}"));
            let store = {
                copy_tree(&case.dir(), &copy);
                open(&copy, Arc::clone(&case.factory)).expect("open")
            };
            apply_to(&store, SEED, 120).expect("apply");
            let mut checkpoint = store.begin_checkpoint().expect("begin").expect("there is work");
            let mut done = false;
            for _ in 0..steps {
                done = matches!(
                    checkpoint.step(&EngineWatch::default()).expect("step"),
                    Progress::Done(_)
                );
                assert_eq!(
                    contents(&store),
                    expected(SEED, 120),
                    "{} step {steps}",
                    case.factory.name()
                );
            }
            assert_eq!(done, steps >= 5, "the steps of a small checkpoint");
            drop(checkpoint);
            drop(store);
            let store = open(&copy, Arc::clone(&case.factory)).expect("open");
            let durable = if steps == 0 { 60 } else { 120 };
            assert_eq!(
                store.durable_index(),
                Some(log_id(durable)),
                "{} step {steps}",
                case.factory.name()
            );
            store.verify_scan().expect("scan");
            assert_eq!(contents(&store), expected(SEED, durable));
        }
    });
}

#[test]
fn a_dropped_checkpoint_is_begun_again() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 50).expect("apply");
        let mut first = store.begin_checkpoint().expect("begin").expect("there is work");
        assert!(
            store.begin_checkpoint().expect("begin").is_none(),
            "one at a time"
        );
        first.step(&EngineWatch::default()).expect("step");
        drop(first);
        apply_to(&store, SEED, 80).expect("apply");
        assert_eq!(checkpoint(&store), Some(50), "the frozen delta comes first");
        assert_eq!(checkpoint(&store), Some(80));
        assert_eq!(contents(&store), expected(SEED, 80));
    });
}

#[test]
fn a_small_delta_asks_for_a_checkpoint_after_many_entries() {
    let case = Case {
        factory: engines().remove(0),
        home: tempfile::tempdir().expect("a temporary directory"),
    };
    let store = case.with(ReplicaOptions::default());
    let blank = |index| (log_id(index), ApplyPayload::Blank);
    let most = CHECKPOINT_ENTRIES - 1;
    store.apply((1..=most).map(blank).collect()).expect("apply");
    assert!(!store.wants_checkpoint());
    store.apply(vec![blank(CHECKPOINT_ENTRIES)]).expect("apply");
    assert!(store.wants_checkpoint());
    checkpoint(&store);
    assert!(!store.wants_checkpoint());
}

#[tokio::test]
async fn a_full_delta_refuses_until_a_checkpoint_made_room() {
    for factory in engines() {
        let case = Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        };
        let options = ReplicaOptions {
            delta_checkpoint_bytes: 8 << 10,
            delta_bytes_max: 32 << 10,
            ..Default::default()
        };
        let store = case.with(options);
        assert!(!store.wants_checkpoint());
        let mut index = 0;
        let full = loop {
            match apply_to(&store, SEED, index + 1) {
                Ok(()) => index += 1,
                Err(full) => break full,
            }
            // The size is staggered between three quarters and the whole.
            let (wants, bytes) = (store.wants_checkpoint(), store.delta_bytes());
            assert!(
                if wants { bytes >= 6 << 10 } else { bytes < 8 << 10 },
                "{wants} at {bytes}"
            );
        };
        assert!(
            matches!(full, ReplicaError::DeltaFull { limit: 32_768, .. }),
            "{full}"
        );
        assert!(store.wants_checkpoint() && store.must_wait());
        assert_eq!(store.applied(), Some(log_id(index)), "nothing of it was applied");
        let waiting = store.clone();
        let waiting = tokio::spawn(async move { waiting.room().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        checkpoint(&store);
        waiting.await.expect("there is room");
        apply_to(&store, SEED, index + 5).expect("apply");
        assert_eq!(contents(&store), expected(SEED, index + 5));
    }
}

#[test]
fn a_wrong_digest_is_reported_and_serves_on() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 30).expect("apply");
        let digest = store.digest_at(30).expect("recent");
        let verify = |index: u64, digest: &[u8]| {
            let verify = v1::Verify {
                index,
                digest: Bytes::copy_from_slice(digest),
            };
            ApplyPayload::Entry(encode(v1::entry::Kind::Verify(verify)))
        };
        store
            .apply(vec![(log_id(31), verify(30, &digest.to_bytes()))])
            .expect("apply");
        assert_eq!(store.status().verdict.equal_at, Some(30));
        assert!(store.status().verdict.mismatch.is_none());
        store
            .apply(vec![(log_id(32), verify(29, &[7; 16]))])
            .expect("apply");
        let mismatch = store.status().verdict.mismatch.expect("reported");
        assert_eq!(
            (mismatch.index, mismatch.ours),
            (29, store.digest_at(29).expect("recent"))
        );
        apply_to(&store, SEED, 40).expect("it goes on");
    });
}

#[test]
fn an_unknown_entry_halts_and_nothing_is_served_or_checkpointed() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 20).expect("apply");
        checkpoint(&store);
        let unknown = ApplyPayload::Entry(Bytes::from_static(&[0xfa, 0x7f, 0]));
        assert!(matches!(
            error(store.apply(vec![(log_id(21), unknown)])),
            ReplicaError::Halted(_)
        ));
        assert!(matches!(error(store.read(|_| ())), ReplicaError::Halted(_)));
        assert!(matches!(
            error(apply_to(&store, SEED, 22)),
            ReplicaError::Halted(_)
        ));
        assert!(matches!(error(store.begin_checkpoint()), ReplicaError::Halted(_)));
        assert!(store.status().halted.expect("why").contains("21"));
        drop(store);
        assert_eq!(
            contents(&case.open().expect("a newer release opens it")),
            expected(SEED, 20)
        );
    });
}

type Damage<'a> = (&'static str, &'a dyn Fn(&Path));

/// Each file of the replica's own is damaged or taken away in turn, and an older engine is put in its place.
#[test]
fn damage_is_a_typed_error_and_the_replica_can_be_rebuilt() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 30).expect("apply");
        checkpoint(&store);
        drop(store);
        let older = case.home.path().join("older");
        copy_tree(&case.dir(), &older);
        let store = case.open().expect("open");
        apply_to(&store, SEED, 60).expect("apply");
        // Stops with a complete effects file.
        let mut begun = store.begin_checkpoint().expect("begin").expect("there is work");
        begun.step(&EngineWatch::default()).expect("step");
        drop(begun);
        drop(store);

        let generation = Path::new("generation-00000001");
        let flip = |dir: &Path, file: &str| {
            let path = dir.join(generation).join(file);
            let mut content = std::fs::read(&path).expect("read");
            let middle = content.len() / 2;
            content[middle] ^= 1;
            std::fs::write(&path, content).expect("write");
        };
        let damages: [Damage<'_>; 6] = [
            ("a flipped mark", &|dir| flip(dir, "CHECKPOINT")),
            ("no mark", &|dir| {
                std::fs::remove_file(dir.join(generation).join("CHECKPOINT")).expect("remove");
            }),
            ("a flipped effects file", &|dir| flip(dir, "effects")),
            ("a flipped pointer", &|dir| {
                std::fs::write(dir.join("CURRENT"), b"nonsense").expect("write");
            }),
            ("no generation", &|dir| {
                std::fs::remove_dir_all(dir.join(generation)).expect("remove");
            }),
            ("no engine files", &|dir| {
                std::fs::remove_dir_all(dir.join(generation).join("engine")).expect("remove");
            }),
        ];
        for (name, damage) in damages {
            let dir = case.home.path().join(name);
            copy_tree(&case.dir(), &dir);
            damage(&dir);
            let refused = error(open(&dir, Arc::clone(&case.factory)));
            assert!(
                matches!(refused, ReplicaError::Damaged(_)),
                "{}: {name}: {refused}",
                case.factory.name()
            );
            ReplicaStore::destroy(disk().as_ref(), &dir).expect("destroy");
            let rebuilt = create(&dir, Arc::clone(&case.factory));
            apply_to(&rebuilt, SEED, 10).expect("apply");
        }
        // An engine that lost its newest synced writes without a word: sled reads a damaged log as a torn one.
        let store = case.open().expect("the undamaged one");
        assert_eq!(checkpoint(&store), Some(60));
        drop(store);
        let engine = case.dir().join(generation).join("engine");
        std::fs::remove_dir_all(&engine).expect("remove");
        copy_tree(&older.join(generation).join("engine"), &engine);
        let refused = error(case.open());
        assert!(
            matches!(refused, ReplicaError::Damaged(_)),
            "{}: {refused}",
            case.factory.name()
        );
    });
}

#[test]
fn a_scan_notices_a_record_that_is_not_what_it_was() {
    each_engine(|case| {
        let store = case.create();
        apply_to(&store, SEED, 60).expect("apply");
        checkpoint(&store);
        let report = store.verify_scan().expect("scan");
        assert_eq!(
            (report.index, report.record_count),
            (Some(60), store.status().record_count)
        );
        drop(store);
        let engine = case
            .factory
            .open(&case.dir().join("generation-00000001/engine"))
            .expect("open the engine");
        let (key, value) = engine.range(&[0x10], &[0x11], 1).expect("range").remove(0);
        let mut value = value.to_vec();
        *value.last_mut().expect("not empty") ^= 1;
        engine.write_sorted(&[(key, Some(value.into()))]).expect("write");
        engine.sync().expect("sync");
        drop(engine);
        let store = case.open().expect("opening does not read every record");
        assert!(
            matches!(error(store.verify_scan()), ReplicaError::Damaged(_)),
            "{}",
            case.factory.name()
        );
    });
}

/// The engine is reopened at its memory limit, in the middle of reads and checkpoints.
#[test]
fn memory_is_given_back_by_reopening() {
    each_engine(|case| {
        let store = case.with(ReplicaOptions {
            engine_memory_bytes_max: 4 << 10,
            ..Default::default()
        });
        for upto in 1..12 {
            apply_to(&store, SEED, upto * 20).expect("apply");
            checkpoint(&store);
            assert!(case.factory.name() != "sled" || store.status().engine_memory_bytes <= 4 << 10);
        }
        assert_eq!(contents(&store), expected(SEED, 220));
    });
}
