//! Power cuts of one node and of all three, in simulation.

use std::fmt;

use serde::Serialize;

use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::scenario::Focus;
use crate::sim::{SimOptions, run as simulate};

pub(super) const ROW: Row = Row {
    id: "powercut-sim",
    issue: 2,
    claim: "power cuts of one node and of all three, where unsynced data is gone, lose nothing acknowledged",
    target: "200 seeds, 0 failed",
    run,
};

const SEEDS: u64 = 200;
const SEEDS_QUICK: u64 = 10;
/// Seeds of other runs begin elsewhere.
const FIRST_SEED: u64 = 100_000;

#[derive(Default, Serialize)]
struct Measured {
    seeds: u64,
    power_cuts: usize,
    acknowledged: u64,
    virtual_seconds: u64,
    failed: Vec<u64>,
    first_problem: Option<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            power_cuts,
            acknowledged,
            virtual_seconds,
            failed,
            ..
        } = self;
        let failures = failed.len();
        write!(
            f,
            "{seeds} seeds, {power_cuts} power cuts, {acknowledged} writes acknowledged, \
             {virtual_seconds} s of virtual time, {failures} failed"
        )?;
        match (&failed.first(), &self.first_problem) {
            (Some(seed), Some(problem)) => {
                write!(
                    f,
                    "; cargo simulate --focus power-cuts --seed {seed} --trace: {problem}"
                )
            }
            _ => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.failed.is_empty() && self.power_cuts > 0 && self.acknowledged > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seeds = context.rounds(SEEDS, SEEDS_QUICK);
    let mut measured = Measured {
        seeds,
        ..Measured::default()
    };
    for seed in FIRST_SEED..FIRST_SEED + seeds {
        let report = simulate(&SimOptions {
            focus: Focus::PowerCuts,
            ..SimOptions::of(seed)
        });
        measured.power_cuts += report.faults;
        measured.virtual_seconds += report.virtual_ms / 1_000;
        measured.acknowledged += report.report.as_ref().map_or(0, |report| report.acknowledged);
        if let Some(problem) = report.problem {
            measured.failed.push(seed);
            measured.first_problem.get_or_insert(problem);
        }
    }
    Finding::of(&measured)
}
