//! A node with a whole population that comes back.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::patients::loaded_cluster;
use super::support::{block_on, resident_mib};
use crate::processes::{Closing, Cluster, signals};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "restart-1m",
    issue: 4,
    claim: "a node with 1,000,000 patients is ready soon after a kill -9, and small",
    target: "ready <= 5 s (gate 8.5), <= 600 MiB resident at the default cache (gate 1,020)",
    run,
};

const PATIENTS: u64 = 1_000_000;
const PATIENTS_QUICK: u64 = 20_000;
const GOAL_MS: u64 = 5_000;
const GATE_MS: u64 = 8_500;
const GOAL_MIB: u64 = 600;
const GATE_MIB: u64 = 1_020;
const RESTARTS: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

#[derive(Serialize)]
struct Measured {
    patients: u64,
    ready_ms: Vec<u64>,
    /// From the kill to closed sockets, and what the process had in memory.
    closed_ms: Vec<u64>,
    killed_mib: Vec<u64>,
    resident_mib: Vec<u64>,
}

impl Measured {
    fn worst(&self) -> (u64, u64) {
        let worst = |values: &[u64]| values.iter().copied().max().unwrap_or(u64::MAX);
        (worst(&self.ready_ms), worst(&self.resident_mib))
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ready, resident) = self.worst();
        let met = if ready <= GOAL_MS && resident <= GOAL_MIB {
            ""
        } else {
            " (goal not met)"
        };
        write!(
            f,
            "{} patients, sockets closed {:?} ms after the kill of {:?} MiB, ready after {:?} ms, resident {:?} MiB{met}",
            self.patients, self.closed_ms, self.killed_mib, self.ready_ms, self.resident_mib
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let (ready, resident) = self.worst();
        ready <= GATE_MS && resident <= GATE_MIB
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let count = context.rounds(PATIENTS, PATIENTS_QUICK);
    block_on(async move {
        let mut cluster = loaded_cluster(context, count).await?;
        let (mut ready_ms, mut closed_ms, mut killed_mib) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..RESTARTS {
            let node = turn % 3;
            killed_mib.push(resident_mib(&cluster)?.get(node).copied().unwrap_or(0));
            closed_ms.push(kill(&mut cluster, node).await?);
            ready_ms.push(restart(&mut cluster, node).await?);
            cluster.wait_healthy(LIMIT).await?;
        }
        Finding::of(&Measured {
            patients: count,
            ready_ms,
            closed_ms,
            killed_mib,
            resident_mib: resident_mib(&cluster)?,
        })
    })
}

/// From the signal until the kernel has closed what it had open.
async fn kill(cluster: &mut Cluster, node: usize) -> Result<u64, RowError> {
    let closing = Closing::watch(cluster.grpc(node)).await?;
    if let Some(pid) = cluster.pid(node) {
        signals::kill(pid)?;
    }
    let closed = closing.closed().await;
    cluster.kill(node)?;
    Ok(in_ms(closed))
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// From the start of the process until it says itself that it is ready.
async fn restart(cluster: &mut Cluster, node: usize) -> Result<u64, RowError> {
    cluster.restart(node)?;
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let admin = cluster.admin(node)?.with_deadline(Duration::from_millis(500));
        let status = admin.node_status().await;
        if status.is_ok_and(|status| status.state == "running" && status.reasons.is_empty()) {
            return Ok(in_ms(began.elapsed()));
        }
        sleep(POLL).await;
    }
    Err(RowError::because("a node was not ready within a minute"))
}
