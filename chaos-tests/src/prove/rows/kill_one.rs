//! kill -9 of any node at any moment under load.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use serde::Serialize;

use super::support::{Checked, block_on, cluster};
use crate::processes::{Calls, Run, RunOptions, first_failures, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::seeded;

pub(super) const ROW: Row = Row {
    id: "kill-one",
    issue: 2,
    claim: "kill -9 of any node under load loses nothing acknowledged, and every library call succeeds within 5 s",
    target: "50 rounds, 0 violations, 0 failed calls, longest call <= 5,000 ms",
    run,
};

const ROUNDS: u32 = 50;
const ROUNDS_QUICK: u32 = 6;
const CALL_LIMIT_MS: u64 = 5_000;
/// Calls between a node's return and the next kill.
const CALLS_BETWEEN: usize = 100;
const SETTLE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Measured {
    rounds: u32,
    failures: String,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calls {
            failed, longest_ms, ..
        } = self.checked.calls;
        write!(
            f,
            "{} rounds, {}, {failed} failed",
            self.rounds,
            self.checked.text()
        )?;
        if !self.failures.is_empty() {
            write!(f, " ({})", self.failures)?;
        }
        write!(f, ", longest call {longest_ms} ms")
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let Calls {
            failed, longest_ms, ..
        } = self.checked.calls;
        self.checked.violations.is_empty() && failed == 0 && longest_ms <= CALL_LIMIT_MS
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let mut random = seeded(2, "kill-one");
        let load = Run::start(&cluster, &RunOptions::default())?;
        for round in 0..rounds {
            let victim = usize::try_from(round).unwrap_or(0) % cluster.nodes();
            load.wait_operations(CALLS_BETWEEN).await?;
            // Any moment: not in step with the calls.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
            cluster.kill(victim)?;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
            cluster.restart(victim)?;
            cluster.wait_healthy(SETTLE).await?;
        }
        let operations = load.stop().await;
        let report = settle_and_check(&mut cluster, &operations, SETTLE).await?;
        Finding::of(&Measured {
            rounds,
            failures: first_failures(&operations),
            checked: Checked::new(Calls::of(&operations), &report),
        })
    })
}
