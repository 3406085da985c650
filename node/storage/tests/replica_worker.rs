//! The checkpoint worker beside readers and the applying thread, over every engine.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use spine_statemachine::store::OrderedRead;
use spine_storage::Driver;
use spine_storage::disk::SimDisk;
use spine_storage::engine::{Change, Engine, EngineError, EngineFactory, EngineWatch, MemoryFactory};
use spine_storage::replica::{
    ApplyPayload, CheckpointWorker, ReplicaError, ReplicaOptions, ReplicaStore, WorkerOptions,
};
use support::engines;
use support::workload::{contents, disk, expected, log_id, own_all_slots, payload, plain, put, record_key};

const SEED: u64 = 3;

struct Case {
    factory: Arc<dyn EngineFactory>,
    home: tempfile::TempDir,
}

impl Case {
    fn dir(&self) -> PathBuf {
        self.home.path().join("replica")
    }
    fn with(&self, options: ReplicaOptions) -> ReplicaStore {
        ReplicaStore::create(disk(), &self.dir(), Arc::clone(&self.factory), options).expect("create")
    }
}

fn error<T>(result: Result<T, ReplicaError>) -> ReplicaError {
    result.err().expect("an error")
}

fn worker(driver: Driver) -> CheckpointWorker {
    let on_failure =
        Arc::new(|_: &ReplicaStore, error: &ReplicaError| unreachable!("checkpoint failed: {error}"));
    CheckpointWorker::start(driver, WorkerOptions { on_failure }).expect("start")
}

async fn worker_checkpoints(driver: Driver) {
    for factory in engines() {
        let case = Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        };
        let store = case.with(ReplicaOptions {
            delta_checkpoint_bytes: 4 << 10,
            ..Default::default()
        });
        let worker = worker(driver);
        for index in 1..200 {
            store
                .apply(vec![(log_id(index), payload(SEED, index))])
                .expect("apply");
            if store.wants_checkpoint() {
                worker.request(&store);
                tokio::task::yield_now().await;
            }
        }
        let durable = worker
            .checkpoint(&store)
            .await
            .expect("checkpoint")
            .expect("something is durable");
        assert_eq!(durable, log_id(199));
        assert!(worker.watch().running().is_none());
        assert_eq!(contents(&store), expected(SEED, 199));
        worker.stop().await;
        worker.request(&store);
        assert!(matches!(
            error(worker.checkpoint(&store).await),
            ReplicaError::Stopped
        ));
    }
}

#[tokio::test]
async fn the_worker_checkpoints_on_its_thread() {
    worker_checkpoints(Driver::Threads).await;
}

#[tokio::test(start_paused = true)]
async fn the_worker_checkpoints_as_a_task() {
    worker_checkpoints(Driver::Tasks {
        sync_latency: Duration::from_millis(3),
    })
    .await;
}

/// Readers and the applying thread run beside the worker; every view is exact at its index.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn views_are_exact_while_checkpoints_run() {
    for factory in engines() {
        let case = Case {
            factory,
            home: tempfile::tempdir().expect("a temporary directory"),
        };
        let store = case.with(ReplicaOptions {
            delta_checkpoint_bytes: 2 << 10,
            ..Default::default()
        });
        store
            .apply(vec![(log_id(1), ApplyPayload::Entry(own_all_slots()))])
            .expect("apply");
        let worker = worker(Driver::Threads);
        let key = |n: u64| record_key(n, 0);
        // Each entry writes its index to every key: a view in which they differ is not exact.
        let entry = |index: u64| {
            plain(
                (0..40)
                    .map(|n| put(key(n), Bytes::copy_from_slice(&index.to_be_bytes())))
                    .collect(),
            )
        };
        let reader = {
            let store = store.clone();
            tokio::task::spawn_blocking(move || {
                let mut views = 0_u32;
                loop {
                    let (index, records) = store
                        .read(|view| {
                            (
                                view.applied().map(|id| id.index),
                                view.range(&[0x10], &[0x11], 100),
                            )
                        })
                        .expect("running");
                    let index = index.expect("applied");
                    let records = records.expect("range");
                    assert!(index == 1 || records.len() == 40);
                    assert!(
                        records
                            .iter()
                            .all(|(_, record)| record.value[..] == index.to_be_bytes()),
                        "at {index}"
                    );
                    views += 1;
                    if index == 400 {
                        return views;
                    }
                }
            })
        };
        for index in 2..=400 {
            store
                .apply(vec![(log_id(index), ApplyPayload::Entry(entry(index)))])
                .expect("apply");
            if store.wants_checkpoint() {
                worker.request(&store);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(reader.await.expect("every view was exact") > 1);
        worker.stop().await;
        assert!(store.durable_index().expect("checkpoints ran").index > 1);
    }
}

/// An engine whose reopening begins and ends when the test says so.
struct SlowToOpen {
    engine: Box<dyn Engine>,
    begins: Sender<()>,
    goes_on: Arc<Mutex<Receiver<()>>>,
}

impl Engine for SlowToOpen {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(key)
    }
    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        self.engine.range(start, end, limit)
    }
    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError> {
        self.engine.write_sorted(batch)
    }
    fn sync(&self) -> Result<(), EngineError> {
        self.engine.sync()
    }
    fn reopen(&self) -> Result<(), EngineError> {
        self.begins.send(()).expect("the test waits");
        self.goes_on.lock().recv().expect("the test goes on");
        self.engine.reopen()
    }
    fn memory_bytes(&self) -> u64 {
        1
    }
}

struct SlowFactory(MemoryFactory, Sender<()>, Arc<Mutex<Receiver<()>>>);

impl EngineFactory for SlowFactory {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(SlowToOpen {
            engine: self.0.open(dir)?,
            begins: self.1.clone(),
            goes_on: Arc::clone(&self.2),
        }))
    }
}

#[tokio::test]
async fn who_asks_first_does_not_meet_an_engine_that_is_opened_again() {
    let disk = SimDisk::new(SEED);
    let ((begins, begun), (go_on, goes_on)) = (channel(), channel());
    let factory = SlowFactory(
        MemoryFactory::new(disk.shared()),
        begins,
        Arc::new(Mutex::new(goes_on)),
    );
    let options = ReplicaOptions {
        engine_memory_bytes_max: 0,
        ..ReplicaOptions::default()
    };
    let dir = Path::new("/data/replica");
    let store = ReplicaStore::create(disk.shared(), dir, Arc::new(factory), options).expect("create");
    store.apply(vec![(log_id(1), payload(SEED, 1))]).expect("apply");
    store.engine_open().await;
    let checkpoint = {
        let store = store.clone();
        std::thread::spawn(move || store.checkpoint_now(&EngineWatch::default()))
    };
    // After each write of a checkpoint.
    let mut times = 0;
    while !checkpoint.is_finished() {
        if begun.recv_timeout(Duration::from_millis(10)).is_err() {
            continue;
        }
        times += 1;
        let mut open = Box::pin(store.engine_open());
        tokio::select! {
            biased;
            () = &mut open => unreachable!("it would have to wait"),
            () = std::future::ready(()) => {}
        }
        go_on.send(()).expect("the engine waits");
        open.await;
    }
    assert!(times > 0, "it was opened again");
    assert!(checkpoint.join().expect("no panic").is_ok());
}

#[tokio::test]
async fn a_checkpoint_without_room_changes_nothing_and_is_made_later() {
    let disk = SimDisk::new(SEED);
    let factory = Arc::new(MemoryFactory::new(disk.shared()));
    let dir = Path::new("/data/replica");
    let create = ReplicaStore::create(disk.shared(), dir, factory.clone(), ReplicaOptions::default());
    let store = create.expect("create");
    let watch = EngineWatch::default();
    for index in 1..100 {
        let entry = vec![(log_id(index), payload(SEED, index))];
        store.apply(entry).expect("apply");
    }
    disk.fill(Some(disk.used_bytes() + 100));
    for _ in 0..2 {
        assert!(matches!(error(store.checkpoint_now(&watch)), ReplicaError::Full));
    }
    assert_eq!(contents(&store), expected(SEED, 99), "reads go on");
    disk.fill(None);
    let durable = store.checkpoint_now(&watch).expect("there is room");
    assert_eq!(durable, Some(log_id(99)));
    drop(store);
    let opened = ReplicaStore::open(disk.shared(), dir, factory, ReplicaOptions::default());
    assert_eq!(contents(&opened.expect("open")), expected(SEED, 99));
}
