//! Episode after episode on one cluster, until the time is over or something is found.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::episode::{Episode, EpisodeReport, run_episode};
use super::supports;
use crate::processes::{Cluster, ClusterError, RunOptions};
use crate::scenario::{Focus, Scenario};

/// Faults of one episode begin within this time.
const FAULT_TIME: Duration = Duration::from_secs(20);

/// How long, and which plans.
#[derive(Clone, Copy)]
pub struct SoakOptions {
    pub time: Duration,
    /// Episode n has the seed `seed + n`, so that the first one of a run by its seed is the one that failed.
    pub seed: u64,
    /// Which kinds are drawn.
    pub focus: Focus,
}

/// What all episodes did together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SoakTotal {
    pub episodes: u64,
    /// Those carried out.
    pub faults: u64,
    /// Those drawn that processes cannot be made to suffer.
    pub skipped: u64,
    pub calls: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub checked_online: u64,
    pub digests_compared: u64,
    pub transfers: u64,
    pub claims: u64,
    pub updates: u64,
    /// The slowest return to service after an episode's faults, milliseconds.
    pub live_ms_max: u64,
    /// The first violation, or why an episode could not end.
    pub problem: Option<String>,
    pub violations: u64,
    /// Seed of the episode in `problem`.
    pub failed_seed: Option<u64>,
}

impl fmt::Display for SoakTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} episodes, {} faults, {} calls, {} writes acknowledged, {} transfers, {} claims, {} updates, \
             back within {} ms, {} violations",
            self.episodes,
            self.faults,
            self.calls,
            self.acknowledged,
            self.transfers,
            self.claims,
            self.updates,
            self.live_ms_max,
            self.violations
        )?;
        if self.skipped > 0 {
            write!(f, ", {} faults skipped", self.skipped)?;
        }
        match (&self.problem, self.failed_seed) {
            (Some(problem), Some(seed)) => write!(f, ", first with seed {seed}: {problem}"),
            _ => Ok(()),
        }
    }
}

/// Runs episodes; `tell` gets the total once a minute. Stops at the first problem.
pub async fn soak(
    cluster: &mut Cluster,
    options: &SoakOptions,
    mut tell: impl FnMut(u64, &SoakTotal),
) -> SoakTotal {
    let began = Instant::now();
    let (mut total, mut minute) = (SoakTotal::default(), 1);
    let mut run = 0;
    while began.elapsed() < options.time && total.problem.is_none() {
        let seed = options.seed.wrapping_add(u64::from(run));
        run += 1;
        let scenario = Scenario::draw(seed, cluster.nodes(), cluster.shards(), FAULT_TIME, options.focus);
        episode(cluster, &scenario, run, &mut total).await;
        while began.elapsed() >= Duration::from_secs(60 * minute) {
            tell(minute, &total);
            minute += 1;
        }
    }
    total
}

/// Plays one scenario on a cluster of its size.
pub async fn play(cluster: &mut Cluster, scenario: &Scenario) -> SoakTotal {
    let mut total = SoakTotal::default();
    episode(cluster, scenario, 1, &mut total).await;
    total
}

async fn episode(cluster: &mut Cluster, scenario: &Scenario, run: u32, total: &mut SoakTotal) {
    let seed = scenario.seed;
    cluster.journal().clear();
    let (scenario, skipped) = scenario.split(supports);
    for skipped in &skipped {
        tracing::warn!(seed, "{skipped}");
    }
    for step in &scenario.steps {
        tracing::info!(seed, "{step}");
    }
    total.skipped += skipped.len() as u64;
    let episode = Episode {
        seed,
        run,
        steps: scenario.steps,
        load: RunOptions::default(),
    };
    let ended = run_episode(cluster, &episode).await;
    total.add(seed, ended);
}

impl SoakTotal {
    fn add(&mut self, seed: u64, ended: Result<EpisodeReport, ClusterError>) {
        self.episodes += 1;
        let report = match ended {
            Ok(report) => report,
            Err(error) => {
                self.problem = Some(error.to_string());
                self.failed_seed = Some(seed);
                return;
            }
        };
        self.faults += report.faults;
        self.calls += report.calls.all;
        self.acknowledged += report.acknowledged;
        self.unknown += report.unknown;
        self.checked_online += report.checked_online;
        self.digests_compared += report.digests_compared;
        self.transfers += report.domain.transfers;
        self.claims += report.domain.claims;
        self.updates += report.domain.updates;
        self.live_ms_max = self.live_ms_max.max(report.live.map_or(0, |live| live.took_ms));
        self.violations += report.violations.len() as u64;
        if let Some(first) = report.violations.first() {
            self.problem = Some(first.to_string());
            self.failed_seed = Some(seed);
        }
    }
}
