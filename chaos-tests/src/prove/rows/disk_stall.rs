//! The disk of a leader hangs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use spine_faultdisk::Command;
use tokio::time::{Instant, sleep};

use super::leadership::{leads_most, led_by, wait_leads_nothing};
use super::support::{Checked, block_on, faulty_cluster, no_fuse};
use crate::processes::{Calls, FaultyCluster, Run, RunOptions, first_failures, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "disk-stall",
    issue: 3,
    claim: "a leader whose fsync hangs for ever gives up leadership within 1 s, leads nothing while it hangs, \
            fails no call, and is back after the disk heals, without a restart",
    target: "leads nothing after <= 1,000 ms (gate 1,700), 0 failed calls, 0 violations, healthy after the heal",
    run,
};

const ROUNDS: u32 = 5;
const ROUNDS_QUICK: u32 = 1;
const GIVEN_UP_MS_GOAL: u64 = 1_000;
const GIVEN_UP_MS_GATE: u64 = 1_700;
/// It is looked for longer than it may take.
const GIVEN_UP_LIMIT: Duration = Duration::from_secs(10);
/// The disk hangs so long after leadership was given up.
const STALL: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
const CALLS_BETWEEN: usize = 300;
const SETTLE: Duration = Duration::from_secs(60);

#[derive(Default, Serialize)]
struct Stalls {
    rounds: u32,
    /// The slowest round; none if leadership was not given up in time to be measured.
    given_up_ms: Option<u64>,
    /// Looks at which the node led something again although its disk hung.
    led_while_stalled: u32,
    /// The slowest round from the heal to a healthy cluster.
    back_ms: u64,
}

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    stalls: Stalls,
    failures: String,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stalls {
            rounds,
            given_up_ms,
            led_while_stalled,
            back_ms,
        } = &self.stalls;
        let given_up = given_up_ms.map_or_else(
            || "not given up".to_owned(),
            |ms| format!("given up in {ms} ms{}", short(ms)),
        );
        let Calls {
            failed, longest_ms, ..
        } = self.checked.calls;
        write!(
            f,
            "{rounds} rounds, leadership {given_up}, led while stalled {led_while_stalled} times, \
             longest call {longest_ms} ms, {failed} failed",
        )?;
        if !self.failures.is_empty() {
            write!(f, " ({})", self.failures)?;
        }
        write!(
            f,
            ", healthy {back_ms} ms after the heal, {}",
            self.checked.text()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.stalls.given_up_ms.is_some_and(|ms| ms <= GIVEN_UP_MS_GATE)
            && self.stalls.led_while_stalled == 0
            && self.checked.calls.failed == 0
            && self.checked.violations.is_empty()
    }
}

/// Said of a time between goal and gate.
fn short(ms: u64) -> &'static str {
    if ms <= GIVEN_UP_MS_GOAL {
        ""
    } else if ms <= GIVEN_UP_MS_GATE {
        " (gate met, goal not)"
    } else {
        " (gate not met)"
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    if let Some(skipped) = no_fuse() {
        return Ok(skipped);
    }
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let mut faulty = faulty_cluster(context, &[]).await?;
        let load = Run::start(faulty.cluster(), &RunOptions::default())?;
        let mut stalls = Stalls {
            given_up_ms: Some(0),
            ..Stalls::default()
        };
        for _ in 0..rounds {
            load.wait_operations(CALLS_BETWEEN).await?;
            stalls.round(&faulty).await?;
        }
        load.wait_operations(CALLS_BETWEEN).await?;
        let operations = load.stop().await;
        let report = settle_and_check(faulty.cluster_mut(), &operations, SETTLE).await?;
        Finding::of(&Measured {
            stalls,
            failures: first_failures(&operations),
            checked: Checked::new(Calls::of(&operations), &report),
        })
    })
}

impl Stalls {
    async fn round(&mut self, faulty: &FaultyCluster) -> Result<(), RowError> {
        let cluster = faulty.cluster();
        let node = leads_most(cluster).await?;
        faulty.order(node, &Command::StallSync(None))?;
        let given_up = wait_leads_nothing(cluster, node, GIVEN_UP_LIMIT).await?;
        let ms = given_up.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.given_up_ms = self.given_up_ms.zip(ms).map(|(most, ms)| most.max(ms));
        let end = Instant::now() + STALL;
        while Instant::now() < end {
            let led = led_by(cluster, node, (node + 1) % cluster.nodes()).await?;
            self.led_while_stalled += u32::from(led > 0);
            sleep(LOOK).await;
        }
        cluster.check_alive()?;
        faulty.order(node, &Command::Heal)?;
        let healed = Instant::now();
        cluster.wait_healthy(SETTLE).await?;
        let back_ms = u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.back_ms = self.back_ms.max(back_ms);
        self.rounds += 1;
        Ok(())
    }
}
