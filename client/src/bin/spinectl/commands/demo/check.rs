//! Reads every acknowledged write back from every replica.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use spine_client::local_cluster::LocalCluster;
use spine_client::{Admin, Error};
use tokio::time::sleep;

use crate::exit::Failure;
use crate::output::progress;

use super::callers::Write;

/// Reads under way at one node.
const READS_AT_ONCE: usize = 32;
/// The replicas have caught up before; this is for a replica that applies the very last entries late.
const LAG_LIMIT: Duration = Duration::from_secs(5);
const LAG_PAUSE: Duration = Duration::from_millis(100);

/// What the replicas hold.
#[derive(Debug, Default)]
pub(super) struct ReadBack {
    pub(super) reads: u64,
    /// Each write that a replica does not hold, and which replica.
    pub(super) lost: Vec<String>,
}

pub(super) async fn read_back(cluster: &LocalCluster, writes: &[Write]) -> Result<ReadBack, Failure> {
    let mut result = ReadBack::default();
    let bar = progress(writes.len() as u64 * cluster.nodes().len() as u64, "reads");
    let until = Instant::now() + LAG_LIMIT;
    for node in cluster.nodes() {
        let admin = cluster.client().admin(node.grpc_address())?;
        let mut checks = iter(writes)
            .map(|write| holds(&admin, write, until))
            .buffer_unordered(READS_AT_ONCE);
        while let Some(held) = checks.next().await {
            bar.inc(1);
            match held? {
                Held::Yes => result.reads += 1,
                Held::NotHosted => {}
                Held::No(what) => result.lost.push(format!("node {}: {what}", node.number())),
            }
        }
    }
    bar.finish_and_clear();
    // With fewer replicas than nodes some nodes host a write not at all, but three always do.
    let least = writes.len() as u64 * u64::min(3, cluster.nodes().len() as u64);
    if result.reads + (result.lost.len() as u64) < least {
        result.lost.push(format!(
            "only {} of {least} copies are hosted anywhere",
            result.reads
        ));
    }
    Ok(result)
}

enum Held {
    Yes,
    NotHosted,
    No(String),
}

async fn holds(admin: &Admin, write: &Write, until: Instant) -> Result<Held, Error> {
    loop {
        let replica = admin.read_replica(&write.key).await?;
        if !replica.hosted {
            return Ok(Held::NotHosted);
        }
        let what = match replica.found {
            Some((revision, value)) if revision == write.revision && value == write.value => {
                return Ok(Held::Yes);
            }
            Some((revision, _)) => format!("revision {} is there as {revision}", write.revision),
            None => format!(
                "revision {} is missing at index {}",
                write.revision, replica.applied_index
            ),
        };
        if Instant::now() >= until {
            return Ok(Held::No(what));
        }
        sleep(LAG_PAUSE).await;
    }
}
