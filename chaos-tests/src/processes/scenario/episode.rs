//! One plan from its first fault to the last check.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::execute::execute;
use super::liveness::{Live, check_live};
use crate::checkers::digest::{Digests, Observation};
use crate::checkers::linearizability::Limits;
use crate::checkers::online::Online;
use crate::checkers::{FinalState, Searched, Violation, check_with};
use crate::domain::{Domain, DomainReport};
use crate::history::{Observer, Operation, Recorder};
use crate::oracle::Oracle;
use crate::processes::{Calls, Cluster, ClusterError, Run, RunOptions};
use crate::scenario::Step;
use crate::workload::Registers;

/// Healthy and equal again after the faults.
const SETTLE: Duration = Duration::from_secs(60);
/// About one register in so many is searched, and every suspect.
const SEARCHED_ONE_IN: u64 = 4;
/// A call of the domain workloads, all tries together.
const DOMAIN_DEADLINE: Duration = Duration::from_secs(5);

/// What is done, and by whom it is felt.
#[derive(Clone, Debug)]
pub struct Episode {
    pub seed: u64,
    /// Keeps the registers of several episodes on one cluster apart.
    pub run: u32,
    pub steps: Vec<Step>,
    pub load: RunOptions,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct EpisodeReport {
    pub faults: u64,
    pub calls: Calls,
    pub acknowledged: u64,
    pub unknown: u64,
    /// Answers that the online checker saw.
    pub checked_online: u64,
    pub digests_compared: u64,
    pub domain: DomainReport,
    pub live: Option<Live>,
    /// Of all checkers.
    pub violations: Vec<Violation>,
}

struct Watching(Arc<Mutex<Online>>);

impl Observer for Watching {
    fn started(&mut self, operation: &Operation) {
        self.0.lock().started(operation);
    }
    fn finished(&mut self, operation: &Operation) {
        self.0.lock().finished(operation);
    }
}

/// Runs an episode on a cluster with proxies. The cluster is healthy before and, unless it fails, after.
///
/// # Errors
/// A node that ended by itself, or a cluster that does not settle. The journal holds what happened until then.
pub async fn run_episode(cluster: &mut Cluster, episode: &Episode) -> Result<EpisodeReport, ClusterError> {
    let online = Arc::new(Mutex::new(Online::default()));
    let recorder = Recorder::new(cluster.journal().clock());
    recorder.show_to(Box::new(Watching(online.clone())));
    let options = RunOptions {
        seed: episode.seed,
        registers: Registers {
            run: episode.run,
            ..episode.load.registers
        },
        ..episode.load.clone()
    };
    let load = Run::with(cluster, &options, recorder.clone())?;
    let domain = Domain::start(&cluster.client(DOMAIN_DEADLINE)?, episode.seed, episode.run);
    let done = execute(cluster, &episode.steps, &load).await;
    let live = match done {
        Ok(()) => check_live(cluster, episode.run).await,
        Err(error) => Err(error),
    };
    let operations = load.stop().await;
    // Also for the report of an episode that ends here.
    cluster.journal().keep_history(&operations, &[]);
    let live = live?;
    cluster.wait_healthy(SETTLE).await?;
    let domain = domain.stop().await;
    finish(cluster, episode, &operations, &online, live, domain).await
}

async fn finish(
    cluster: &mut Cluster,
    episode: &Episode,
    operations: &[Operation],
    online: &Mutex<Online>,
    live: Result<Live, Violation>,
    mut domain: DomainReport,
) -> Result<EpisodeReport, ClusterError> {
    cluster.wait_equal(SETTLE).await?;
    let mut digests = Digests::default();
    let mut violations: Vec<Violation> = observe(cluster, &mut digests).await?;
    let replicas = cluster.replicas(&Oracle::of(operations)).await?;
    let searched = Searched::Sample {
        one_in: SEARCHED_ONE_IN,
        seed: episode.seed,
    };
    let last = FinalState { replicas };
    let report = check_with(operations, Some(&last), &digests, Limits::default(), searched);
    violations.extend(report.violations);
    violations.append(&mut domain.violations);
    let live = live.map_err(|violation| violations.push(violation)).ok();
    let online = online.lock();
    violations.extend_from_slice(online.violations().1);
    cluster.journal().keep_history(operations, &violations);
    if !violations.is_empty() {
        cluster.keep_files();
    }
    Ok(EpisodeReport {
        faults: episode.steps.len() as u64,
        calls: Calls::of(operations),
        acknowledged: report.acknowledged,
        unknown: report.unknown,
        checked_online: online.checked(),
        digests_compared: digests.compared(),
        domain,
        live,
        violations,
    })
}

/// Compares the digests that all replicas show at one index.
///
/// # Errors
/// The first node does not answer.
pub async fn observe(cluster: &Cluster, digests: &mut Digests) -> Result<Vec<Violation>, ClusterError> {
    let mut violations = Vec::new();
    for shard in cluster.status(0).await?.shards {
        for replica in shard.replicas {
            let seen = Observation {
                replica: format!("n{}", replica.node_id),
                shard: shard.shard,
                applied_index: replica.applied_index,
                digest: replica.digest,
            };
            if let Err(violation) = digests.observe(&seen) {
                violations.push(*violation);
            }
        }
    }
    Ok(violations)
}
