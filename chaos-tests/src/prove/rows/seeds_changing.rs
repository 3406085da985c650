//! Simulated clusters that change while faults go on: replicas move, releases roll, disks come back from older copies.

use std::fmt;

use serde::Serialize;

use super::seeds_run;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "seeds-changing",
    issue: 5,
    claim: "simulated clusters keep every promise while replicas move, three releases roll forward and back, and nodes get \
            older copies of their disks back, under faults of every kind",
    target: "100 seeds of each of three (quick 3), 0 failed",
    run,
};

const SEEDS: u64 = 100;
const SEEDS_QUICK: u64 = 3;
const FIRST_SEED: u64 = 700_000;
const LAYERS: [&str; 3] = ["members", "rolls", "old-copies"];

#[derive(Default, Serialize)]
struct Measured {
    seeds: u64,
    faults: usize,
    acknowledged: u64,
    virtual_seconds: u64,
    failed: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} faults, {} writes acknowledged, {} s of virtual time, {} failed",
            self.seeds,
            self.faults,
            self.acknowledged,
            self.virtual_seconds,
            self.failed.len()
        )?;
        match self.failed.first() {
            Some(first) => write!(f, "; cargo simulate --trace {first}"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.failed.is_empty() && self.acknowledged > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let each = context.rounds(SEEDS, SEEDS_QUICK);
    let mut measured = Measured::default();
    for (first, layer) in (FIRST_SEED..).step_by(10_000).zip(LAYERS) {
        for seed in seeds_run::run(&context.programs, &["--layer", layer], first, each)? {
            measured.seeds += 1;
            measured.faults += seed.faults;
            measured.acknowledged += seed.report.as_ref().map_or(0, |counts| counts.acknowledged);
            measured.virtual_seconds += seed.virtual_ms / 1_000;
            if let Some(problem) = seed.problem {
                let failed = format!("--layer {layer} --seed {}: {problem}", seed.seed);
                measured.failed.push(failed);
            }
        }
    }
    Finding::of(&measured)
}
