//! Log, delta, checkpoints, engines and snapshots; the only importer of sled and fjall.

pub mod disk;
pub mod engine;
pub mod replica;
pub mod snapshot;

pub mod ids {
    //! Raft's ids as this layer knows them.

    /// Position of an entry in a group's log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct LogId {
        /// Term of the leader that wrote the entry.
        pub term: u64,
        /// Replica id of that leader.
        pub leader: u64,
        /// Index of the entry.
        pub index: u64,
    }
}

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
