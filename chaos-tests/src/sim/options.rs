//! How to run a seed.

use std::time::Duration;

use super::plan::Focus;

/// One run.
#[derive(Clone, Debug)]
pub struct SimOptions {
    pub seed: u64,
    pub nodes: usize,
    pub shards: u32,
    pub clients: usize,
    pub registers: u32,
    /// How long things go wrong, virtual.
    pub fault_time: Duration,
    pub focus: Focus,
    /// Keep the lines of the trace.
    pub keep_trace: bool,
}

impl SimOptions {
    /// The usual run of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            nodes: 3,
            shards: 2,
            clients: 4,
            registers: 6,
            fault_time: Duration::from_secs(8),
            focus: Focus::All,
            keep_trace: false,
        }
    }
}
