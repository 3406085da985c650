//! An engine that is opened, anew or again, keeps nobody waiting but who needs it. The node of these tests has one thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use spine_node::repair::Fault;
use spine_node::shard::host::Shard;
use spine_node::shard::proposals::txn_entry;
use spine_proto::storage::v1 as pb;
use spine_statemachine::key;
use spine_storage::engine::{Change, Engine, EngineError, EngineFactory, MemoryFactory};
use spine_storage::replica::ReplicaStore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::dispatch::{PATIENCE, call, get, put};
use crate::nodes::{Machine, begin, until};

/// Who waits for the engine's own lock waits so long.
const REOPENING: Duration = Duration::from_secs(3);

/// Orders one opening.
#[derive(Default)]
struct Order {
    /// Of an engine that is open.
    again: AtomicBool,
    /// Of the next one that is opened.
    anew: AtomicBool,
    begun: AtomicBool,
    may_end: AtomicBool,
}

impl Order {
    fn take_long(&self) {
        let began = std::time::Instant::now();
        self.begun.store(true, Ordering::SeqCst);
        while !self.may_end.load(Ordering::SeqCst) && began.elapsed() < REOPENING {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Slow {
    engine: RwLock<Box<dyn Engine>>,
    order: Arc<Order>,
}

impl Engine for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.read().get(key)
    }
    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        self.engine.read().range(start, end, limit)
    }
    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError> {
        self.engine.read().write_sorted(batch)
    }
    fn sync(&self) -> Result<(), EngineError> {
        self.engine.read().sync()
    }
    fn reopen(&self) -> Result<(), EngineError> {
        let engine = self.engine.write();
        self.order.take_long();
        engine.reopen()
    }
    fn memory_bytes(&self) -> u64 {
        let is_ordered = self.order.again.swap(false, Ordering::SeqCst);
        if is_ordered { u64::MAX } else { 0 }
    }
}

struct SlowFactory(MemoryFactory, Arc<Order>);

impl EngineFactory for SlowFactory {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        if self.1.anew.swap(false, Ordering::SeqCst) {
            self.1.take_long();
        }
        Ok(Box::new(Slow {
            engine: RwLock::new(self.0.open(dir)?),
            order: Arc::clone(&self.1),
        }))
    }
}

/// A cluster of one whose engines take orders.
async fn one(order: &Arc<Order>) -> Machine {
    let mut machines = Machine::several(1);
    let memory = MemoryFactory::new(machines[0].disk.shared());
    machines[0].engine = Some(Arc::new(SlowFactory(memory, Arc::clone(order))));
    begin(&mut machines).await;
    machines.remove(0)
}

/// Begins a cluster of one, and `work` while the engine of its shard is opened again: the thread goes on, and the work
/// when it may.
async fn beside_a_reopening<T: Send + 'static>(
    work: impl FnOnce(Arc<Machine>, Arc<Shard>) -> JoinHandle<T>,
) -> T {
    let order = Arc::<Order>::default();
    let machine = Arc::new(one(&order).await);
    call(&machine, "records.commit", put(1), PATIENCE).await.unwrap();
    let shard = machine.inner().host.shard(1).unwrap();

    order.again.store(true, Ordering::SeqCst);
    let checkpoints = machine.inner().running().unwrap().checkpoints.clone();
    checkpoints.request(shard.group.store());
    until("it is opened again", || order.begun.load(Ordering::SeqCst)).await;
    let began = Instant::now();
    let work = work(Arc::clone(&machine), shard);
    sleep(REOPENING / 10).await;
    assert!(began.elapsed() < REOPENING / 2, "the thread was kept waiting");
    assert!(!work.is_finished(), "it needs the engine");
    order.may_end.store(true, Ordering::SeqCst);
    work.await.unwrap()
}

#[tokio::test]
async fn a_read_waits_for_the_engine_and_the_thread_does_not() {
    let read = beside_a_reopening(|machine, _| {
        tokio::spawn(async move { call(&machine, "records.get", get(), PATIENCE).await })
    });
    assert!(read.await.is_ok());
}

#[tokio::test]
async fn a_write_waits_for_the_engine_and_the_thread_does_not() {
    let write = beside_a_reopening(|machine, _| {
        tokio::spawn(async move { call(&machine, "records.commit", put(2), PATIENCE).await })
    });
    assert!(write.await.is_ok());
}

/// As on a follower, where nothing was planned.
#[tokio::test]
async fn apply_waits_for_the_engine_and_the_thread_does_not() {
    let applied = beside_a_reopening(|_, shard| {
        let guard = pb::Guard {
            kind: Some(pb::guard::Kind::Absent(pb::Absent {
                key: key::slots_owned(),
            })),
        };
        let sub = pb::SubTxn {
            guards: vec![guard],
            ..pb::SubTxn::default()
        };
        tokio::spawn(async move { shard.group.propose(txn_entry(vec![sub], 0)).await.is_ok() })
    });
    assert!(applied.await);
}

/// Opens a replica whose engine takes long, as the one thing that the one thread of tasks has to do. Another task goes on.
async fn beside_an_opening(
    order: &Order,
    open: impl FnOnce() -> Result<ReplicaStore, Fault> + Send + 'static,
) -> ReplicaStore {
    order.begun.store(false, Ordering::SeqCst);
    order.may_end.store(false, Ordering::SeqCst);
    order.anew.store(true, Ordering::SeqCst);
    let opening = tokio::spawn(async move { open() });
    until("its engine is opened", || order.begun.load(Ordering::SeqCst)).await;
    let beside = timeout(REOPENING / 2, tokio::spawn(async {})).await;
    assert!(beside.is_ok(), "the thread was kept waiting");
    assert!(!opening.is_finished(), "it needs the engine");
    order.may_end.store(true, Ordering::SeqCst);
    opening.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replica_that_is_begun_anew_or_opened_again_keeps_no_other_task_waiting() {
    let order = Arc::<Order>::default();
    let mut machine = one(&order).await;
    let running = machine.inner().running().unwrap();
    let mut another = running.plan().shards[0].clone();
    another.members[0].replica_id += 1_000;
    running.opener.log(&another).create().await.unwrap();

    let (opener, shard) = (Arc::clone(&running.opener), another.clone());
    let store = beside_an_opening(&order, move || opener.begin_anew(&shard)).await;
    let ended = store.end();
    drop(store);
    until("nothing has it open", || ended.is_reached()).await;
    let opener = Arc::clone(&running.opener);
    drop(beside_an_opening(&order, move || opener.open_level(&another)).await);
    drop(running);
    machine.stop().await;
}
