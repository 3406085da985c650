//! What several rows need.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde::Serialize;
use spine_faultdisk::{Availability, availability};

use crate::checkers::Report;
use crate::processes::{Calls, Cluster, ClusterError, FaultyCluster, Options, signals};
use crate::prove::{Context, Finding, RowError};

/// Shards of test clusters, as a small cluster has by default.
pub(super) const SHARDS: u32 = 8;

/// Linux tells processor time in these, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// Linux counts the blocks of a file in these, whatever the disk's own.
const BLOCK_BYTES: u64 = 512;

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
    let cluster = FaultyCluster::start(&options, settings).await?;
    Ok(cluster.noted_in(context.journal.clone()))
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

/// Memory of each node that runs.
pub(super) fn resident_bytes(cluster: &Cluster) -> Result<Vec<u64>, RowError> {
    let pids = (0..cluster.nodes()).filter_map(|node| cluster.pid(node));
    pids.map(|pid| signals::resident_bytes(pid).map_err(RowError::from))
        .collect()
}

/// The same in MiB.
pub(super) fn resident_mib(cluster: &Cluster) -> Result<Vec<u64>, RowError> {
    Ok(resident_bytes(cluster)?
        .into_iter()
        .map(|bytes| bytes.div_ceil(1 << 20))
        .collect())
}

/// Processor time of each node that runs, seconds since it started.
pub(super) fn processor_seconds(cluster: &Cluster) -> Result<Vec<f64>, RowError> {
    let pids = (0..cluster.nodes()).filter_map(|node| cluster.pid(node));
    pids.map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        ticks(&stat)
            .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
            .ok_or_else(|| RowError::because("no processor time in the process's status"))
    })
    .collect()
}

/// User and system time: the 12th and 13th field behind the name, which may hold spaces.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// What the files of each node take on the disk, holes left out.
pub(super) fn disk_bytes(cluster: &Cluster) -> Result<Vec<u64>, RowError> {
    let nodes = (0..cluster.nodes()).map(|node| tree_bytes(cluster.node_directory(node)));
    Ok(nodes.collect::<Result<_, _>>()?)
}

pub(super) fn tree_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A file may go while it is looked at.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() {
            tree_bytes(&entry.path())?
        } else {
            metadata.blocks() * BLOCK_BYTES
        };
    }
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn time_is_found_behind_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 1 1 0 -1 0 1 2 3 4 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(300));
    }
}
