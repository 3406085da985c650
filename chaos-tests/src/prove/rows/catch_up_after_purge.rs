//! A node that was away while the others purged what it lacks.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::support::{Checked, SHARDS, block_on, cluster};
use crate::processes::{Calls, Cluster, ClusterError, Run, RunOptions, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::Registers;

pub(super) const ROW: Row = Row {
    id: "catch-up-after-purge",
    issue: 2,
    claim: "a node that was down while the others purged their logs catches up by snapshot to an equal digest",
    target: "every shard purged beyond the node, then equal digests within 60 s",
    run,
};

const CALLS: usize = 4_000;
const CALLS_QUICK: usize = 1_500;
const SETTLE: Duration = Duration::from_secs(60);
/// More calls than one node can have had in flight.
const IN_FLIGHT_MAX: u64 = 32;
/// The node that is away.
const AWAY: usize = 2;

#[derive(Serialize)]
struct Measured {
    shards_purged_beyond: u32,
    catch_up_ms: u64,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {SHARDS} shards purged beyond the node, caught up in {} ms, {}",
            self.shards_purged_beyond,
            self.catch_up_ms,
            self.checked.text()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.shards_purged_beyond == SHARDS && self.checked.violations.is_empty()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let calls = context.rounds(CALLS, CALLS_QUICK);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let load = Run::start(
            &cluster,
            &RunOptions {
                registers: Registers { count: 200, run: 0 },
                ..RunOptions::default()
            },
        )?;
        load.wait_operations(calls / 4).await?;
        cluster.kill(AWAY)?;
        let held = last_indexes(&cluster).await?;
        load.wait_operations(calls).await?;
        let mut shards_purged_beyond = 0;
        for shard in 1..=SHARDS {
            let last = held.get(&shard).copied().unwrap_or(0) + IN_FLIGHT_MAX;
            let mut beyond = true;
            for node in (0..cluster.nodes()).filter(|node| *node != AWAY) {
                let compacted = cluster.admin(node)?.compact_replica(shard).await?;
                beyond &= compacted.purged_index > last;
            }
            shards_purged_beyond += u32::from(beyond);
        }
        let operations = load.stop().await;
        cluster.restart(AWAY)?;
        let back = Instant::now();
        cluster.wait_healthy(SETTLE).await?;
        cluster.wait_equal(SETTLE).await?;
        let catch_up_ms = u64::try_from(back.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = settle_and_check(&mut cluster, &operations, SETTLE).await?;
        let checked = Checked::new(Calls::of(&operations), &report);
        Finding::of(&Measured {
            shards_purged_beyond,
            catch_up_ms,
            checked,
        })
    })
}

/// How far the logs of the others go, by shard: what the dead node holds can be beyond that only by the calls
/// that were in flight on it.
async fn last_indexes(cluster: &Cluster) -> Result<BTreeMap<u32, u64>, ClusterError> {
    let mut last = BTreeMap::new();
    for node in (0..cluster.nodes()).filter(|node| *node != AWAY) {
        for shard in cluster.status(node).await?.shards {
            let known = last.entry(shard.shard).or_insert(0);
            let held = shard.replicas.iter().map(|replica| replica.last_log_index).max();
            *known = held.unwrap_or(0).max(*known);
        }
    }
    Ok(last)
}
