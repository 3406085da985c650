//! After the faults every shard must take fresh writes and show them, soon.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use spine_client::{Commit, Key, SpineClient};
use tokio::time::Instant;

use crate::checkers::{Rule, Violation};
use crate::processes::{Cluster, ClusterError};

/// From the moment at which all processes answer again.
pub const LIVE_LIMIT: Duration = Duration::from_secs(5);
/// Fresh writes, each read back, that each shard owes.
const WRITES_OF_EACH_SHARD: u32 = 10;
/// Calls under way at once.
const AT_ONCE: usize = 16;
/// A killed process needs this long at most to answer.
const ANSWERS_LIMIT: Duration = Duration::from_secs(60);

/// How soon the cluster served again.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Live {
    pub took_ms: u64,
    pub writes: u32,
}

/// Writes fresh records until every shard has taken enough of them.
///
/// # Errors
/// The violation, if that takes longer than [`LIVE_LIMIT`]; a cluster that does not answer at all.
pub async fn check_live(cluster: &Cluster, run: u32) -> Result<Result<Live, Violation>, ClusterError> {
    cluster.wait_answering(ANSWERS_LIMIT).await?;
    let began = Instant::now();
    let client = cluster.client(LIVE_LIMIT)?;
    let mut owed: BTreeMap<u32, u32> = (1..=cluster.shards())
        .map(|shard| (shard, WRITES_OF_EACH_SHARD))
        .collect();
    let (mut number, mut writes, mut last) = (0_u32, 0, String::new());
    let mut calls = FuturesUnordered::new();
    while !owed.is_empty() && began.elapsed() < LIVE_LIMIT {
        while calls.len() < AT_ONCE {
            number += 1;
            calls.push(write_and_read(client.clone(), format!("live-{run}-{number}")));
        }
        let answer = tokio::time::timeout_at(began + LIVE_LIMIT, calls.next()).await;
        match answer {
            Ok(Some(Ok(shard))) => {
                writes += 1;
                if let Some(left) = owed.get_mut(&shard) {
                    *left -= 1;
                    if *left == 0 {
                        owed.remove(&shard);
                    }
                }
            }
            Ok(Some(Err(why))) => last = why,
            Ok(None) | Err(_) => {}
        }
    }
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if owed.is_empty() {
        return Ok(Ok(Live { took_ms, writes }));
    }
    let message =
        format!("{took_ms} ms after the faults these shards still owed writes: {owed:?}; last error: {last}");
    Ok(Err(Violation::new(Rule::NotLive, "", &[], message)))
}

/// The shard, if a fresh write was acknowledged and then read.
async fn write_and_read(client: SpineClient, routing: String) -> Result<u32, String> {
    let records = client.records();
    let commit = Commit::new(&routing).put("", routing.clone());
    let committed = records.commit(commit).await.map_err(|error| error.reason)?;
    let found = records
        .get(&Key::new(&routing, ""))
        .await
        .map_err(|error| error.reason)?;
    let same = found
        .record
        .is_some_and(|record| record.value == routing.as_bytes());
    if same {
        Ok(committed.position.shard)
    } else {
        Err("a fresh write is not seen".to_owned())
    }
}
