//! Any sequence of entries, checkpoints, crashes and installs leads to what the reference model says.

mod support;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof};
use proptest::test_runner::{TestCaseError, TestRunner};
use spine_storage::disk::RealDisk;
use spine_storage::engine::{EngineFactory, EngineWatch, FjallFactory, MemoryFactory, SledFactory};
use spine_storage::replica::{ReplicaError, ReplicaStore};
use spine_storage::snapshot::{SnapshotInstaller, SnapshotSource};
use support::workload::{Model, apply_to, contents, create, log_id, open};

#[derive(Clone, Debug)]
enum Op {
    /// So many entries.
    Apply(u64),
    Checkpoint,
    /// So many steps of a checkpoint; the rest later or never.
    Steps(usize),
    /// The process ends and starts; what is not durable is replayed.
    Crash,
    /// The state travels through a snapshot into its own place.
    Install,
    /// Count and digest of the engine against the state.
    Scan,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..30).prop_map(Op::Apply),
        2 => Just(Op::Checkpoint),
        2 => (1_usize..6).prop_map(Op::Steps),
        2 => Just(Op::Crash),
        1 => Just(Op::Install),
        1 => Just(Op::Scan),
    ]
}

fn install_into_itself(store: &ReplicaStore) {
    checkpoint_all(store);
    let mut source = SnapshotSource::begin(store, 0).expect("begin");
    let mut installer = SnapshotInstaller::begin(store, source.header()).expect("begin");
    while let Some(chunk) = source.next_chunk().expect("chunk") {
        installer.chunk(chunk).expect("chunk");
    }
    let installed = installer.finish(&source.end().expect("end")).expect("finish");
    store.install(installed).expect("install");
}

/// Twice where an earlier checkpoint was left.
fn checkpoint_all(store: &ReplicaStore) {
    while store.durable_index() != store.applied() {
        store.checkpoint_now(&EngineWatch::default()).expect("checkpoint");
    }
}

fn run(factory: &Arc<dyn EngineFactory>, home: &Path, seed: u64, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let dir = home.join("replica");
    let mut store = create(&dir, Arc::clone(factory));
    let mut model = Model::default();
    let mut durable = 0;
    for op in ops {
        match op {
            Op::Apply(entries) => {
                model.apply_to(seed, model.index() + entries);
                apply_to(&store, seed, model.index()).expect("apply");
            }
            Op::Checkpoint => checkpoint_all(&store),
            Op::Steps(steps) => {
                if let Some(mut checkpoint) = store.begin_checkpoint().expect("begin") {
                    for _ in 0..steps {
                        checkpoint.step(&EngineWatch::default()).expect("step");
                    }
                }
            }
            Op::Crash => {
                drop(store);
                store = open(&dir, Arc::clone(factory)).expect("open");
                apply_to(&store, seed, model.index()).expect("replay");
            }
            Op::Install => install_into_itself(&store),
            Op::Scan => match store.verify_scan() {
                // A checkpoint was left in the middle.
                Ok(_) | Err(ReplicaError::Busy) => {}
                Err(error) => unreachable!("{error}"),
            },
        }
        proptest::prop_assert_eq!(contents(&store), model.contents());
        proptest::prop_assert_eq!(store.status().digest, model.digest());
        let now = store.durable_index().map_or(0, |id| id.index);
        proptest::prop_assert!(now >= durable, "durable went back from {} to {}", durable, now);
        durable = now;
    }
    checkpoint_all(&store);
    let scan = store.verify_scan().expect("the engine holds the state");
    proptest::prop_assert_eq!(scan.digest, model.digest());
    proptest::prop_assert_eq!(
        store.durable_index(),
        (model.index() > 0).then(|| log_id(model.index()))
    );
    Ok(())
}

fn property(factory: &Arc<dyn EngineFactory>, cases: u32) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let runs = (0_u64..1000, proptest::collection::vec(op(), 1..16));
    let result = TestRunner::new(config).run(&runs, |(seed, ops)| {
        let home = tempfile::tempdir().expect("a temporary directory");
        run(factory, home.path(), seed, ops)
    });
    result.unwrap_or_else(|failure| unreachable!("{failure}"));
}

#[test]
fn any_history_over_memory() {
    property(&(Arc::new(MemoryFactory::new(Arc::new(RealDisk))) as _), 48);
}

#[test]
fn any_history_over_sled() {
    property(&(Arc::new(SledFactory::default()) as _), 16);
}

#[test]
fn any_history_over_fjall() {
    property(&(Arc::new(FjallFactory::default()) as _), 12);
}
