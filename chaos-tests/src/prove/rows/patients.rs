//! A cluster with many generated patients in it, loaded as an operator loads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::support::{last_line, output};
use crate::processes::{Cluster, ClusterError, Options};
use crate::prove::{Context, RowError};

/// The seed that `spinectl bench --filled` knows the patients by.
const SEED: &str = "1";
/// Replicas are equal this long after the last write, at most.
const SETTLE: Duration = Duration::from_secs(120);

/// A file of generated patients, gone with its directory.
pub(super) struct Patients {
    directory: tempfile::TempDir,
}

/// What `spinectl patient load` said.
pub(super) struct Loaded {
    pub(super) registered: u64,
    pub(super) failed: u64,
    pub(super) seconds: f64,
}

impl Patients {
    /// Writes the file.
    pub(super) fn generate(context: &Context, count: u64) -> Result<Self, RowError> {
        let directory = tempfile::tempdir()?;
        let patients = Self { directory };
        let count = count.to_string();
        let file = patients.file();
        let file = file.to_string_lossy();
        let arguments = [
            "population",
            "generate",
            "--count",
            &count,
            "--seed",
            SEED,
            "--out",
            &file,
        ];
        spinectl(context, &arguments, patients.directory.path())?;
        Ok(patients)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("patients.ndjson")
    }

    /// Registers them all.
    pub(super) fn load(&self, context: &Context, cluster: &Cluster) -> Result<Loaded, RowError> {
        let endpoints = endpoints(cluster);
        let file = self.file();
        let file = file.to_string_lossy();
        let arguments = [
            "--endpoints",
            &endpoints,
            "--output",
            "json",
            "patient",
            "load",
            &file,
        ];
        let said = json(&spinectl(context, &arguments, self.directory.path())?)?;
        Ok(Loaded {
            registered: said["registered"].as_u64().unwrap_or(0),
            failed: said["failed"].as_u64().unwrap_or(u64::MAX),
            seconds: said["seconds"].as_f64().unwrap_or(0.0),
        })
    }
}

/// Three nodes with the settings that a node has by itself, and the engine that is to be measured.
pub(super) async fn cluster(context: &Context) -> Result<Cluster, RowError> {
    let options = Options {
        nodes: 3,
        shards: super::support::SHARDS,
        programs: context.programs.clone(),
    };
    let settings = vec![format!("storage.engine={}", context.engine)];
    let cluster = Cluster::start_with(&options, settings).await?;
    Ok(cluster.noted_in(context.journal.clone()))
}

/// The same with nodes that answer over HTTP, too, and patients in it.
pub(super) async fn loaded_http_cluster(context: &Context, count: u64) -> Result<Cluster, RowError> {
    let options = Options {
        nodes: 3,
        shards: super::support::SHARDS,
        programs: context.programs.clone(),
    };
    let settings = vec![format!("storage.engine={}", context.engine)];
    let cluster = Cluster::start_with_http(&options, settings).await?;
    load_into(context, cluster.noted_in(context.journal.clone()), count).await
}

/// The same with patients in it, on all replicas and out of the delta.
pub(super) async fn loaded_cluster(context: &Context, count: u64) -> Result<Cluster, RowError> {
    load_into(context, cluster(context).await?, count).await
}

async fn load_into(context: &Context, cluster: Cluster, count: u64) -> Result<Cluster, RowError> {
    let patients = Patients::generate(context, count)?;
    let loaded = tokio::task::block_in_place(|| patients.load(context, &cluster))?;
    if loaded.registered != count {
        return Err(RowError::because(format!(
            "{} of {count} patients registered",
            loaded.registered
        )));
    }
    checkpoint(&cluster).await?;
    Ok(cluster)
}

/// Waits until all replicas are equal, and moves what they hold into their engines.
pub(super) async fn checkpoint(cluster: &Cluster) -> Result<(), ClusterError> {
    cluster.wait_equal(SETTLE).await?;
    for node in 0..cluster.nodes() {
        let admin = cluster.admin(node)?.with_deadline(SETTLE);
        for shard in 1..=cluster.shards() {
            admin.compact_replica(shard).await?;
        }
    }
    Ok(())
}

/// What `spinectl bench` measured.
pub(super) struct Bench {
    pub(super) per_second: f64,
    /// Of the slowest kind of operation.
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

/// Runs `spinectl bench` with these arguments against the cluster; a run with errors is a result, too.
pub(super) fn bench(context: &Context, endpoints: &str, arguments: &[&str]) -> Result<Bench, RowError> {
    let program = context.programs.join("spinectl");
    bench_as(&program, &[], context, endpoints, arguments)
}

/// The same at the lowest priority.
pub(super) fn bench_gently(
    context: &Context,
    endpoints: &str,
    arguments: &[&str],
) -> Result<Bench, RowError> {
    let program = context.programs.join("spinectl");
    let before = ["-n", "19", &program.to_string_lossy()].map(str::to_owned);
    bench_as(Path::new("nice"), &before, context, endpoints, arguments)
}

fn bench_as(
    program: &Path,
    before: &[String],
    context: &Context,
    endpoints: &str,
    arguments: &[&str],
) -> Result<Bench, RowError> {
    let fixed = ["--endpoints", endpoints, "--output", "json", "bench"];
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let all = [&before, &fixed[..], arguments].concat();
    let output = output(program, &all, &context.root)?;
    let said = json(&output.stdout).map_err(|_| failed(&all, &output.stderr))?;
    let kinds = said["rows"].as_object().into_iter().flatten();
    let p99_us = kinds.filter_map(|(_, kind)| kind["p99_us"].as_u64()).max();
    let reasons = said["errors_by_reason"].as_object().into_iter().flatten();
    Ok(Bench {
        per_second: said["ops_per_second"].as_f64().unwrap_or(0.0),
        p99_ms: p99_us.unwrap_or(0) as f64 / 1_000.0,
        errors: said["errors"].as_u64().unwrap_or(u64::MAX),
        reasons: reasons
            .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0)))
            .collect(),
    })
}

/// Where clients reach all nodes.
pub(super) fn endpoints(cluster: &Cluster) -> String {
    let all: Vec<&str> = (0..cluster.nodes()).map(|node| cluster.grpc(node)).collect();
    all.join(",")
}

fn spinectl(context: &Context, arguments: &[&str], directory: &Path) -> Result<Vec<u8>, RowError> {
    let output = output(&context.programs.join("spinectl"), arguments, directory)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(failed(arguments, &output.stderr))
}

fn failed(arguments: &[&str], stderr: &[u8]) -> RowError {
    RowError::because(format!("spinectl {}: {}", arguments.join(" "), last_line(stderr)))
}

fn json(text: &[u8]) -> Result<Value, RowError> {
    serde_json::from_slice(text).map_err(|error| RowError::because(format!("spinectl's answer: {error}")))
}
