//! A living leader that looks dead: its connections break and connects to it are refused.

use std::fmt;

use serde::Serialize;

use super::seeds_run::{self, Seed};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "forged-evidence",
    issue: 3,
    claim: "a reset and a refused port of a living leader make no stale read and at most one needless leader move",
    target: "10,000 seeds, 0 failed, each event accounts for at most one move, 0 moves without an event",
    run,
};

const SEEDS: u64 = 10_000;
const SEEDS_QUICK: u64 = 60;
const FIRST_SEED: u64 = 300_000;

#[derive(Default, Serialize)]
struct Measured {
    seeds: u64,
    events: usize,
    /// Leaders that took over without being asked to.
    moves: usize,
    calls: u64,
    /// Seeds with a move for which no event was left.
    restless: Vec<u64>,
    failed: Vec<u64>,
    first_problem: Option<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} forged events, {} needless moves, {} seeds with a move that no event accounts for, {} calls, {} failed",
            self.seeds,
            self.events,
            self.moves,
            self.restless.len(),
            self.calls,
            self.failed.len()
        )?;
        let command = "cargo simulate --layer group --focus forged --trace --seed";
        match (
            self.failed.first().or_else(|| self.restless.first()),
            &self.first_problem,
        ) {
            (Some(seed), problem) => write!(
                f,
                "; {command} {seed}: {}",
                problem.as_deref().unwrap_or("restless")
            ),
            (None, _) => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.failed.is_empty() && self.restless.is_empty() && self.moves > 0
    }
}

impl Measured {
    fn take(&mut self, seed: Seed) {
        self.seeds += 1;
        self.events += seed.faults;
        self.moves += seed.moves.needless;
        self.calls += seed.report.as_ref().map_or(0, |counts| counts.operations);
        if seed.moves.unexplained > 0 {
            self.restless.push(seed.seed);
        }
        if let Some(problem) = seed.problem {
            self.failed.push(seed.seed);
            self.first_problem.get_or_insert(problem);
        }
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let count = context.rounds(SEEDS, SEEDS_QUICK);
    let flags = ["--layer", "group", "--focus", "forged"];
    let mut measured = Measured::default();
    for seed in seeds_run::run(&context.programs, &flags, FIRST_SEED, count)? {
        measured.take(seed);
    }
    Finding::of(&measured)
}
