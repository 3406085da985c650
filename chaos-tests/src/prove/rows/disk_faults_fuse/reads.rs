//! A disk that gives back other bytes than were written: a flipped bit in whatever a node reads of its log or
//! of its state, from its start until it has said that something is wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_client::Key;
use spine_faultdisk::Command;
use tokio::time::{Instant, sleep};

use super::{DEADLINE, Part, SETTLE, VALUE_BYTES, any_node, load_of, ms};
use crate::history::Value;
use crate::processes::{Cluster, FaultyCluster, Run};
use crate::prove::RowError;
use crate::prove::rows::support::SHARDS;

/// Segments of the log.
const LOG: &str = ".seg";
/// Of the state, in turns: records, where they are, what changed of that lately, and how far the state goes.
const STATE: [&str; 4] = ["slabs/", "metadata/", "metadata/log_", "CHECKPOINT"];
/// What a node says that found damage.
const FINDINGS: [&str; 3] = ["log-replaced", "replica-stopped", "replica-repaired"];
/// More than a megabyte of the log: a bit is flipped in each megabyte that is read, or more often.
const CALLS_BEFORE: usize = 600;
const STOP_TIME: Duration = Duration::from_secs(25);
const FOUND_LIMIT: Duration = Duration::from_secs(30);
/// The trouble goes on for so long after it was found.
const HOLD: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(100);
/// Records that are known, and read from the node's own replicas.
const RECORDS: u64 = 24;

#[derive(Default, Serialize)]
pub(super) struct Reads {
    log_rounds: u32,
    log_found: u32,
    state_rounds: u32,
    state_found: u32,
    /// Known records that a replica of the node showed otherwise.
    wrong: u32,
    /// Replicas that went on under their old id although their log was damaged.
    old_ids_left: usize,
    /// From the start to all known records on the node, the slowest.
    whole_ms: u64,
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "found in {} of {} logs and {} of {} states, {} wrong records, {} old replica ids left, whole \
             again after {} ms at most",
            self.log_found,
            self.log_rounds,
            self.state_found,
            self.state_rounds,
            self.wrong,
            self.old_ids_left,
            self.whole_ms
        )
    }
}

impl Reads {
    /// In a log that was read to its end and found whole, the bits stood where nothing is written.
    pub(super) fn is_met(&self) -> bool {
        self.log_found > 0
            && self.state_found == self.state_rounds
            && self.state_rounds > 0
            && self.wrong == 0
            && self.old_ids_left == 0
    }

    async fn of_log(&mut self, faulty: &mut FaultyCluster, node: usize) -> Result<(), RowError> {
        let before = replica_ids(faulty.cluster(), node).await?;
        let found = self.start_misreading(faulty, node, LOG).await?;
        self.log_rounds += 1;
        self.log_found += u32::from(found);
        if found {
            self.old_ids_left += ids_left(faulty.cluster(), node, &before).await?;
        }
        Ok(())
    }

    async fn of_state(
        &mut self,
        faulty: &mut FaultyCluster,
        node: usize,
        part: &str,
    ) -> Result<(), RowError> {
        let admin = faulty.cluster().admin(node)?;
        for shard in 0..=SHARDS {
            // Into the engine, with the log cut. Without that an empty state is misread.
            let _ = admin.compact_replica(shard).await;
        }
        let found = self.start_misreading(faulty, node, part).await?;
        self.state_rounds += 1;
        self.state_found += u32::from(found);
        Ok(())
    }

    /// Stops the node and starts it on a disk that flips bits of these files; heals the disk once something
    /// was found, and waits until all is well. Gives whether something was found.
    async fn start_misreading(
        &mut self,
        faulty: &mut FaultyCluster,
        node: usize,
        part: &str,
    ) -> Result<bool, RowError> {
        faulty.cluster_mut().stop(node, STOP_TIME).await?;
        faulty.order(node, &Command::CorruptRead(part.to_owned()))?;
        let started = Instant::now();
        faulty.cluster_mut().restart(node)?;
        let found = finds(faulty.cluster(), node).await?;
        self.look(faulty.cluster(), node).await?;
        sleep(HOLD).await;
        self.look(faulty.cluster(), node).await?;
        faulty.order(node, &Command::Heal)?;
        faulty.cluster().wait_healthy(SETTLE).await?;
        self.wait_whole(faulty.cluster(), node).await?;
        self.whole_ms = self.whole_ms.max(ms(started.elapsed()));
        Ok(found)
    }

    /// What the node's own replicas show now; one that shows nothing shows nothing wrong.
    async fn look(&mut self, cluster: &Cluster, node: usize) -> Result<(), RowError> {
        let admin = cluster.admin(node)?;
        for number in 0..RECORDS {
            if let Ok(held) = admin.read_replica(&key(number)).await
                && let Some((_, value)) = held.found
            {
                self.wrong += u32::from(value[..] != content(number)[..]);
            }
        }
        Ok(())
    }

    /// Until every known record is on the node, whatever it is then.
    async fn wait_whole(&mut self, cluster: &Cluster, node: usize) -> Result<(), RowError> {
        let admin = cluster.admin(node)?;
        let until = Instant::now() + SETTLE;
        for number in 0..RECORDS {
            loop {
                let held = admin.read_replica(&key(number)).await;
                if held.is_ok_and(|held| held.found.is_some()) {
                    break;
                }
                if Instant::now() > until {
                    let missing = format!("record {number} does not come back to node {}", node + 1);
                    return Err(RowError::because(missing));
                }
                sleep(POLL).await;
            }
        }
        self.look(cluster, node).await
    }
}

pub(super) async fn run(
    faulty: &mut FaultyCluster,
    rounds: u32,
    random: &mut ChaCha8Rng,
) -> Result<Part<Reads>, RowError> {
    let client = faulty.cluster().client(DEADLINE)?;
    for number in 0..RECORDS {
        client.records().put(&key(number), content(number)).await?;
    }
    let load = Run::start(faulty.cluster(), &load_of(3))?;
    let mut reads = Reads::default();
    for part in STATE.iter().cycle().take(usize::try_from(rounds).unwrap_or(0)) {
        load.wait_operations(CALLS_BEFORE).await?;
        let node = any_node(faulty, random);
        reads.of_log(faulty, node).await?;
        load.wait_operations(CALLS_BEFORE).await?;
        let node = any_node(faulty, random);
        reads.of_state(faulty, node, part).await?;
    }
    load.wait_operations(CALLS_BEFORE).await?;
    let operations = load.stop().await;
    Part::of(reads, faulty, &operations).await
}

fn key(number: u64) -> Key {
    Key::new(format!("known-{number}"), "")
}

fn content(number: u64) -> Vec<u8> {
    Value(number).encode(VALUE_BYTES)
}

/// Whether the node says that it found something.
async fn finds(cluster: &Cluster, node: usize) -> Result<bool, RowError> {
    let until = Instant::now() + FOUND_LIMIT;
    while Instant::now() < until {
        // It may not answer yet.
        if let Ok(status) = cluster.admin(node)?.node_status().await
            && status
                .events
                .iter()
                .any(|event| FINDINGS.contains(&event.kind.as_str()))
        {
            return Ok(true);
        }
        sleep(POLL).await;
    }
    Ok(false)
}

/// The replicas that the plan gives to a node.
async fn replica_ids(cluster: &Cluster, node: usize) -> Result<BTreeSet<u64>, RowError> {
    let status = cluster.status(node).await?;
    let address = cluster.grpc(node);
    let shown = status.nodes.iter().find(|shown| shown.grpc_address == address);
    let id = shown.map_or(0, |shown| shown.node_id);
    let replicas = status.shards.iter().flat_map(|shard| &shard.replicas);
    Ok(replicas
        .filter(|replica| replica.node_id == id)
        .map(|replica| replica.replica_id)
        .collect())
}

/// How many of these the node still has in the end: the cluster gives it others.
async fn ids_left(cluster: &Cluster, node: usize, before: &BTreeSet<u64>) -> Result<usize, RowError> {
    let until = Instant::now() + SETTLE;
    loop {
        let left = replica_ids(cluster, node).await?.intersection(before).count();
        if left == 0 || Instant::now() > until {
            return Ok(left);
        }
        sleep(POLL).await;
    }
}
