//! Roll after roll: every node of a cluster on another program, and back, with the same clients all the time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use spine_client::SpineClient;
use spine_client::upgrade::{Failure, LiveFleet, Phase, Program, Progress, Restart, Roll, Step, Timings};
use spine_proto::admin::v1::NodeSummary;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::disk::DiskProbe;
use super::http::{self, Befell};
use super::load::{Client, Load};
use super::noticed::{self, Noticed};
use super::spine;
use super::summary::Summary;
use crate::processes::{Cluster, ClusterError, signals};

/// Calls of one client may take so long before they count as failed.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// A node that is asked to end has ended within this.
const END: Duration = Duration::from_secs(60);
/// Load without a roll, to compare with.
const QUIET: Duration = Duration::from_secs(6);
/// Calls are counted by this.
const SECOND: Duration = Duration::from_secs(1);
/// A second in which the machine's disk does nothing for longer than this says nothing of the cluster.
const DISK_LIMIT_OF_A_SECOND: Duration = Duration::from_millis(100);
/// Rolls end after so many times those that are wanted.
const TURNS_MAX: u32 = 3;
/// The tool's own looks, closer together than an operator needs them.
const POLL: Duration = Duration::from_millis(100);

/// A cluster that is rolled and hurt at the same time.
pub type Shared = Arc<Mutex<Cluster>>;

/// What clients noticed of the rolls.
#[derive(Clone, Debug, Serialize)]
pub struct Rolled {
    /// Forward and back count one each.
    pub rolls: u32,
    /// The longest call of each restart of a node, from its drain to its canary, where the disk was sound.
    #[serde(flatten)]
    pub summary: Summary,
    /// Of the other restarts.
    pub set_aside: Summary,
    /// At least half of the restarts that were wanted met a sound disk.
    pub complete: bool,
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
    /// Calls in a second without a roll, of seconds in which the disk was sound.
    pub quiet_calls_per_second: u64,
    /// The same in the slowest second of all rolls.
    pub slowest_second_calls: u64,
    /// Seconds that one roll takes, on average.
    pub roll_seconds: f64,
    /// The slowest sync of the machine's disk beside each restart, ms.
    pub disk: Summary,
    /// The longest call of each restart, how long after the drain it ended, and the slowest sync of the disk meanwhile.
    pub gaps_ms: Vec<(u64, u64, u64)>,
}

impl Rolled {
    /// Nothing failed or was lost, and enough restarts met a sound disk.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed == 0 && self.lost == 0 && self.complete
    }

    /// Throughput of the slowest second, as a part of that without a roll.
    #[must_use]
    pub fn slowest_part(&self) -> f64 {
        to_f64(self.slowest_second_calls) / to_f64(self.quiet_calls_per_second.max(1))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of calls in a second")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

impl std::fmt::Display for Rolled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary {
            faults,
            p50_ms,
            p99_ms,
            max_ms,
        } = self.summary;
        write!(
            f,
            "{} rolls, {faults} restarts, longest call p50 {p50_ms} p99 {p99_ms} max {max_ms} ms, {} calls, {} failed",
            self.rolls, self.calls, self.failed
        )?;
        if let Some(first) = &self.first_failure {
            write!(f, " (first: {first})")?;
        }
        write!(
            f,
            ", {} lost, {} calls/s quiet, {} in the slowest second ({:.0} %), {:.0} s a roll, \
             the disk's slowest sync p50 {} max {} ms",
            self.lost,
            self.quiet_calls_per_second,
            self.slowest_second_calls,
            self.slowest_part() * 100.0,
            self.roll_seconds,
            self.disk.p50_ms,
            self.disk.max_ms
        )?;
        self.set_aside.write_aside(f)
    }
}

/// Why the rolls ended early.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    #[error("{0}")]
    Cluster(#[from] ClusterError),
    #[error("{0}")]
    Call(#[from] spine_client::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("roll {0}: {1}")]
    Roll(u32, String),
}

/// Moves a cluster forward to a copy of its program and back again, `times` times, and more often until half as many
/// restarts as that makes met a disk whose syncs stay below `disk_limit`.
///
/// # Errors
/// A roll that does not end as it should.
pub async fn spine_rolls(
    shared: &Shared,
    clients: usize,
    times: u32,
    disk_limit: Duration,
) -> Result<Rolled, RollError> {
    let clients = spine::clients(&*shared.lock().await, clients, CALL_DEADLINE)?;
    rolls(shared, clients, times, disk_limit).await
}

/// The same with clients of FHIR over HTTP that read patients and patch them.
///
/// # Errors
/// A roll that does not end as it should.
pub async fn http_rolls(
    shared: &Shared,
    clients: usize,
    times: u32,
    disk_limit: Duration,
) -> Result<(Rolled, Befell), RollError> {
    let (clients, befell) = http::patching_clients(&*shared.lock().await, clients, CALL_DEADLINE);
    let rolled = rolls(shared, clients, times, disk_limit).await?;
    let befell = *befell.lock();
    Ok((rolled, befell))
}

async fn rolls(
    shared: &Shared,
    clients: Vec<Box<dyn Client>>,
    times: u32,
    disk_limit: Duration,
) -> Result<Rolled, RollError> {
    let [old, new] = two_programs(shared).await?;
    let disk = DiskProbe::start(shared.lock().await.directory())?;
    let load = Load::start(clients);
    let quiet = quiet(&load, &disk).await;
    let mut all = Vec::<Noticed>::new();
    let mut seconds = Vec::new();
    let began = Instant::now();
    let is_sound = |noticed: &&Noticed| noticed.is_sound(Some(disk_limit));
    // Forward and back, half of it.
    let wanted = times as usize * shared.lock().await.nodes();
    let mut turn = 0;
    while turn < times || all.iter().filter(is_sound).count() < wanted && turn < times * TURNS_MAX {
        turn += 1;
        let mut progress = Progress::new(cluster_id(shared).await?, Some(old.clone()), new.clone());
        for back in [false, true] {
            if back {
                progress.turn_back("asked for");
            }
            let mut drained = Instant::now();
            let mut tell = |_, step| match step {
                Step::Drain => {
                    load.forget();
                    drained = Instant::now();
                }
                Step::Moved => {
                    let (gap, ended) = load.longest_since(drained, |_| true);
                    all.push(Noticed {
                        gap,
                        ended,
                        disk: disk.slowest_since(drained),
                        ..Noticed::default()
                    });
                }
                _ => {}
            };
            let rolling = roll(shared, &mut progress, &mut tell);
            let ended = tokio::select! {
                ended = rolling => ended?,
                () = count(&load, &disk, &mut seconds) => Ok(()),
            };
            let phase = &progress.phase;
            match (ended, back) {
                (Ok(()), false) if *phase == Phase::Done => {}
                (Err(Failure::RolledBack(_)), true) => {}
                (ended, _) => return Err(RollError::Roll(turn, format!("{phase:?}, {ended:?}"))),
            }
        }
    }
    let elapsed = began.elapsed();
    let tally = load.stop().await;
    let (summary, set_aside) = noticed::summaries(&all, Some(disk_limit));
    Ok(Rolled {
        rolls: turn * 2,
        complete: summary.faults >= wanted,
        summary,
        set_aside,
        calls: tally.calls,
        failed: tally.failed,
        first_failure: tally.first_failure,
        lost: tally.lost,
        quiet_calls_per_second: quiet,
        slowest_second_calls: seconds.into_iter().min().unwrap_or(0),
        roll_seconds: elapsed.as_secs_f64() / f64::from(turn.max(1) * 2),
        disk: noticed::of(&all, |noticed| noticed.disk),
        gaps_ms: all.iter().map(Noticed::in_ms).collect(),
    })
}

/// The cluster's program, and a copy of it: what is tried is the way from one to the other.
pub(super) async fn two_programs(shared: &Shared) -> Result<[PathBuf; 2], RollError> {
    let cluster = shared.lock().await;
    let old = cluster.program().to_path_buf();
    let new = cluster.directory().join("spine-node-next");
    std::fs::copy(&old, &new)?;
    // A hundred megabytes that reach the disk later keep the nodes' syncs waiting for 250 ms.
    std::fs::File::open(&new)?.sync_all()?;
    Ok([old, new])
}

pub(super) async fn cluster_id(shared: &Shared) -> Result<String, ClusterError> {
    Ok(shared.lock().await.status(0).await?.cluster_id)
}

/// What the harness calls each node, by what the cluster calls it.
async fn numbers_by_id(shared: &Shared) -> Result<BTreeMap<u64, usize>, ClusterError> {
    let cluster = shared.lock().await;
    let status = cluster.status(0).await?;
    let number = |node: &NodeSummary| {
        let mut numbers = 0..cluster.nodes();
        numbers.find(|number| cluster.grpc(*number) == node.grpc_address)
    };
    let known = status
        .nodes
        .iter()
        .filter_map(|node| Some((node.node_id, number(node)?)));
    Ok(known.collect())
}

/// Calls in a second, the median of some.
async fn quiet(load: &Load, disk: &DiskProbe) -> u64 {
    let mut seconds = Vec::new();
    let _ = tokio::time::timeout(QUIET, count(load, disk, &mut seconds)).await;
    seconds.sort_unstable();
    seconds.get(seconds.len() / 2).copied().unwrap_or(0)
}

/// Notes the calls of each second in which the disk was sound, for ever.
async fn count(load: &Load, disk: &DiskProbe, seconds: &mut Vec<u64>) {
    let mut before = load.calls();
    loop {
        let began = Instant::now();
        sleep(SECOND).await;
        let now = load.calls();
        if disk.slowest_since(began) <= DISK_LIMIT_OF_A_SECOND {
            seconds.push(now - before);
        }
        before = now;
    }
}

/// Carries an upgrade on, as the tool does; `tell` hears each step that it begins, and with which node.
pub(super) async fn roll(
    shared: &Shared,
    progress: &mut Progress,
    tell: &mut dyn FnMut(usize, Step),
) -> Result<Result<(), Failure>, RollError> {
    roll_within(Timings::default(), shared, progress, tell).await
}

/// The same where the tool waits for as long as these say.
pub(super) async fn roll_within(
    timings: Timings,
    shared: &Shared,
    progress: &mut Progress,
    tell: &mut dyn FnMut(usize, Step),
) -> Result<Result<(), Failure>, RollError> {
    let from = progress.from.as_deref().map(program).transpose()?;
    let to = program(&progress.to)?;
    let numbers = numbers_by_id(shared).await?;
    let cluster = shared.lock().await;
    // Never through a proxy: the tool stands beside the nodes.
    let endpoints: Vec<String> = (0..cluster.nodes())
        .map(|node| cluster.ports(node)[0].to_owned())
        .collect();
    drop(cluster);
    let client_of = |address: &str| {
        let builder = SpineClient::builder().endpoints([address]);
        builder.principal("chaos").connect()
    };
    let client = SpineClient::builder().endpoints(endpoints).principal("chaos");
    let processes = Processes(Arc::clone(shared));
    let mut fleet = LiveFleet::new(client.connect()?, client_of, processes);
    let mut roll = Roll {
        fleet: &mut fleet,
        to: Some(to),
        from,
        timings: Timings {
            poll: POLL,
            ..timings
        },
        note: &mut |_| Ok(()),
        tell: &mut |id, step| tell(numbers.get(&id).copied().unwrap_or_default(), step),
    };
    Ok(roll.run(progress).await)
}

fn program(path: &Path) -> Result<Program, RollError> {
    let said = Command::new(path).arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Program::parse(path, &said).map_err(|error| RollError::Roll(0, error.to_string()))
}

/// Restarts what an operator's supervisor would.
struct Processes(Shared);

impl Restart for Processes {
    async fn restart(&mut self, node: &NodeSummary, program: &Path) -> Result<(), String> {
        self.switch(node, program)
            .await
            .map_err(|error| error.to_string())
    }
}

impl Processes {
    async fn switch(&self, node: &NodeSummary, program: &Path) -> Result<(), ClusterError> {
        let cluster = self.0.lock().await;
        let mut nodes = 0..cluster.nodes();
        // Nodes tell callers the address of a proxy, where there is one.
        let Some(number) = nodes.find(|number| cluster.grpc(*number) == node.grpc_address) else {
            return Err(std::io::Error::other("not a node of this cluster").into());
        };
        if let Some(pid) = cluster.pid(number) {
            // One that is already gone was killed by somebody else.
            let _ = signals::terminate(pid);
        }
        drop(cluster);
        let end = Instant::now() + END;
        loop {
            let mut cluster = self.0.lock().await;
            let runs = cluster.pid(number).is_some_and(signals::is_running);
            if !runs || Instant::now() >= end {
                return cluster.restart_as(number, program);
            }
            drop(cluster);
            sleep(POLL).await;
        }
    }
}
