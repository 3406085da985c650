//! What a cluster costs that nobody calls.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::support::{block_on, processor_seconds, resident_mib};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "idle-64",
    issue: 4,
    claim: "an idle cluster of 64 shards costs next to nothing",
    target: "<= 1 % of a processor per node over 60 s (gate 1.7 %)",
    run,
};

const SHARDS: u32 = 64;
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 10;
/// Leaders, two a second of each node, are where they belong by then, on any machine.
const SPREADS: Duration = Duration::from_secs(120);
/// After the last hand-over: every group is calm (`calm.rs`), and first rows and first checkpoints are over.
const SETTLES: Duration = Duration::from_secs(10);
const GOAL_PERCENT: f64 = 1.0;
const GATE_PERCENT: f64 = 1.7;

#[derive(Serialize)]
struct Measured {
    #[serde(skip)]
    gate: f64,
    seconds: f64,
    percent_of_a_processor: Vec<f64>,
    resident_mib: Vec<u64>,
}

impl Measured {
    fn worst(&self) -> f64 {
        self.percent_of_a_processor.iter().copied().fold(0.0, f64::max)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self.worst();
        let met = if worst <= GOAL_PERCENT {
            ""
        } else {
            " (goal not met)"
        };
        write!(
            f,
            "{worst:.2} % of a processor at most in {:.0} s, resident {:?} MiB{met}",
            self.seconds, self.resident_mib
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.worst() <= self.gate
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seconds = context.rounds(SECONDS, SECONDS_QUICK);
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let cluster = Cluster::start_with_defaults(&options).await?;
        cluster.wait_leaders_spread(SPREADS).await?;
        sleep(SETTLES).await;
        let (began, before) = (Instant::now(), processor_seconds(&cluster)?);
        sleep(Duration::from_secs(seconds)).await;
        let (seconds, after) = (began.elapsed().as_secs_f64(), processor_seconds(&cluster)?);
        let percent = |(before, after): (&f64, f64)| ((after - before) / seconds * 10_000.0).round() / 100.0;
        Finding::of(&Measured {
            gate: context.at_most(GATE_PERCENT),
            seconds,
            percent_of_a_processor: before.iter().zip(after).map(percent).collect(),
            resident_mib: resident_mib(&cluster)?,
        })
    })
}
