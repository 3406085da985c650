//! Random damage to the files of a stopped node: found, mended without an operator, and never shown to anybody.

mod reads;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use rand::{RngExt, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_client::{Key, SpineClient};
use tokio::time::{Instant, sleep};

use self::reads::{Readers, Reads};
use super::callers::Callers;
use super::support::block_on;
use crate::processes::damage::{Damage, Role, damage};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "damage-200",
    issue: 5,
    claim: "a bit, 512 bytes, a whole file or a misdirected write, also of another segment or replica, in \
            the data directory of a stopped node is found and mended without an operator, and never shown \
            meanwhile",
    target: "200 damages to what a node reads: the 100 to what its start checks all found, the others found \
             or shown to be harmless, all replicas equal again; 0 wrong reads during the start and after it, \
             0 failed calls",
    run,
};

const ROUNDS: u32 = 200;
const ROUNDS_QUICK: u32 = 6;
/// What is damaged, in turns. Half of it is checked by the node's start (`Checked`, `Record`), so at least
/// half of all damages must be found; how many of the others are depends on what happens to stand there.
const TURNS: [Role; 10] = [
    Role::Checked,
    Role::Engine,
    Role::Record,
    Role::Engine,
    Role::Slack,
    Role::Record,
    Role::Checked,
    Role::Engine,
    Role::Record,
    Role::Engine,
];
/// After so many rounds one more, which does not count, damages what nobody reads: nothing may be found
/// there.
const UNREAD_EVERY: u32 = 5;
const SEED: u64 = 20_000;
const SHARDS: u32 = 2;
/// Records that are known, and read again after each round, from callers' side and from the damaged node's replicas.
const RECORDS: usize = 120;
const VALUE_BYTES: usize = 2_000;
const DEADLINE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_TIME: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(100);
/// Events of a node that found damage, to its state or its log, ...
const TELLS: [&str; 4] = [
    "replica-stopped",
    "replica-repaired",
    "log-replaced",
    "old-copy-found",
];
/// ... and what its log says of a small file that it has twice.
const MENDED: &str = "it is mended from ";
/// So often each replica's state is read while the row runs; by default it is once a day.
const SCRUB_EVERY_MS: u64 = 300;

/// What became of the damages to one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    found: u32,
    /// Not noticed, and everything that the node reads was read again after that and is as it was.
    harmless: u32,
    /// Not noticed, although the start checks what was damaged.
    missed: u32,
}

impl Tally {
    fn count(&mut self, role: Role, found: bool) {
        match (found, role.must_be_found()) {
            (true, _) => self.found += 1,
            (false, true) => self.missed += 1,
            // The whole log was read at the start, and all state by the scrub that was waited for.
            (false, false) => self.harmless += 1,
        }
    }

    fn all(self) -> u32 {
        self.found + self.harmless + self.missed
    }
}

#[derive(Default, Serialize)]
struct Measured {
    /// Without those to what nobody reads.
    rounds: u32,
    by_role: BTreeMap<Role, Tally>,
    /// As many must be found in any case.
    found_floor: u32,
    missed: Vec<String>,
    mended: u32,
    not_mended: Vec<String>,
    /// Linearizable reads of known records while a node started, and reads of that node's replicas.
    read_by_callers: u64,
    read_on_node: u64,
    wrong: u64,
    slowest_ms: u64,
    calls: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl Measured {
    fn of(&self, role: Role) -> Tally {
        self.by_role.get(&role).copied().unwrap_or_default()
    }

    /// Of the damages that count.
    fn sum(&self, figure: fn(Tally) -> u32) -> u32 {
        let counted = self.by_role.iter().filter(|(role, _)| **role != Role::Unread);
        counted.map(|(_, tally)| figure(*tally)).sum()
    }

    fn add(&mut self, reads: Reads) {
        self.read_by_callers += reads.by_callers;
        self.read_on_node += reads.on_node;
        self.wrong += reads.wrong;
        self.failed += reads.failed;
        self.first_failure = self.first_failure.take().or(reads.first_failure);
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} damages: {} found, {} harmless, {} missed (found/harmless:",
            self.rounds,
            self.sum(|tally| tally.found),
            self.sum(|tally| tally.harmless),
            self.missed.len(),
        )?;
        for (role, tally) in &self.by_role {
            write!(f, " {role} {}/{}", tally.found, tally.harmless)?;
        }
        write!(
            f,
            "); {} whole again after {} ms at most; {} wrong reads, of {} meanwhile and {} on the node; \
             {} calls, {} failed",
            self.mended,
            self.slowest_ms,
            self.wrong,
            self.read_by_callers,
            self.read_on_node,
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
        self.sum(Tally::all) == self.rounds
            && self.not_mended.is_empty()
            && self.missed.is_empty()
            && self.sum(|tally| tally.found) >= self.found_floor
            && self.of(Role::Unread).found == 0
            && self.wrong == 0
            && self.read_by_callers > 0
            && self.read_on_node > 0
            && self.failed == 0
            && self.calls > 0
    }
}

/// What the round with this number damages.
fn role_of(round: u32) -> Role {
    TURNS[round as usize % TURNS.len()]
}

/// How many of these rounds damage what the start checks.
fn found_floor(rounds: u32) -> u32 {
    let roles = (0..rounds).map(role_of);
    roles.map(|role| u32::from(role.must_be_found())).sum()
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
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async {
        let cluster = Cluster::start_with(&options, settings).await?;
        let mut trial = Trial {
            client: cluster.client(DEADLINE)?,
            cluster: cluster.noted_in(context.journal.clone()),
            random: ChaCha8Rng::seed_from_u64(SEED),
            measured: Measured {
                rounds,
                found_floor: found_floor(rounds),
                ..Measured::default()
            },
        };
        trial.fill().await?;
        let callers = Callers::start(&trial.client);
        trial.rounds(rounds).await?;
        let mut measured = trial.measured;
        let (calls, failed, first_failure) = callers.stop().await;
        measured.calls = calls;
        measured.failed += failed;
        measured.first_failure = measured.first_failure.or(first_failure);
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

    /// To the end, or until the cluster is not whole after one: the next would show nothing.
    async fn rounds(&mut self, rounds: u32) -> Result<(), RowError> {
        for round in 0..rounds {
            if !self.round(role_of(round)).await? {
                break;
            }
            let is_unread = (round + 1).is_multiple_of(UNREAD_EVERY);
            if is_unread && !self.round(Role::Unread).await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether the cluster is whole afterwards.
    async fn round(&mut self, role: Role) -> Result<bool, RowError> {
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
        let done = damage(&data, role, &mut self.random)?;
        let done = done.ok_or_else(|| RowError::because(format!("node {} has no {role} file", node + 1)))?;
        let began = Instant::now();
        let readers = Readers::start(&self.client, self.cluster.admin(node)?);
        self.cluster.restart(node)?;
        let whole = self.becomes_whole(node).await;
        self.measured.add(readers.stop().await);
        if let Err(why) = whole {
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
        let tells = events.iter().any(|event| TELLS.contains(&event.kind.as_str()));
        let found = tells || said.contains(MENDED);
        self.measured
            .by_role
            .entry(done.role)
            .or_default()
            .count(done.role, found);
        if done.role.must_be_found() && !found {
            self.measured.missed.push(done.to_string());
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
            self.measured.wrong += u64::from(seen_wrong) + u64::from(held_wrong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_found(rounds: u32) -> Measured {
        let mut measured = Measured {
            rounds,
            found_floor: found_floor(rounds),
            mended: rounds,
            read_by_callers: 1,
            read_on_node: 1,
            calls: 1,
            ..Measured::default()
        };
        for role in (0..rounds).map(role_of) {
            let tally = measured.by_role.entry(role).or_default();
            tally.count(role, role.must_be_found());
        }
        measured
    }

    #[test]
    fn half_of_the_damages_must_be_found_and_none_is_to_what_nobody_reads() {
        assert_eq!((found_floor(ROUNDS), found_floor(ROUNDS_QUICK)), (100, 3));
        assert!((0..ROUNDS).all(|round| role_of(round) != Role::Unread));
        assert!(all_found(ROUNDS).met() && all_found(ROUNDS_QUICK).met());
    }

    #[test]
    fn a_miss_a_false_alarm_and_damage_that_nobody_reads_are_no_finds() {
        let mut missed = all_found(ROUNDS);
        let checked = missed.by_role.entry(Role::Checked).or_default();
        (checked.found, checked.missed) = (checked.found - 1, 1);
        assert!(!missed.met(), "below the floor");

        let mut unread = all_found(ROUNDS);
        unread.by_role.entry(Role::Unread).or_default().harmless += 40;
        assert_eq!(unread.sum(Tally::all), ROUNDS);
        assert!(unread.met());
        unread.by_role.entry(Role::Unread).or_default().found += 1;
        assert!(!unread.met(), "a false alarm");
    }

    #[test]
    fn a_row_that_read_nothing_meanwhile_shows_nothing() {
        let mut measured = all_found(ROUNDS);
        measured.read_by_callers = 0;
        assert!(!measured.met());
        (measured.read_by_callers, measured.read_on_node) = (1, 0);
        assert!(!measured.met());
        let mut wrong = all_found(ROUNDS);
        wrong.wrong = 1;
        assert!(!wrong.met());
    }
}
