//! One seed, two fresh processes, one run.

use std::fmt;

use serde::Serialize;

use super::support::{last_line, output};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "determinism",
    issue: 2,
    claim: "one seed of the simulation is one identical run, also in another process",
    target: "every seed twice in fresh processes: equal trace hashes; two seeds: unequal",
    run,
};

const SEEDS: u64 = 10;
const SEEDS_QUICK: u64 = 2;
const FIRST_SEED: u64 = 1;

#[derive(Serialize)]
struct Measured {
    seeds: u64,
    equal: u64,
    distinct: usize,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} seeds equal, {} distinct hashes",
            self.equal, self.seeds, self.distinct
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.equal == self.seeds && u64::try_from(self.distinct).is_ok_and(|distinct| distinct == self.seeds)
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seeds = context.rounds(SEEDS, SEEDS_QUICK);
    let mut equal = 0;
    let mut distinct = std::collections::BTreeSet::new();
    for seed in FIRST_SEED..FIRST_SEED + seeds {
        let (one, two) = (hash(context, seed)?, hash(context, seed)?);
        equal += u64::from(one == two);
        distinct.insert(one);
    }
    Finding::of(&Measured {
        seeds,
        equal,
        distinct: distinct.len(),
    })
}

fn hash(context: &Context, seed: u64) -> Result<String, RowError> {
    let seed = seed.to_string();
    let output = output(
        &context.programs.join("simulate"),
        &["--json", "--seed", &seed],
        &context.root,
    )?;
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
    let report = parsed.map_err(|_| RowError::because(last_line(&output.stderr)))?;
    report["hash"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| RowError::because("simulate gave no hash"))
}
