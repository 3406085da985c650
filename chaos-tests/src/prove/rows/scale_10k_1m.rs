//! Cost grows with the work and not with the population.

use std::fmt;

use serde::Serialize;

use super::patients::{bench, endpoints, loaded_cluster};
use super::support::block_on;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "scale-10k-1m",
    issue: 4,
    claim: "four retrieves and an update in turns are served as fast with 1,000,000 patients as with 10,000",
    target: "throughput within 20 % (gate 33 %), 0 errors",
    run,
};

const SMALL: u64 = 10_000;
const SMALL_QUICK: u64 = 2_000;
const LARGE: u64 = 1_000_000;
const LARGE_QUICK: u64 = 20_000;
const GOAL_RATIO: f64 = 0.8;
const GATE_RATIO: f64 = 0.67;
const GATE_RATIO_QUICK: f64 = 0.5;
const RUNS: usize = 5;
const RUNS_QUICK: usize = 2;

#[derive(Serialize)]
struct Measured {
    #[serde(skip)]
    gate: f64,
    small: u64,
    large: u64,
    small_per_second: Vec<f64>,
    large_per_second: Vec<f64>,
    ratio: f64,
    errors: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.ratio >= GOAL_RATIO {
            ""
        } else {
            " (goal not met)"
        };
        write!(
            f,
            "{} patients {:.0?}/s, {} patients {:.0?}/s: {:.2} of it{met}, {} errors",
            self.small, self.small_per_second, self.large, self.large_per_second, self.ratio, self.errors
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.ratio >= self.gate && self.errors == 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let small = context.rounds(SMALL, SMALL_QUICK);
    let large = context.rounds(LARGE, LARGE_QUICK);
    let (small_per_second, mut errors) = measure(context, small)?;
    let (large_per_second, more) = measure(context, large)?;
    errors += more;
    let ratio = median(&large_per_second) / median(&small_per_second).max(0.001);
    Finding::of(&Measured {
        gate: context.rounds(GATE_RATIO, GATE_RATIO_QUICK),
        small,
        large,
        small_per_second,
        large_per_second,
        ratio,
        errors,
    })
}

fn measure(context: &Context, count: u64) -> Result<(Vec<f64>, u64), RowError> {
    let keys = count.to_string();
    let seconds = context.rounds("8", "3");
    let arguments = [
        "--mix",
        "patients",
        "--filled",
        "--keys",
        &keys,
        "--warm-up",
        "2",
        "--seconds",
        seconds,
    ];
    block_on(async {
        let cluster = loaded_cluster(context, count).await?;
        let (mut per_second, mut errors) = (Vec::new(), 0);
        for _ in 0..context.rounds(RUNS, RUNS_QUICK) {
            let run = bench(context, &endpoints(&cluster), &arguments)?;
            per_second.push(run.per_second);
            errors += run.errors;
        }
        Ok((per_second, errors))
    })
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
