//! Rolling upgrades, and the way back, while callers go on.

use std::fmt;

use serde::Serialize;

use super::rolling::{CLIENTS, GATE, LONGEST_MS, kept, options, shared};
use super::support::block_on;
use crate::gap::{Rolled, spine_rolls};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "roll-20",
    issue: 5,
    claim: "20 rolls of all nodes, every second one the way back, under 64 clients: no failed call, nothing lost",
    target: "longest call <= 50 ms (gate 85), slowest second >= 50 % of quiet (gate 30 %), 0 failed calls, 0 lost",
    run,
};

/// Forward and back.
const TIMES: u32 = 10;
const TIMES_QUICK: u32 = 1;
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
        self.rolled.is_whole()
            && self.rolled.summary.max_ms <= self.longest_ms
            && self.rolled.slowest_part() >= self.slowest_part
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = Cluster::start_with_defaults(&options(context)).await?;
        let cluster = shared(cluster, context);
        let times = context.rounds(TIMES, TIMES_QUICK);
        match spine_rolls(&cluster, CLIENTS, times, context.disk_limit(LONGEST_MS)).await {
            Ok(rolled) => Finding::of(&Measured {
                rolled,
                longest_ms: context.at_most(LONGEST_MS * GATE),
                slowest_part: context.at_least(SLOWEST_PART),
            }),
            Err(error) => Err(kept(&cluster, &error).await),
        }
    })
}
