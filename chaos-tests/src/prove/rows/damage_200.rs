//! Random damage to the files of a stopped node: found, mended without an operator, and never shown to anybody.

use std::fmt;
use std::fs;
use std::time::Duration;

use rand::{RngExt, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_client::{Key, SpineClient};
use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::support::block_on;
use crate::processes::damage::{Damage, Role, damage};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "damage-200",
    issue: 5,
    claim: "a bit, 512 bytes, a whole file or a misdirected write in the data directory of a stopped node is found and \
            mended without an operator",
    target: "200 of 200 found or shown to be harmless, all replicas equal again; 0 wrong reads, 0 failed calls",
    run,
};

const ROUNDS: u32 = 200;
const ROUNDS_QUICK: u32 = 6;
const SEED: u64 = 20_000;
const SHARDS: u32 = 2;
/// Records that are known, and read again after each round, from callers' side and from the damaged node's replicas.
const RECORDS: usize = 120;
const VALUE_BYTES: usize = 2_000;
const DEADLINE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_TIME: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(100);
/// So often each replica's state is read while the row runs; by default it is once a day.
const SCRUB_EVERY_MS: u64 = 300;

#[derive(Default, Serialize)]
struct Measured {
    rounds: u32,
    found: u32,
    /// Not noticed, and everything that the node reads was read again after that and is as it was.
    harmless: u32,
    /// Neither.
    missed: Vec<String>,
    mended: u32,
    not_mended: Vec<String>,
    wrong: u32,
    slowest_ms: u64,
    calls: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} damages: {} found, {} harmless, {} missed; {} whole again after {} ms at most; {} wrong reads, {} calls, \
             {} failed",
            self.rounds,
            self.found,
            self.harmless,
            self.missed.len(),
            self.mended,
            self.slowest_ms,
            self.wrong,
            self.calls,
            self.failed
        )?;
        let first = self.missed.first().or_else(|| self.not_mended.first());
        match first.or(self.first_failure.as_ref()) {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.mended == self.rounds
            && self.found + self.harmless == self.rounds
            && self.found > 0
            && self.wrong == 0
            && self.failed == 0
            && self.calls > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    let settings = vec![
        format!("storage.scrub_every_ms={SCRUB_EVERY_MS}"),
        "storage.segment_bytes=8388608".to_owned(),
        "storage.min_free_bytes=67108864".to_owned(),
        "raft.log_keep_entries=64".to_owned(),
    ];
    block_on(async {
        let cluster = Cluster::start_with(&options, settings).await?;
        let mut trial = Trial {
            client: cluster.client(DEADLINE)?,
            cluster: cluster.noted_in(context.journal.clone()),
            random: ChaCha8Rng::seed_from_u64(SEED),
            measured: Measured {
                rounds: context.rounds(ROUNDS, ROUNDS_QUICK),
                ..Measured::default()
            },
        };
        trial.fill().await?;
        let callers = Callers::start(&trial.client);
        for _ in 0..trial.measured.rounds {
            if !trial.round().await? {
                break;
            }
        }
        let mut measured = trial.measured;
        (measured.calls, measured.failed, measured.first_failure) = callers.stop().await;
        if !(measured.not_mended.is_empty() && measured.missed.is_empty()) {
            trial.cluster.keep_files();
        }
        Finding::of(&measured)
    })
}

struct Trial {
    cluster: Cluster,
    client: SpineClient,
    random: ChaCha8Rng,
    measured: Measured,
}

fn key(number: usize) -> Key {
    Key::new(format!("known-{number}"), "")
}

fn value(number: usize) -> Vec<u8> {
    // Nothing that compresses to a few bytes: an engine's files must hold it.
    let mut value = vec![0; VALUE_BYTES];
    ChaCha8Rng::seed_from_u64(number as u64).fill(&mut value[..]);
    value
}

impl Trial {
    async fn fill(&self) -> Result<(), RowError> {
        for number in 0..RECORDS {
            self.client.records().put(&key(number), value(number)).await?;
        }
        Ok(())
    }

    /// False where the cluster is not whole afterwards: the next round would show nothing.
    async fn round(&mut self) -> Result<bool, RowError> {
        let node = self.random.random_range(0..self.cluster.nodes());
        // In the engine, with the log cut, as often as not.
        if self.random.random_range(0..2) == 0 {
            for shard in 0..=SHARDS {
                self.cluster.admin(node)?.compact_replica(shard).await?;
            }
        }
        self.cluster.stop(node, STOP_TIME).await?;
        let data = self.cluster.node_directory(node).join("data");
        let log = self.cluster.node_directory(node).join("node.log");
        let said_before = fs::metadata(&log)?.len();
        let done = damage(&data, &mut self.random)?;
        let began = Instant::now();
        self.cluster.restart(node)?;
        if let Err(why) = self.becomes_whole(node).await {
            self.measured.not_mended.push(format!("{done}: {why}"));
            return Ok(false);
        }
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.measured.slowest_ms = self.measured.slowest_ms.max(took);
        self.measured.mended += 1;
        let said = fs::read(&log)?;
        let said = said
            .get(usize::try_from(said_before).unwrap_or(0)..)
            .unwrap_or_default();
        self.judge(node, &done, &String::from_utf8_lossy(said)).await?;
        self.read_all(node).await?;
        Ok(true)
    }

    /// Counts the damage as found, harmless or missed.
    async fn judge(&mut self, node: usize, done: &Damage, said: &str) -> Result<(), RowError> {
        let events = self.cluster.admin(node)?.node_status().await?.events;
        let tells = ["replica-stopped", "replica-repaired", "log-replaced"];
        let found =
            events.iter().any(|event| tells.contains(&event.kind.as_str())) || said.contains("mended");
        match (found, done.role) {
            (true, _) => self.measured.found += 1,
            (false, Role::Checked) => self.measured.missed.push(done.to_string()),
            // The whole log was read at the start, and all state by the scrub that was waited for.
            (false, Role::Log | Role::Engine | Role::Unread) => self.measured.harmless += 1,
        }
        Ok(())
    }

    /// The node answers, all replicas are equal, and a scrub of every replica of the node after that finds them sound.
    async fn becomes_whole(&self, node: usize) -> Result<(), RowError> {
        let until = Instant::now() + PATIENCE;
        self.cluster.wait_answering(PATIENCE).await?;
        let replicas = u64::from(SHARDS) + 1;
        loop {
            self.cluster.wait_healthy(until - Instant::now()).await?;
            self.cluster.check_alive()?;
            let before = self.scrubs(node).await?;
            // Twice all of them: one round may have been under way.
            while self.scrubs(node).await?.0 < before.0 + 2 * replicas {
                if Instant::now() > until {
                    return Err(RowError::because("replicas were not read in time"));
                }
                sleep(POLL).await;
            }
            if self.scrubs(node).await?.1 == before.1 {
                return Ok(());
            }
        }
    }

    /// Replicas that scrubs of a node found sound, and damaged.
    async fn scrubs(&self, node: usize) -> Result<(u64, u64), RowError> {
        let page = self.cluster.metrics(node).await?;
        let count = |outcome: &str| {
            let name = format!("spine_storage_scrubs_total{{outcome=\"{outcome}\"}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&name));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
        };
        Ok((count("sound"), count("damaged")))
    }

    /// What a caller reads, and what the node's own replicas hold.
    async fn read_all(&mut self, node: usize) -> Result<(), RowError> {
        let admin = self.cluster.admin(node)?;
        for number in 0..RECORDS {
            let seen = self.client.records().get(&key(number)).await?.record;
            let held = admin.read_replica(&key(number)).await?.found;
            let right = value(number);
            let seen_wrong = seen.is_none_or(|record| record.value[..] != right[..]);
            let held_wrong = held.is_none_or(|(_, value)| value[..] != right[..]);
            self.measured.wrong += u32::from(seen_wrong) + u32::from(held_wrong);
        }
        Ok(())
    }
}
