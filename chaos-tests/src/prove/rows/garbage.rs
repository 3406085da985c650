//! Garbage on every port.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::support::{Checked, block_on, cluster, resident_bytes};
use crate::processes::garbage::{Sent, send};
use crate::processes::{Calls, Cluster, Run, RunOptions, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::Registers;

pub(super) const ROW: Row = Row {
    id: "garbage",
    issue: 2,
    claim: "garbage on any port neither crashes nor grows a node, and the cluster goes on serving",
    target: "30 s on each of 9 ports, resident memory +32 MiB at most, 0 nodes ended, 0 failed calls",
    run,
};

const SECONDS: u64 = 30;
const SECONDS_QUICK: u64 = 5;
const GROWTH_MAX_MIB: u64 = 32;
const MIB: u64 = 1 << 20;
const SETTLE: Duration = Duration::from_secs(60);
/// Between the end of the garbage and the second look at memory: connections have been closed by then.
const COOL_DOWN: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct Measured {
    seconds: u64,
    connections: u64,
    bytes_sent: u64,
    /// Largest of the nodes.
    growth_mib: u64,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} s, {} connections, {} MiB sent, resident +{} MiB at most, {} failed calls, {}",
            self.seconds,
            self.connections,
            self.bytes_sent / MIB,
            self.growth_mib,
            self.checked.calls.failed,
            self.checked.text()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.growth_mib <= GROWTH_MAX_MIB
            && self.connections > 0
            && self.checked.calls.failed == 0
            && self.checked.calls.all > 0
            && self.checked.violations.is_empty()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seconds = context.rounds(SECONDS, SECONDS_QUICK);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        // Buffers and pools that any work needs are there before memory is read first.
        let options = RunOptions {
            clients: 2,
            think: Duration::from_millis(40),
            ..RunOptions::default()
        };
        let warm = Run::start(&cluster, &options)?;
        warm.wait_operations(200).await?;
        drop(warm.stop().await);
        let before = resident_bytes(&cluster)?;
        let load = Run::start(
            &cluster,
            &RunOptions {
                registers: Registers { count: 8, run: 1 },
                ..options
            },
        )?;
        let sent = send_to_all(&cluster, Duration::from_secs(seconds)).await;
        let operations = load.stop().await;
        cluster.check_alive()?;
        tokio::time::sleep(COOL_DOWN).await;
        let growth = resident_bytes(&cluster)?
            .iter()
            .zip(&before)
            .map(|(now, then)| now.saturating_sub(*then))
            .max();
        let report = settle_and_check(&mut cluster, &operations, SETTLE).await?;
        Finding::of(&Measured {
            seconds,
            connections: sent.connections,
            bytes_sent: sent.bytes,
            growth_mib: growth.unwrap_or(0).div_ceil(MIB),
            checked: Checked::new(Calls::of(&operations), &report),
        })
    })
}

async fn send_to_all(cluster: &Cluster, time: Duration) -> Sent {
    let mut senders = tokio::task::JoinSet::new();
    for node in 0..cluster.nodes() {
        for address in cluster.ports(node).map(str::to_owned) {
            let seed = node as u64;
            senders.spawn(async move { send(&address, seed, time).await });
        }
    }
    let mut sum = Sent::default();
    while let Some(sent) = senders.join_next().await {
        let sent = sent.unwrap_or_default();
        sum.connections += sent.connections;
        sum.bytes += sent.bytes;
        sum.refused += sent.refused;
    }
    sum
}
