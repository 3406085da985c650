//! Load and its measurement.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// Writes only.
    Put,
    /// Reads only.
    Get,
    /// As many writes as reads.
    PutGet,
    /// Reads of a record, each followed by a write that is guarded by what was read.
    Cas,
    /// Pages of the records of one routing key.
    List,
    /// Patients retrieved.
    Retrieve,
    /// Patients retrieved and replaced.
    Update,
    /// Four patients retrieved for each that is updated.
    Patients,
}

/// Which store is measured.
#[cfg(feature = "bench-etcd")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// The cluster of the endpoints.
    Spine,
    /// An etcd of version 3 at the endpoints, in plain text.
    Etcd,
}

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: Option<BenchCommand>,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Measures Spine beside etcd: throw-away clusters of three nodes each, in turns.
    #[cfg(feature = "bench-etcd")]
    Compare(Compare),
}

#[derive(clap::Parser)]
pub(crate) struct Load {
    /// Callers, each with one call under way.
    #[arg(long, default_value_t = 64)]
    pub(crate) clients: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Seconds before them that do not count.
    #[arg(long, default_value_t = 0)]
    pub(crate) warm_up: u64,
    /// Calls due per second, whoever is free makes the next one (open loop); without it every caller makes one call
    /// after another.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Size of a value.
    #[arg(long, default_value_t = 256)]
    pub(crate) value_bytes: usize,
    /// What the callers do.
    #[arg(long, value_enum, default_value_t = Mix::PutGet)]
    pub(crate) mix: Mix,
    /// Distinct keys; each is written once before anything but writes is measured.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) keys: u32,
    /// The keys are there already; for patients by a load of what `population generate --seed 1` writes.
    #[arg(long)]
    pub(crate) filled: bool,
    /// Connections to each node, shared by the callers.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Chooses the order of keys.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Which store.
    #[cfg(feature = "bench-etcd")]
    #[arg(long, value_enum, default_value_t = Target::Spine)]
    pub(crate) target: Target,
}

#[cfg(feature = "bench-etcd")]
#[derive(clap::Args)]
pub(crate) struct Compare {
    /// Runs of each row for each store; medians are told.
    #[arg(long, default_value_t = 5)]
    pub(crate) repetitions: u32,
    /// Seconds of each run, after one of warm-up.
    #[arg(long, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Distinct keys.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) keys: u32,
    /// Only these rows, by id.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// The node program; without it the one beside spinectl.
    #[arg(long)]
    pub(crate) node_binary: Option<PathBuf>,
    /// Further settings of every node, as section.key=value.
    #[arg(long)]
    pub(crate) set: Vec<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        Err("expected a number above 0".to_owned())
    }
}

#[derive(clap::Args)]
pub(crate) struct Demo {
    /// The node program; without it the one beside spinectl.
    #[arg(long)]
    pub(crate) node_binary: Option<PathBuf>,
    /// Nodes, 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=5))]
    pub(crate) nodes: u8,
    /// Callers under load.
    #[arg(long, default_value_t = 16)]
    pub(crate) clients: usize,
    /// Seconds of load: a third before the kill, a third without the node, a third after.
    #[arg(long, default_value_t = 9)]
    pub(crate) seconds: u64,
}
