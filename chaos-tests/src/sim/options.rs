//! How to run a seed.

use std::time::Duration;

use crate::scenario::{Focus, Scenario, Step};

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
    /// What goes wrong instead of what the seed draws.
    pub script: Option<Vec<Step>>,
    /// An operator empties, gives up and takes back nodes, and lets the load be made even, all the time.
    pub restless: bool,
    /// Applications keep patients meanwhile ([`crate::domain`]).
    pub patients: bool,
    /// Releases are rolled over the nodes meanwhile.
    pub rolls: bool,
    /// Entries of a shard after which its replicas compare their digests; `None` = as nodes do by themselves.
    pub verify_every: Option<u64>,
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
            script: None,
            restless: false,
            patients: false,
            rolls: false,
            verify_every: None,
            keep_trace: false,
        }
    }

    /// A run in which replicas move all the time.
    #[must_use]
    pub fn restless(seed: u64) -> Self {
        Self {
            nodes: 5,
            restless: true,
            ..Self::of(seed)
        }
    }

    /// A run in which applications keep patients.
    #[must_use]
    pub fn patients(seed: u64) -> Self {
        Self {
            patients: true,
            ..Self::of(seed)
        }
    }

    /// The run of a scenario that somebody wrote down.
    #[must_use]
    pub fn of_scenario(scenario: &Scenario) -> Self {
        Self {
            nodes: scenario.nodes,
            shards: scenario.shards,
            fault_time: scenario.time,
            script: Some(scenario.steps.clone()),
            ..Self::of(scenario.seed)
        }
    }

    /// What is to go wrong in this run.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        match &self.script {
            Some(steps) => Scenario {
                seed: self.seed,
                nodes: self.nodes,
                shards: self.shards,
                time: self.fault_time,
                steps: steps.clone(),
            },
            None => Scenario::draw(self.seed, self.nodes, self.shards, self.fault_time, self.focus),
        }
    }
}
