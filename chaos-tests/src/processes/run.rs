//! Clients calling a cluster while something is done to it, then every check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{Cluster, ClusterError};
use crate::checkers::digest::Digests;
use crate::checkers::linearizability::Limits;
use crate::checkers::{FinalState, Report, check};
use crate::history::{Operation, Outcome, Recorder};
use crate::oracle::Oracle;
use crate::workload::{Client, LibraryCaller, Mix, Pace, REFUSED_AFTER_SILENCE, Registers};

/// Who calls, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub seed: u64,
    pub clients: usize,
    pub registers: Registers,
    pub think: Duration,
    pub deadline: Duration,
    pub value_len: usize,
    pub mix: Mix,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            clients: 8,
            registers: Registers { count: 24, run: 0 },
            think: Duration::from_millis(4),
            deadline: Duration::from_secs(5),
            value_len: 256,
            mix: Mix::default(),
        }
    }
}

/// Clients that are calling.
pub struct Run {
    options: RunOptions,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    /// Those of storms that are over; each still ends its last call.
    leaving: Mutex<Vec<JoinHandle<()>>>,
}

impl Run {
    /// Starts all clients; each has connections of its own.
    ///
    /// # Errors
    /// Never with addresses of a cluster.
    pub fn start(cluster: &Cluster, options: &RunOptions) -> Result<Self, ClusterError> {
        let recorder = Recorder::new(cluster.journal().clock());
        Self::with(cluster, options, recorder)
    }

    /// The same on a recorder that is there already.
    ///
    /// # Errors
    /// Never with addresses of a cluster.
    pub fn with(cluster: &Cluster, options: &RunOptions, recorder: Recorder) -> Result<Self, ClusterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = spawn(cluster, options, &recorder, &stop, options.clients)?;
        Ok(Self {
            options: options.clone(),
            recorder,
            stop,
            clients,
            leaving: Mutex::default(),
        })
    }

    /// So many further clients, at once; they are part of the same history.
    ///
    /// # Errors
    /// Never with addresses of a cluster.
    pub fn storm(&self, cluster: &Cluster, clients: u32) -> Result<Storm, ClusterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let count = usize::try_from(clients).unwrap_or(usize::MAX);
        let clients = spawn(cluster, &self.options, &self.recorder, &stop, count)?;
        Ok(Storm { stop, clients })
    }

    /// Tells a storm's clients to go; [`Self::stop`] waits for them.
    pub fn calm(&self, storm: Storm) {
        storm.stop.store(true, Ordering::Relaxed);
        self.leaving.lock().extend(storm.clients);
    }

    /// Answered and open calls so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.recorder.len()
    }

    /// Waits until so many more calls were made.
    ///
    /// # Errors
    /// They are not made within 30 s.
    pub async fn wait_operations(&self, more: usize) -> Result<(), ClusterError> {
        let (begin, limit) = (self.operations(), Duration::from_secs(30));
        let end = tokio::time::Instant::now() + limit;
        while self.operations() < begin + more {
            if tokio::time::Instant::now() > end {
                let seen = format!("{} calls", self.operations() - begin);
                return Err(ClusterError::Waited {
                    what: format!("{more} calls"),
                    limit,
                    seen,
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Lets every client finish its call and gives the history.
    pub async fn stop(self) -> Vec<Operation> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.into_iter().chain(self.leaving.into_inner()) {
            // A client that panicked leaves its call open, which is what it was.
            let _ = client.await;
        }
        self.recorder.operations()
    }
}

/// Clients that came at once and will go again.
pub struct Storm {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

fn spawn(
    cluster: &Cluster,
    options: &RunOptions,
    recorder: &Recorder,
    stop: &Arc<AtomicBool>,
    count: usize,
) -> Result<Vec<JoinHandle<()>>, ClusterError> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let caller = Arc::new(LibraryCaller::new(&cluster.client(options.deadline)?));
        let client = Client::new(
            options.seed,
            recorder.clone(),
            caller,
            options.mix,
            options.registers,
        );
        let pace = Pace {
            think: options.think,
            stop: stop.clone(),
            value_len: options.value_len,
        };
        clients.push(tokio::spawn(client.run(pace)));
    }
    Ok(clients)
}

/// Everything that can be checked of a history and the cluster it ended with.
///
/// # Errors
/// The cluster does not become healthy and equal within `limit`.
pub async fn settle_and_check(
    cluster: &mut Cluster,
    operations: &[Operation],
    limit: Duration,
) -> Result<Report, ClusterError> {
    // Also for a report of a cluster that does not settle.
    cluster.journal().keep_history(operations, &[]);
    cluster.wait_healthy(limit).await?;
    cluster.wait_equal(limit).await?;
    let replicas = cluster.replicas(&Oracle::of(operations)).await?;
    let report = check(
        operations,
        Some(&FinalState { replicas }),
        &Digests::default(),
        Limits::default(),
    );
    cluster.journal().keep_history(operations, &report.violations);
    if !report.is_clean() {
        cluster.keep_files();
    }
    Ok(report)
}

/// How calls of a history ended.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Calls {
    pub all: u64,
    pub answered: u64,
    /// Not answered, or not known to have happened, within the deadline.
    pub failed: u64,
    /// The longest call that was answered, milliseconds.
    pub longest_ms: u64,
}

impl Calls {
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        let mut calls = Self::default();
        for operation in operations {
            calls.all += 1;
            if !was_answered(operation) {
                calls.failed += 1;
                continue;
            }
            calls.answered += 1;
            let returned = operation.returned_ns.unwrap_or(operation.invoked_ns);
            let took = returned.saturating_sub(operation.invoked_ns) / 1_000_000;
            calls.longest_ms = calls.longest_ms.max(took);
        }
        calls
    }
}

/// A caller got its answer, be it a "no".
fn was_answered(operation: &Operation) -> bool {
    match &operation.outcome {
        Outcome::Ok(_) | Outcome::Rejected { .. } => true,
        Outcome::Unknown { reason } => reason == REFUSED_AFTER_SILENCE,
        Outcome::Failed { .. } => false,
    }
}

/// The first failed calls, for a row's text.
#[must_use]
pub fn first_failures(operations: &[Operation]) -> String {
    let failed = operations.iter().filter(|operation| !was_answered(operation));
    let failed = failed.filter_map(|operation| match &operation.outcome {
        Outcome::Unknown { reason } => Some(format!("#{} unknown {reason}", operation.id)),
        Outcome::Failed { reason } => Some(format!("#{} failed {reason}", operation.id)),
        _ => None,
    });
    failed.take(3).collect::<Vec<_>>().join(", ")
}
