//! An engine that is opened again keeps nobody waiting but who needs it. The node of these tests has one thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use spine_node::shard::host::Shard;
use spine_node::shard::proposals::txn_entry;
use spine_proto::storage::v1 as pb;
use spine_statemachine::key;
use spine_storage::engine::{Change, Engine, EngineError, EngineFactory, MemoryFactory};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::dispatch::{PATIENCE, call, get, put};
use crate::nodes::{Machine, begin, until};

/// Who waits for the engine's own lock waits so long.
const REOPENING: Duration = Duration::from_secs(3);

/// Orders one reopening.
#[derive(Default)]
struct Order {
    given: AtomicBool,
    begun: AtomicBool,
    may_end: AtomicBool,
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
        let began = std::time::Instant::now();
        self.order.begun.store(true, Ordering::SeqCst);
        while !self.order.may_end.load(Ordering::SeqCst) && began.elapsed() < REOPENING {
            std::thread::sleep(Duration::from_millis(1));
        }
        engine.reopen()
    }
    fn memory_bytes(&self) -> u64 {
        let is_ordered = self.order.given.swap(false, Ordering::SeqCst);
        if is_ordered { u64::MAX } else { 0 }
    }
}

struct SlowFactory(MemoryFactory, Arc<Order>);

impl EngineFactory for SlowFactory {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Slow {
            engine: RwLock::new(self.0.open(dir)?),
            order: Arc::clone(&self.1),
        }))
    }
}

/// Begins a cluster of one, and `work` while the engine of its shard is opened again: the thread goes on, and the work
/// when it may.
async fn beside_a_reopening<T: Send + 'static>(
    work: impl FnOnce(Arc<Machine>, Arc<Shard>) -> JoinHandle<T>,
) -> T {
    let order = Arc::<Order>::default();
    let mut machines = Machine::several(1);
    let memory = MemoryFactory::new(machines[0].disk.shared());
    machines[0].engine = Some(Arc::new(SlowFactory(memory, Arc::clone(&order))));
    begin(&mut machines).await;
    let machine = Arc::new(machines.remove(0));
    call(&machine, "records.commit", put(1), PATIENCE).await.unwrap();
    let shard = machine.inner().host.shard(1).unwrap();

    order.given.store(true, Ordering::SeqCst);
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
