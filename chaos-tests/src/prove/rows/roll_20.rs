//! Rolling upgrades, and the way back, while callers go on.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Mutex;

use super::support::{SHARDS, block_on};
use crate::gap::{Rolled, spine_rolls};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "roll-20",
    issue: 5,
    claim: "20 rolls of all nodes, every second one the way back, under 64 clients: no failed call, nothing lost",
    target: "longest call <= 50 ms (gate 85), slowest second >= 50 % of quiet (gate 30 %), 0 failed calls, 0 lost",
    run,
};

const CLIENTS: usize = 64;
/// Forward and back.
const TIMES: u32 = 10;
const TIMES_QUICK: u32 = 1;
/// The goal of the longest call, ms, and the share of it that is the gate.
const LONGEST_MS: f64 = 50.0;
const GATE: f64 = 1.7;
/// The gate of the slowest second, as a part of a quiet one.
const SLOWEST_PART: f64 = 0.3;

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    rolled: Rolled,
    #[serde(skip)]
    longest_ms: f64,
    #[serde(skip)]
    slowest_part: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rolled.fmt(f)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.rolled.failed == 0
            && self.rolled.lost == 0
            && self.rolled.complete
            && self.rolled.summary.max_ms <= self.longest_ms
            && self.rolled.slowest_part() >= self.slowest_part
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let cluster = Cluster::start_with_defaults(&options).await?;
        let shared = Arc::new(Mutex::new(cluster.noted_in(context.journal.clone())));
        let times = context.rounds(TIMES, TIMES_QUICK);
        match spine_rolls(&shared, CLIENTS, times, context.disk_limit(LONGEST_MS)).await {
            Ok(rolled) => Finding::of(&Measured {
                rolled,
                longest_ms: context.at_most(LONGEST_MS * GATE),
                slowest_part: context.at_least(SLOWEST_PART),
            }),
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
