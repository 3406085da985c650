//! Replicas have equal digests at equal index, and one whose disk was altered is noticed.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use spine_client::{Commit, SpineClient};
use tokio::time::{Instant, sleep};

use super::support::{SHARDS, block_on};
use crate::checkers::digest::Digests;
use crate::processes::alter::swap_records;
use crate::processes::scenario::{Episode, observe, run_episode};
use crate::processes::{Cluster, Options, RunOptions};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::scenario::{Focus, Scenario};

pub(super) const ROW: Row = Row {
    id: "digest",
    issue: 3,
    claim: "after faults all replicas have one digest at one index, and a replica whose disk was altered behind every \
            checksum is noticed and built anew",
    target: "0 differ, the altered one is noticed within 60 s of its next use, all equal in the end",
    run,
};

const EPISODES: u32 = 3;
const EPISODES_QUICK: u32 = 1;
const FAULT_TIME: Duration = Duration::from_secs(20);
const SEED: u64 = 3_500;
/// Replicas are compared after so many entries, so that a slow machine writes them in time.
const VERIFY_EVERY: u32 = 256;
const SETTLE: Duration = Duration::from_secs(60);
/// The altered replica is used and nothing else is written for so long at most.
const REST: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(10);
/// The replica that is altered.
const ALTERED: usize = 2;
const ROUTING: &str = "altered";
const ONE: &str = "content-one-of-the-altered-pair";
const OTHER: &str = "content-two-of-the-altered-pair";
/// Changes under way at once while the cluster must notice.
const WRITERS: u32 = 32;

#[derive(Default, Serialize)]
struct Measured {
    compared: u64,
    violations: Vec<String>,
    /// Two replicas showed different digests at one index once the altered record was used.
    checker_noticed: bool,
    /// A node said itself that its replica differs from its leader's.
    node_noticed_ms: Option<u64>,
    /// In the end all replicas were equal.
    healed: bool,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} digests compared, {} violations",
            self.compared,
            self.violations.len()
        )?;
        if let Some(first) = self.violations.first() {
            write!(f, " ({first})")?;
        }
        let checker = if self.checker_noticed { "noticed" } else { "missed" };
        write!(f, "; altered replica {checker} by the checker")?;
        match self.node_noticed_ms {
            Some(ms) => write!(f, ", by the node itself after {ms} ms"),
            None => write!(f, ", missed by the node itself"),
        }?;
        write!(f, "; {}", if self.healed { "healed" } else { "not healed" })
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.compared > 0
            && self.violations.is_empty()
            && self.checker_noticed
            && self.node_noticed_ms.is_some()
            && self.healed
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let episodes = context.rounds(EPISODES, EPISODES_QUICK);
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let settings = [format!("raft.verify_every_entries={VERIFY_EVERY}")];
        let cluster = Cluster::start_linked_with(&options, SEED, &settings).await?;
        let mut cluster = cluster.noted_in(context.journal.clone());
        let mut measured = Measured::default();
        for run in 1..=episodes {
            let seed = SEED + u64::from(run);
            let episode = Episode {
                seed,
                run,
                steps: Scenario::draw(
                    seed,
                    cluster.nodes(),
                    cluster.shards(),
                    FAULT_TIME,
                    Focus::Processes,
                )
                .steps,
                load: RunOptions::default(),
            };
            let report = run_episode(&mut cluster, &episode).await?;
            measured.compared += report.digests_compared;
            measured
                .violations
                .extend(report.violations.iter().map(ToString::to_string));
        }
        alter(&mut cluster).await?;
        notice(&cluster, &mut measured).await?;
        Finding::of(&measured)
    })
}

/// Swaps two records of a node that is down.
async fn alter(cluster: &mut Cluster) -> Result<(), RowError> {
    let records = cluster.client(DEADLINE)?.records();
    let pair = Commit::new(ROUTING).put("one", ONE).put("other", OTHER);
    let shard = records.commit(pair).await?.position.shard;
    cluster.wait_equal(SETTLE).await?;
    cluster.admin(ALTERED)?.compact_replica(shard).await?;
    cluster.kill(ALTERED)?;
    let data = cluster
        .directory()
        .join(format!("node-{}", ALTERED + 1))
        .join("data");
    if !swap_records(&data, "sled", ONE.as_bytes(), OTHER.as_bytes())? {
        return Err(RowError::because("the records to alter are in no checkpoint"));
    }
    cluster.restart(ALTERED)?;
    cluster.wait_healthy(SETTLE).await?;
    cluster.wait_equal(SETTLE).await?;
    Ok(())
}

/// Uses one of the two records, then keeps the shard busy until a node says that it differs.
async fn notice(cluster: &Cluster, measured: &mut Measured) -> Result<(), RowError> {
    let client = cluster.client(DEADLINE)?;
    let began = Instant::now();
    client
        .records()
        .commit(Commit::new(ROUTING).put("one", "new"))
        .await?;
    // At rest all replicas come to one index, where they can be compared; once it is convicted it is soon as the others.
    while began.elapsed() < REST && !measured.checker_noticed {
        let seen = observe(cluster, &mut Digests::default()).await?;
        measured.checker_noticed |= !seen.is_empty();
        sleep(POLL).await;
    }
    while began.elapsed() < SETTLE && !(measured.checker_noticed && measured.node_noticed_ms.is_some()) {
        let writes = (0..WRITERS).map(|writer| write(&client, writer));
        join_all(writes).await;
        let seen = observe(cluster, &mut Digests::default()).await?;
        measured.checker_noticed |= !seen.is_empty();
        let events = cluster.status(0).await?.events;
        if measured.node_noticed_ms.is_none() && events.iter().any(|event| event.kind == "replica-diverged") {
            measured.node_noticed_ms = u64::try_from(began.elapsed().as_millis()).ok();
        }
    }
    cluster.wait_healthy(SETTLE).await?;
    measured.healed = cluster.wait_equal(SETTLE).await.is_ok();
    Ok(())
}

async fn write(client: &SpineClient, writer: u32) {
    for _ in 0..20 {
        let commit = Commit::new(ROUTING).put(format!("busy-{writer}"), "busy");
        // Only that entries are written matters here.
        let _ = client.records().commit(commit).await;
    }
}
