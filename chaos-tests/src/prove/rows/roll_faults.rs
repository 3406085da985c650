//! Rolling upgrades while something else goes wrong.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Mutex;

use super::support::{SHARDS, block_on};
use crate::gap::{ROLL_FAULTS, RollFault, RolledThrough, rolls_with_faults};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "roll-faults",
    issue: 5,
    claim: "a node killed, frozen or cut off while all nodes are rolled: callers do not notice, and the tool ends when begun again",
    target: "0 failed calls, 0 lost, every roll done within 5 runs of the tool",
    run,
};

const CLIENTS: usize = 64;
/// Of each fault.
const ROUNDS: u32 = 6;
const ROUNDS_QUICK: u32 = 1;
const SEED: u64 = 5;

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    rolled: RolledThrough,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rolled.fmt(f)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.rolled.failed == 0 && self.rolled.lost == 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let cluster = Cluster::start_linked_with_defaults(&options, SEED).await?;
        let shared = Arc::new(Mutex::new(cluster.noted_in(context.journal.clone())));
        let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
        let faults = context.rounds(&ROLL_FAULTS[..], &[RollFault::Kill]);
        match rolls_with_faults(&shared, CLIENTS, rounds, faults, SEED).await {
            Ok(rolled) => Finding::of(&Measured { rolled }),
            Err(error) => {
                let mut cluster = shared.lock().await;
                cluster.keep_files();
                let kept = cluster.directory().display();
                Err(RowError::because(format!(
                    "{error}; the nodes' files are kept in {kept}"
                )))
            }
        }
    })
}
