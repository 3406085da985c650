//! Roll after roll: every node of a cluster on another program, and back, with the same clients all the time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;
use spine_client::SpineClient;
use spine_client::upgrade::{Failure, LiveFleet, Phase, Program, Progress, Restart, Roll, Step, Timings};
use spine_proto::admin::v1::NodeSummary;
use tokio::time::sleep;

use super::load::Load;
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
/// The tool's own looks, closer together than an operator needs them.
const POLL: Duration = Duration::from_millis(100);

/// What clients noticed of the rolls.
#[derive(Clone, Debug, Serialize)]
pub struct Rolled {
    /// Forward and back count one each.
    pub rolls: u32,
    /// The longest call of each restart of a node, from its drain to its canary.
    #[serde(flatten)]
    pub summary: Summary,
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
    /// Calls in a second without a roll.
    pub quiet_calls_per_second: u64,
    /// The same in the slowest second of all rolls.
    pub slowest_second_calls: u64,
    /// Seconds that one roll takes, on average.
    pub roll_seconds: f64,
}

impl Rolled {
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
            ", {} lost, {} calls/s quiet, {} in the slowest second ({:.0} %), {:.0} s a roll",
            self.lost,
            self.quiet_calls_per_second,
            self.slowest_second_calls,
            self.slowest_part() * 100.0,
            self.roll_seconds
        )
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

/// Moves a cluster forward to a copy of its program and back again, `times` times.
///
/// # Errors
/// A roll that does not end as it should.
pub async fn spine_rolls(cluster: &mut Cluster, clients: usize, times: u32) -> Result<Rolled, RollError> {
    let old = cluster.program().to_path_buf();
    let new = cluster.directory().join("spine-node-next");
    std::fs::copy(&old, &new)?;
    let load = Load::start(spine::clients(cluster, clients, CALL_DEADLINE)?);
    let quiet = quiet(&load).await;
    let mut gaps = Vec::new();
    let mut seconds = Vec::new();
    let began = Instant::now();
    for turn in 1..=times {
        let mut progress = Progress::new(cluster_id(cluster).await?, Some(old.clone()), new.clone());
        for back in [false, true] {
            if back {
                progress.turn_back("asked for");
            }
            let rolling = roll(cluster, &load, &mut progress, &mut gaps);
            let ended = tokio::select! {
                ended = rolling => ended?,
                () = count(&load, &mut seconds) => Ok(()),
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
    Ok(Rolled {
        rolls: times * 2,
        summary: Summary::of(&gaps),
        calls: tally.calls,
        failed: tally.failed,
        first_failure: tally.first_failure,
        lost: tally.lost,
        quiet_calls_per_second: quiet,
        slowest_second_calls: seconds.into_iter().min().unwrap_or(0),
        roll_seconds: elapsed.as_secs_f64() / f64::from(times.max(1) * 2),
    })
}

async fn cluster_id(cluster: &Cluster) -> Result<String, ClusterError> {
    Ok(cluster.status(0).await?.cluster_id)
}

/// Calls in a second, the median of some.
async fn quiet(load: &Load) -> u64 {
    let mut seconds = Vec::new();
    let _ = tokio::time::timeout(QUIET, count(load, &mut seconds)).await;
    seconds.sort_unstable();
    seconds.get(seconds.len() / 2).copied().unwrap_or(0)
}

/// Notes the calls of each second, for ever.
async fn count(load: &Load, seconds: &mut Vec<u64>) {
    let mut before = load.calls();
    loop {
        sleep(SECOND).await;
        let now = load.calls();
        seconds.push(now - before);
        before = now;
    }
}

async fn roll(
    cluster: &mut Cluster,
    load: &Load,
    progress: &mut Progress,
    gaps: &mut Vec<Duration>,
) -> Result<Result<(), Failure>, RollError> {
    let program = program(&progress.to)?;
    let endpoints: Vec<String> = (0..cluster.nodes())
        .map(|node| cluster.grpc(node).to_owned())
        .collect();
    let client_of = |address: &str| {
        let builder = SpineClient::builder().endpoints([address]);
        builder.principal("chaos").connect()
    };
    let client = SpineClient::builder().endpoints(endpoints).principal("chaos");
    let mut fleet = LiveFleet::new(client.connect()?, client_of, Processes { cluster });
    let mut drained = Instant::now();
    let mut roll = Roll {
        fleet: &mut fleet,
        // Both programs say the same of themselves.
        to: Some(program.clone()),
        from: Some(program),
        timings: Timings {
            poll: POLL,
            ..Timings::default()
        },
        note: &mut |_| Ok(()),
        tell: &mut |_, step| match step {
            Step::Drain => {
                load.forget();
                drained = Instant::now();
            }
            Step::Moved => gaps.push(load.longest_since(drained, |_| true).0),
            _ => {}
        },
    };
    Ok(roll.run(progress).await)
}

fn program(path: &Path) -> Result<Program, RollError> {
    let said = Command::new(path).arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Program::parse(path, &said).map_err(|error| RollError::Roll(0, error.to_string()))
}

/// Restarts what an operator's supervisor would.
struct Processes<'a> {
    cluster: &'a mut Cluster,
}

impl Restart for Processes<'_> {
    async fn restart(&mut self, node: &NodeSummary, program: &Path) -> Result<(), String> {
        self.switch(node, program.to_path_buf())
            .await
            .map_err(|error| error.to_string())
    }
}

impl Processes<'_> {
    async fn switch(&mut self, node: &NodeSummary, program: PathBuf) -> Result<(), ClusterError> {
        let cluster = &mut *self.cluster;
        let mut nodes = 0..cluster.nodes();
        let Some(number) = nodes.find(|number| cluster.grpc(*number) == node.grpc_address) else {
            return Err(std::io::Error::other("not a node of this cluster").into());
        };
        if let Some(pid) = cluster.pid(number) {
            signals::terminate(pid)?;
            cluster.wait_ended(number, END).await?;
        }
        cluster.restart_as(number, &program)
    }
}
