//! Syncs that fail. What they were for is lost, so the node must end: after a single failed sync, which would
//! succeed if it were tried again; and beside a node that is away, after which nothing is acknowledged.

use std::fmt;
use std::fs;
use std::io;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_faultdisk::{Command, FailSync};
use tokio::time::Instant;

use super::{CALLS_BETWEEN, GIVEN_UP_LIMIT, Part, SETTLE, load_of, ms};
use crate::history::Operation;
use crate::processes::{Cluster, FaultyCluster, Run};
use crate::prove::rows::leadership::{leads_most, wait_leads_nothing};
use crate::prove::{Context, RowError};

/// From the order to the end of the process.
const ENDED_MS_GATE: u64 = 2_000;
/// It is waited for longer than it may take.
const END_LIMIT: Duration = Duration::from_secs(10);
/// A sync that failed and was neither of the log nor of a checkpoint ends nobody: where a node goes on for so
/// much longer than it may, another one is to fail.
const PASSED_BY_AFTER: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;
/// What a node says as its last words, by what could not be made durable.
const LAST_WORDS: [&str; 2] = ["spine-node: log: ", "spine-node: checkpoint: "];

#[derive(Default, Serialize)]
pub(super) struct Syncs {
    rounds: u32,
    /// Two in each round.
    ended: u32,
    /// The slowest.
    ended_ms: u64,
    /// Ends of which the node said why.
    told: u32,
    /// Failed syncs that nothing rested on.
    passed_by: u32,
    /// Until others led, the slowest; none if nobody did in time to be measured.
    given_up_ms: Option<u64>,
    /// Starts on a disk that still failed, and ended.
    refused_starts: u32,
    /// Changes that were acknowledged although one disk of three took what was written.
    acknowledged_on_one_disk: Vec<u64>,
    /// From the start on a healthy disk to a healthy cluster, the slowest.
    back_ms: u64,
    #[serde(skip)]
    ended_ms_gate: u64,
}

/// A node whose sync is to fail.
struct Failing {
    node: usize,
    since: Instant,
    /// How often it had said last words by then.
    words: usize,
}

impl Failing {
    /// Before the order.
    fn now(cluster: &Cluster, node: usize) -> io::Result<Self> {
        let words = last_words(cluster, node)?;
        Ok(Self {
            node,
            since: Instant::now(),
            words,
        })
    }
}

impl fmt::Display for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given_up = self
            .given_up_ms
            .map_or_else(|| "never".to_owned(), |ms| format!("after {ms} ms"));
        write!(
            f,
            "{} rounds, {} ends after {} ms at most, {} told ({} syncs passed by), others lead {given_up}, \
             {} starts on a failing disk refused, {} changes acknowledged on one disk",
            self.rounds,
            self.ended,
            self.ended_ms,
            self.told,
            self.passed_by,
            self.refused_starts,
            self.acknowledged_on_one_disk.len()
        )?;
        if let Some(first) = self.acknowledged_on_one_disk.first() {
            write!(f, " (first: #{first})")?;
        }
        write!(f, ", healthy {} ms after the start", self.back_ms)
    }
}

impl Syncs {
    pub(super) fn is_met(&self) -> bool {
        self.rounds > 0
            && self.ended == 2 * self.rounds
            && self.told == self.ended
            && self.ended_ms <= self.ended_ms_gate
            && self.given_up_ms.is_some()
            && self.refused_starts == self.rounds
            && self.acknowledged_on_one_disk.is_empty()
    }

    /// One sync fails, of the node that leads most; the two others go on.
    async fn beside_two(&mut self, faulty: &mut FaultyCluster, load: &Run) -> Result<(), RowError> {
        load.wait_operations(CALLS_BETWEEN).await?;
        let node = leads_most(faulty.cluster()).await?;
        let failed = self.fail_once(faulty, node).await?;
        let given_up = wait_leads_nothing(faulty.cluster(), node, GIVEN_UP_LIMIT).await?;
        let given_up = given_up.map(|_| ms(failed.elapsed()));
        self.given_up_ms = self
            .given_up_ms
            .zip(given_up)
            .map(|(most, given_up)| most.max(given_up));
        faulty.order(node, &Command::Heal)?;
        self.comes_back(faulty, &[node]).await
    }

    /// Gives when the sync was to fail that ended the node.
    async fn fail_once(&mut self, faulty: &mut FaultyCluster, node: usize) -> Result<Instant, RowError> {
        let passed_by_after = Duration::from_millis(self.ended_ms_gate) + PASSED_BY_AFTER;
        for _ in 0..TRIES {
            let failing = Failing::now(faulty.cluster(), node)?;
            faulty.order(node, &Command::FailSync(FailSync::Once))?;
            let ended = faulty.cluster().wait_ended(node, passed_by_after).await;
            if ended.is_ok() {
                self.note_end(faulty, &failing)?;
                return Ok(failing.since);
            }
            self.passed_by += 1;
        }
        Err(RowError::because(format!(
            "node {} goes on after {TRIES} failed syncs",
            node + 1
        )))
    }

    /// Every sync fails, of a node without which nothing is acknowledged: the third one is away. Gives from
    /// when until when that was so.
    async fn beside_one(
        &mut self,
        faulty: &mut FaultyCluster,
        load: &Run,
        random: &mut ChaCha8Rng,
    ) -> Result<(u64, u64), RowError> {
        load.wait_operations(CALLS_BETWEEN).await?;
        // Not the first one: it is asked who leads.
        let away = random.random_range(1..faulty.cluster().nodes());
        faulty.cluster_mut().kill(away)?;
        let others_lead = wait_leads_nothing(faulty.cluster(), away, GIVEN_UP_LIMIT).await?;
        if others_lead.is_none() {
            return Err(RowError::because("nobody took over from a node that was killed"));
        }
        load.wait_operations(CALLS_BETWEEN).await?;
        let node = leads_most(faulty.cluster()).await?;
        let clock = faulty.cluster().journal().clock();
        let failing = Failing::now(faulty.cluster(), node)?;
        faulty.order(node, &Command::FailSync(FailSync::Always))?;
        let from_ns = clock();
        faulty.cluster().wait_ended(node, END_LIMIT).await?;
        self.note_end(faulty, &failing)?;
        faulty.cluster_mut().restart(node)?;
        let refused = faulty.cluster().wait_ended(node, END_LIMIT).await;
        self.refused_starts += u32::from(refused.is_ok());
        let until_ns = clock();
        faulty.order(node, &Command::Heal)?;
        self.comes_back(faulty, &[node, away]).await?;
        Ok((from_ns, until_ns))
    }

    fn note_end(&mut self, faulty: &mut FaultyCluster, failing: &Failing) -> io::Result<()> {
        let Failing { node, since, words } = *failing;
        self.ended += 1;
        self.ended_ms = self.ended_ms.max(ms(since.elapsed()));
        self.told += u32::from(last_words(faulty.cluster(), node)? > words);
        faulty.cluster_mut().began(node, "ended by itself");
        Ok(())
    }

    async fn comes_back(&mut self, faulty: &mut FaultyCluster, nodes: &[usize]) -> Result<(), RowError> {
        let started = Instant::now();
        for node in nodes {
            faulty.cluster_mut().restart(*node)?;
        }
        faulty.cluster().wait_healthy(SETTLE).await?;
        self.back_ms = self.back_ms.max(ms(started.elapsed()));
        Ok(())
    }
}

pub(super) async fn run(
    context: &Context,
    faulty: &mut FaultyCluster,
    rounds: u32,
    random: &mut ChaCha8Rng,
) -> Result<Part<Syncs>, RowError> {
    let load = Run::start(faulty.cluster(), &load_of(1))?;
    let mut syncs = Syncs {
        given_up_ms: Some(0),
        ended_ms_gate: context.rounds(ENDED_MS_GATE, 3 * ENDED_MS_GATE),
        ..Syncs::default()
    };
    let mut on_one_disk = Vec::new();
    for _ in 0..rounds {
        syncs.beside_two(faulty, &load).await?;
        on_one_disk.push(syncs.beside_one(faulty, &load, random).await?);
        syncs.rounds += 1;
    }
    load.wait_operations(CALLS_BETWEEN).await?;
    let operations = load.stop().await;
    syncs.acknowledged_on_one_disk = acknowledged(&operations, &on_one_disk);
    Part::of(syncs, faulty, &operations).await
}

/// How often a node has said at its end what could not be made durable.
fn last_words(cluster: &Cluster, node: usize) -> io::Result<usize> {
    let said = fs::read(cluster.node_directory(node).join("node.log"))?;
    let said = String::from_utf8_lossy(&said);
    let times = |words: &str| said.matches(words).count();
    Ok(LAST_WORDS.into_iter().map(times).sum())
}

/// Changes that were asked for and acknowledged within one of these times, those left out that had been made
/// before.
fn acknowledged(operations: &[Operation], times: &[(u64, u64)]) -> Vec<u64> {
    let within = |operation: &Operation| {
        let returned = operation.returned_ns.unwrap_or(u64::MAX);
        times
            .iter()
            .any(|(from, until)| operation.invoked_ns >= *from && returned <= *until)
    };
    let is_news = |operation: &Operation| operation.seen().is_some_and(|seen| !seen.replayed);
    operations
        .iter()
        .filter(|operation| !operation.action.is_read() && is_news(operation) && within(operation))
        .map(|operation| operation.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    #[test]
    fn only_changes_that_began_and_ended_meanwhile_count() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.put(1, "a", 2).at(2, 3).ok(0, 6);
        history.put(1, "a", 3).at(4, 5).ok(0, 7);
        history.read(1, "a").at(6, 7).sees(Some(2), 0, 6, 6);
        history.put(1, "a", 4).at(8, 9).unknown();
        let mut operations = history.operations();
        let times = [(90, 150), (110, 190), (110, 210), (110, 190), (110, 190)];
        for (operation, (invoked, returned)) in operations.iter_mut().zip(times) {
            operation.invoked_ns = invoked;
            operation.returned_ns = Some(returned);
        }
        assert_eq!(acknowledged(&operations, &[(100, 200)]), [1]);
        assert!(acknowledged(&operations, &[]).is_empty());
    }
}
