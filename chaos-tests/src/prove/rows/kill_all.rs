//! kill -9 of all three nodes at once.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::support::{Checked, block_on, cluster};
use crate::processes::{Calls, Run, RunOptions, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "kill-all",
    issue: 2,
    claim: "kill -9 of all three nodes at once under load: everything acknowledged is there afterwards",
    target: "20 rounds, 0 violations",
    run,
};

const ROUNDS: u32 = 20;
const ROUNDS_QUICK: u32 = 3;
const CALLS_BETWEEN: usize = 200;
const SETTLE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Measured {
    rounds: u32,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {}, {} unknown",
            self.rounds,
            self.checked.text(),
            self.checked.unknown
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.checked.violations.is_empty() && self.checked.acknowledged > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let load = Run::start(&cluster, &RunOptions::default())?;
        for _ in 0..rounds {
            load.wait_operations(CALLS_BETWEEN).await?;
            cluster.kill_all()?;
            for node in 0..cluster.nodes() {
                cluster.restart(node)?;
            }
            cluster.wait_healthy(SETTLE).await?;
        }
        let operations = load.stop().await;
        let report = settle_and_check(&mut cluster, &operations, SETTLE).await?;
        Finding::of(&Measured {
            rounds,
            checked: Checked::new(Calls::of(&operations), &report),
        })
    })
}
