//! A replica that came to differ from the others is noticed by the next Verify entry, convicted by the majority, healed.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use spine_client::{Key, SpineClient};
use tokio::time::{Instant, sleep};

use super::support::{SHARDS, block_on};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "divergence",
    issue: 5,
    claim: "a replica, leader or not, that came to differ is noticed, convicted by the majority of its group, and healed",
    target: "noticed within 1,000 ms of the entry that makes a Verify due; only the altered one convicted, \
             which its metrics and its log tell; all equal",
    run,
};

/// The same again, follower and leader in turns.
const ROUNDS: u32 = 20;
const ROUNDS_QUICK: u32 = 2;
/// From the entry after which a Verify is due to the event of the node.
const GATE_MS: u64 = 1_000;
const VERIFY_EVERY: u64 = 256;
const DEADLINE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const WRITERS: usize = 16;
/// What a node logs whose replica is convicted.
const CONVICTION: &str = "this replica differs from the majority of its group";

#[derive(Default, Serialize)]
struct Measured {
    rounds: u32,
    convicted: u32,
    /// The altered node's metrics counted the difference as noticed, and as a conviction.
    counted: u32,
    /// Its log says so, of that shard.
    logged: u32,
    slowest_notice_ms: u64,
    slowest_heal_ms: u64,
    /// Replicas that were right and were convicted, by their nodes' events, metrics or logs.
    wronged: u32,
    healed: u32,
    /// Records that a caller or a replica showed wrong after the healing.
    wrong: u32,
    gate_ms: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} convicted, {} counted, {} logged, noticed after {} ms at most, healed {} after {} ms \
             at most; {} others convicted, {} wrong reads after",
            self.convicted,
            self.rounds,
            self.counted,
            self.logged,
            self.slowest_notice_ms,
            self.healed,
            self.slowest_heal_ms,
            self.wronged,
            self.wrong
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.convicted == self.rounds
            && self.counted == self.rounds
            && self.logged == self.rounds
            && self.healed == self.rounds
            && self.wronged == 0
            && self.wrong == 0
            && self.slowest_notice_ms <= self.gate_ms
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    let settings = [
        "development.tamper=true".to_owned(),
        format!("raft.verify_every_entries={VERIFY_EVERY}"),
        "storage.segment_bytes=8388608".to_owned(),
        "storage.min_free_bytes=67108864".to_owned(),
    ];
    block_on(async {
        let cluster = Cluster::start_with(&options, settings.to_vec()).await?;
        let cluster = cluster.noted_in(context.journal.clone());
        let mut measured = Measured {
            rounds: context.rounds(ROUNDS, ROUNDS_QUICK),
            gate_ms: context.rounds(GATE_MS, 3 * GATE_MS),
            ..Measured::default()
        };
        for round in 0..measured.rounds {
            one(&cluster, round, &mut measured).await?;
        }
        Finding::of(&measured)
    })
}

async fn one(cluster: &Cluster, round: u32, measured: &mut Measured) -> Result<(), RowError> {
    let client = cluster.client(DEADLINE)?;
    let key = Key::new(format!("altered-{round}"), "");
    let shard = client.records().put(&key, "true").await?.position.shard;
    cluster.wait_equal(PATIENCE).await?;
    let leader = cluster.leader_of(shard, 0).await?;
    let leader = leader.ok_or_else(|| RowError::because("the shard has no leader"))?;
    let odd = if round.is_multiple_of(2) {
        (leader + 1) % 3
    } else {
        leader
    };
    let mut before = Vec::new();
    for node in 0..cluster.nodes() {
        before.push(Alarms::of(cluster, node, shard).await?);
    }
    let began_ms = now_ms();
    let altered_at = cluster.admin(odd)?.tamper_replica(&key, "false").await?;
    let due_ms = write_until(cluster, &client, &key, (shard, odd, altered_at + VERIFY_EVERY)).await?;
    let until = Instant::now() + PATIENCE;
    let noticed_ms = loop {
        if let Some(at_ms) = convicted_at(cluster, odd, shard, began_ms).await? {
            break at_ms;
        }
        if Instant::now() > until {
            return Ok(());
        }
        sleep(POLL).await;
    };
    measured.convicted += 1;
    let after = u64::try_from(noticed_ms - due_ms).unwrap_or(0);
    measured.slowest_notice_ms = measured.slowest_notice_ms.max(after);

    cluster.wait_healthy(PATIENCE).await?;
    if cluster.wait_equal(PATIENCE).await.is_ok() {
        measured.healed += 1;
        let healed = u64::try_from(now_ms() - noticed_ms).unwrap_or(0);
        measured.slowest_heal_ms = measured.slowest_heal_ms.max(healed);
    }
    for (node, before) in before.iter().enumerate() {
        let new = Alarms::of(cluster, node, shard).await?.since(before);
        if node == odd {
            measured.counted += u32::from(new.noticed > 0 && new.convicted > 0);
            measured.logged += u32::from(new.logged > 0);
        } else {
            let convicted = convicted_at(cluster, node, shard, began_ms).await?;
            measured.wronged += u32::from(convicted.is_some() || new.convicted > 0 || new.logged > 0);
        }
    }
    let seen = client.records().get(&key).await?.record;
    let is_true = |value: &[u8]| value == b"true";
    measured.wrong += u32::from(!seen.is_some_and(|record| is_true(&record.value)));
    for node in 0..cluster.nodes() {
        let held = cluster.admin(node)?.read_replica(&key).await?.found;
        measured.wrong += u32::from(!held.is_some_and(|(_, value)| is_true(&value)));
    }
    Ok(())
}

/// What a node told of differences so far, to those who watch its metrics and its log.
struct Alarms {
    noticed: u64,
    convicted: u64,
    /// Lines that convict a replica of the shard.
    logged: u64,
}

impl Alarms {
    async fn of(cluster: &Cluster, node: usize, shard: u32) -> Result<Self, RowError> {
        let page = cluster.metrics(node).await?;
        let log = fs::read(cluster.node_directory(node).join("node.log"))?;
        Ok(Self {
            noticed: counted(&page, "noticed"),
            convicted: counted(&page, "convicted"),
            logged: convictions(&String::from_utf8_lossy(&log), shard),
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            noticed: self.noticed - before.noticed,
            convicted: self.convicted - before.convicted,
            logged: self.logged - before.logged,
        }
    }
}

/// A verdict that was never given has no line.
fn counted(page: &str, verdict: &str) -> u64 {
    let name = format!("spine_shard_divergences_total{{verdict=\"{verdict}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn convictions(log: &str, shard: u32) -> u64 {
    let shard = format!("shard={shard}");
    let of_shard =
        |line: &str| line.contains(CONVICTION) && line.split_whitespace().any(|word| word == shard);
    log.lines().map(|line| u64::from(of_shard(line))).sum()
}

/// Writes other records of the shard until a Verify is due that covers the altered one; when that was.
async fn write_until(
    cluster: &Cluster,
    client: &SpineClient,
    key: &Key,
    (shard, node, index): (u32, usize, u64),
) -> Result<i64, RowError> {
    loop {
        let writes = (0..WRITERS).map(|writer| {
            let busy = Key::new(key.routing_key.clone(), format!("busy-{writer}"));
            async move {
                for _ in 0..8 {
                    // Only that entries are written matters here.
                    let _ = client.records().put(&busy, "busy").await;
                }
            }
        });
        futures_util::future::join_all(writes).await;
        let status = cluster.admin(node)?.node_status().await?;
        let here = status.shards.iter().find(|summary| summary.shard == shard);
        let applied = here.and_then(|summary| summary.replicas.first());
        // A replica that was convicted already shows nothing.
        if applied.is_none_or(|replica| replica.applied_index == 0 || replica.applied_index >= index) {
            return Ok(now_ms());
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// When a node said, since the round began, that its replica differs from the majority.
async fn convicted_at(
    cluster: &Cluster,
    node: usize,
    shard: u32,
    since: i64,
) -> Result<Option<i64>, RowError> {
    let events = cluster.admin(node)?.node_status().await?.events;
    let mut found = events
        .iter()
        .filter(|event| event.kind == "replica-diverged" && event.shard == shard && event.at_ms >= since);
    Ok(found.next_back().map(|event| event.at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_read_from_a_page_and_a_log() {
        let page =
            "# TYPE spine_shard_divergences counter\nspine_shard_divergences_total{verdict=\"noticed\"} 3\n";
        assert_eq!((counted(page, "noticed"), counted(page, "convicted")), (3, 0));

        let line =
            format!("2026-11-30T09:00:00.000000Z ERROR spine_node::repair: {CONVICTION} shard=1 index=7");
        let other = line.replace("shard=1", "shard=12");
        let log = format!("{other}\n{line}\n{line}\nanother line shard=1\n");
        assert_eq!((convictions(&log, 1), convictions(&log, 12)), (2, 1));
    }

    #[test]
    fn a_conviction_that_is_not_counted_or_not_logged_fails_the_row() {
        let mut measured = Measured {
            rounds: 2,
            convicted: 2,
            counted: 2,
            logged: 2,
            healed: 2,
            ..Measured::default()
        };
        assert!(measured.met());
        measured.counted = 1;
        assert!(!measured.met());
        (measured.counted, measured.logged) = (2, 1);
        assert!(!measured.met());
    }
}
