//! What several rows need.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde::Serialize;
use spine_faultdisk::{Availability, availability};

use crate::checkers::Report;
use crate::processes::{Calls, Cluster, ClusterError, FaultyCluster, Options};
use crate::prove::{Context, Finding, RowError};

/// Shards of test clusters, as a small cluster has by default.
pub(super) const SHARDS: u32 = 8;

impl From<ClusterError> for RowError {
    fn from(error: ClusterError) -> Self {
        Self::because(error.to_string())
    }
}

impl From<spine_client::Error> for RowError {
    fn from(error: spine_client::Error) -> Self {
        Self::because(error.to_string())
    }
}

impl From<spine_faultdisk::FaultDiskError> for RowError {
    fn from(error: spine_faultdisk::FaultDiskError) -> Self {
        Self::because(error.to_string())
    }
}

/// Runs a row's calls; two threads, as many as the smallest machine has.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, RowError>>) -> Result<T, RowError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(future)
}

/// Three nodes, eight shards.
pub(super) async fn cluster(context: &Context) -> Result<Cluster, RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    Ok(Cluster::start(&options).await?.noted_in(context.journal.clone()))
}

/// The same with a proxy for every link.
pub(super) async fn linked_cluster(context: &Context, seed: u64) -> Result<Cluster, RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    let cluster = Cluster::start_linked(&options, seed).await?;
    Ok(cluster.noted_in(context.journal.clone()))
}

/// Three nodes, eight shards, each on a disk that can be troubled.
pub(super) async fn faulty_cluster(
    context: &Context,
    settings: &[String],
) -> Result<FaultyCluster, RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    Ok(FaultyCluster::start(&options, settings).await?)
}

/// Why a row that needs troubled disks cannot run here.
pub(super) fn no_fuse() -> Option<Finding> {
    match availability() {
        Availability::Ready => None,
        Availability::Missing(reason) => Some(Finding::Skipped {
            reason: format!("fuse: {reason}"),
        }),
    }
}

/// A history's end in a row's text.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Checked {
    pub(super) calls: Calls,
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
    pub(super) violations: Vec<String>,
}

impl Checked {
    pub(super) fn new(calls: Calls, report: &Report) -> Self {
        Self {
            calls,
            acknowledged: report.acknowledged,
            unknown: report.unknown,
            violations: report.violations.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn text(&self) -> String {
        let found = match self.violations.first() {
            None => "0 violations".to_owned(),
            Some(first) => format!("{} violations, first: {first}", self.violations.len()),
        };
        format!(
            "{} writes acknowledged, {} calls, {found}",
            self.acknowledged, self.calls.all
        )
    }
}

/// Runs a program to its end.
pub(super) fn output(program: &Path, arguments: &[&str], directory: &Path) -> Result<Output, RowError> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output();
    output.map_err(|error| RowError::because(format!("{}: {error}", program.display())))
}

/// The last line that says something.
pub(super) fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .to_owned()
}
