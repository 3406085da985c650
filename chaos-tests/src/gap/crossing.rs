//! Snapshots from one release to the other: a node comes back to others that run the other release and have
//! purged what it lacks, so that it installs what one of them wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use spine_node::version::PREVIOUS_RELEASE;
use tokio::time::{Instant, sleep};

use super::levels::TwoReleases;
use super::load::Load;
use super::rolls::RollError;
use super::spine;
use crate::processes::{Cluster, ClusterError};

/// Calls of one client may take so long before they count as failed.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
const HEALTHY: Duration = Duration::from_secs(60);
/// A node that is asked to end has ended within this.
const END: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// The node that is away.
const AWAY: usize = 2;
/// Before it goes, and while it is away; half of them write.
const CALLS: u64 = 8_000;
/// They are made within this.
const CALLS_TIME: Duration = Duration::from_secs(60);
/// As many writes as one node can have had in flight: one of each client.
const IN_FLIGHT_MAX: u64 = 32;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Crossed {
    pub shards: u32,
    /// Shards that the previous release got from a snapshot of this one.
    pub to_previous: u32,
    /// And this one from a snapshot of the previous release.
    pub to_current: u32,
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
    /// A replica that kept what the node lacks, so that the node needed no snapshot of it.
    pub first_kept: Option<String>,
}

impl Crossed {
    /// Every shard went both ways, and nobody noticed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let all = self.shards > 0 && self.to_previous == self.shards && self.to_current == self.shards;
        all && self.failed == 0 && self.lost == 0
    }
}

impl std::fmt::Display for Crossed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "snapshots of this release installed by the previous one in {} of {} shards, the other way in \
             {}, equal digests, {} calls, {} failed",
            self.to_previous, self.shards, self.to_current, self.calls, self.failed
        )?;
        if let Some(first) = &self.first_failure {
            write!(f, " (first: {first})")?;
        }
        write!(f, ", {} lost", self.lost)?;
        match &self.first_kept {
            Some(kept) => write!(f, " (first that kept its log: {kept})"),
            None => Ok(()),
        }
    }
}

impl TwoReleases {
    /// Both ways. All nodes run the previous release, before and afterwards.
    ///
    /// # Errors
    /// A node that does not come back, or replicas that do not become equal.
    pub async fn cross_snapshots(&self, clients: usize) -> Result<Crossed, RollError> {
        let mut crossed = Crossed {
            shards: self.cluster.lock().await.shards(),
            ..Crossed::default()
        };
        let (previous, current) = (&self.previous, &self.current);
        crossed.to_previous = self.cross(current, previous, clients, &mut crossed).await?;
        crossed.to_current = self.cross(previous, current, clients, &mut crossed).await?;
        self.run_as(AWAY, previous).await?;
        Ok(crossed)
    }

    /// Gives how many shards of the node that runs `installer` came by snapshot from the others, that run
    /// `writer`.
    async fn cross(
        &self,
        writer: &Path,
        installer: &Path,
        clients: usize,
        crossed: &mut Crossed,
    ) -> Result<u32, RollError> {
        let nodes = self.cluster.lock().await.nodes();
        for node in 0..nodes {
            let program = if node == AWAY { installer } else { writer };
            self.run_as(node, program).await?;
        }
        let clients = spine::clients(&*self.cluster.lock().await, clients, CALL_DEADLINE)?;
        let load = Load::start(clients);
        wait_calls(&load).await?;
        let beyond = self.purge_without(&load, &mut crossed.first_kept).await?;
        let cluster = self.cluster.lock().await;
        cluster.wait_healthy(HEALTHY).await?;
        let tally = load.stop().await;
        // Under load they are equal only for moments.
        cluster.wait_equal(HEALTHY).await?;
        crossed.calls += tally.calls;
        crossed.failed += tally.failed;
        crossed.first_failure = crossed.first_failure.take().or(tally.first_failure);
        crossed.lost += tally.lost;
        Ok(beyond)
    }

    /// A planned stop, and a start as the program, unless the node runs it already.
    async fn run_as(&self, node: usize, program: &Path) -> Result<(), ClusterError> {
        let mut cluster = self.cluster.lock().await;
        let said = cluster.admin(node)?.node_status().await?;
        if (said.release == PREVIOUS_RELEASE) == (program == self.previous) {
            return Ok(());
        }
        cluster.stop(node, END).await?;
        cluster.restart_as(node, program)?;
        cluster.wait_healthy(HEALTHY).await
    }

    /// Kills the node, lets the others go on and purge, and starts it again as what it was. Gives how many
    /// shards were purged beyond what it has.
    async fn purge_without(&self, load: &Load, first_kept: &mut Option<String>) -> Result<u32, RollError> {
        let mut cluster = self.cluster.lock().await;
        cluster.kill(AWAY)?;
        let held = last_indexes(&cluster).await?;
        wait_calls(load).await?;
        let mut beyond = 0;
        for shard in 1..=cluster.shards() {
            let last = held.get(&shard).copied().unwrap_or(0) + IN_FLIGHT_MAX;
            let mut all = true;
            for node in (0..cluster.nodes()).filter(|node| *node != AWAY) {
                let compacted = cluster.admin(node)?.compact_replica(shard).await?;
                if compacted.purged_index <= last {
                    all = false;
                    first_kept.get_or_insert_with(|| {
                        format!(
                            "shard {shard} on node {node}, gone up to {}, a checkpoint at {}, others may have {last}",
                            compacted.purged_index, compacted.checkpoint_index
                        )
                    });
                }
            }
            beyond += u32::from(all);
        }
        cluster.restart(AWAY)?;
        Ok(beyond)
    }
}

/// How far the logs of the others go, by shard: what the dead node holds can be beyond that only by what was
/// in flight on it.
async fn last_indexes(cluster: &Cluster) -> Result<BTreeMap<u32, u64>, ClusterError> {
    let shards = cluster.status(0).await?.shards.into_iter();
    let last = shards.map(|shard| {
        let held = shard.replicas.iter().map(|replica| replica.last_log_index);
        (shard.shard, held.max().unwrap_or(0))
    });
    Ok(last.collect())
}

/// Until so many more calls have ended.
async fn wait_calls(load: &Load) -> Result<(), ClusterError> {
    let (begin, end) = (load.calls(), Instant::now() + CALLS_TIME);
    while load.calls() < begin + CALLS {
        if Instant::now() >= end {
            return Err(ClusterError::Waited {
                what: format!("{CALLS} calls"),
                limit: CALLS_TIME,
                seen: format!("{} calls", load.calls() - begin),
            });
        }
        sleep(POLL).await;
    }
    Ok(())
}
