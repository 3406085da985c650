//! Random faults and pairs of them on real processes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::support::{block_on, linked_cluster};
use crate::processes::scenario::{SoakOptions, SoakTotal, soak};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::scenario::Focus;

pub(super) const ROW: Row = Row {
    id: "soak-10m",
    issue: 3,
    claim: "real processes under random faults and pairs of faults, with proxies on every link: every checker and every \
            domain workload is satisfied, and each shard serves again within 5 s of every process answering",
    target: "10 minutes, 0 violations",
    run,
};

const SECONDS: u64 = 10 * 60;
const SECONDS_QUICK: u64 = 20;
const SEED: u64 = 3_000;

#[derive(Serialize)]
struct Measured(SoakTotal);

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let SoakTotal {
            episodes,
            acknowledged,
            transfers,
            claims,
            updates,
            ..
        } = self.0;
        let idle = [episodes, acknowledged, transfers, claims, updates].contains(&0);
        self.0.problem.is_none() && !idle
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seconds = context.rounds(SECONDS, SECONDS_QUICK);
    block_on(async move {
        let mut cluster = linked_cluster(context, SEED).await?;
        let options = SoakOptions {
            time: Duration::from_secs(seconds),
            seed: SEED,
            focus: Focus::Processes,
        };
        let total = soak(&mut cluster, &options, |_, _| {}).await;
        if total.problem.is_some() {
            cluster.keep_files();
        }
        Finding::of(&Measured(total))
    })
}
