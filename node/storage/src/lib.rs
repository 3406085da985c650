//! Log, delta, checkpoints, engines and snapshots; the only importer of sled and fjall.

pub mod disk;
pub mod engine;
pub mod replica;
pub mod snapshot;

pub mod ids;
pub mod wal;

/// How the storage layer's workers run.
#[derive(Clone, Copy, Debug)]
pub enum Driver {
    /// A thread each.
    Threads,
    /// Tasks of the current runtime, for the simulator.
    Tasks {
        /// What a disk operation takes, in virtual time.
        sync_latency: std::time::Duration,
    },
}
