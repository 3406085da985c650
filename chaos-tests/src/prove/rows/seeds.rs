//! Whole clusters in simulation, under every mix of faults.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::seeds_run::{self, Seed};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "seeds",
    issue: 3,
    claim: "whole simulated clusters keep every promise under faults of every kind and heal after them",
    target: "2,000 seeds (quick 201), 0 failed, >= 18 x real time per processor (gate 10.8)",
    run,
};

const SEEDS: u64 = 2_000;
const SEEDS_QUICK: u64 = 201;
/// Virtual seconds in which things go wrong.
const FAULT_SECONDS: &str = "8";
const FAULT_SECONDS_QUICK: &str = "5";
const FIRST_SEED: u64 = 400_000;
const FOCI: [&str; 3] = ["all", "power-cuts", "gray"];
/// The goal is 18; the gate is 60 % of it.
const SPEED_MIN: f64 = 10.8;

#[derive(Default, Serialize)]
struct Measured {
    #[serde(skip)]
    speed_min: f64,
    seeds: u64,
    faults: usize,
    acknowledged: u64,
    virtual_seconds: u64,
    cpu_seconds: f64,
    /// Virtual seconds per second of a processor's time.
    speed: f64,
    failed: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} faults, {} writes acknowledged, {} s of virtual time, {:.1} x real time per processor, {} failed",
            self.seeds,
            self.faults,
            self.acknowledged,
            self.virtual_seconds,
            self.speed,
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
        self.failed.is_empty() && self.acknowledged > 0 && self.speed >= self.speed_min
    }
}

impl Measured {
    fn take(&mut self, flags: &str, seed: Seed) {
        self.seeds += 1;
        self.faults += seed.faults;
        self.acknowledged += seed.report.as_ref().map_or(0, |counts| counts.acknowledged);
        self.virtual_seconds += seed.virtual_ms / 1_000;
        self.cpu_seconds += Duration::from_millis(seed.cpu_ms).as_secs_f64();
        if let Some(problem) = seed.problem {
            self.failed
                .push(format!("{flags} --seed {}: {problem}", seed.seed));
        }
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let each = context.rounds(SEEDS, SEEDS_QUICK).div_ceil(FOCI.len() as u64);
    let mut measured = Measured {
        speed_min: context.at_least(SPEED_MIN),
        ..Measured::default()
    };
    let seconds = context.rounds(FAULT_SECONDS, FAULT_SECONDS_QUICK);
    for (first, focus) in (FIRST_SEED..).step_by(10_000).zip(FOCI) {
        let flags = ["--focus", focus, "--fault-seconds", seconds];
        for seed in seeds_run::run(&context.programs, &flags, first, each)? {
            measured.take(&flags.join(" "), seed);
        }
    }
    let virtual_seconds = Duration::from_secs(measured.virtual_seconds).as_secs_f64();
    measured.speed = virtual_seconds / measured.cpu_seconds.max(0.001);
    Finding::of(&measured)
}
