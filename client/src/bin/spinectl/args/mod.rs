//! The command line.

mod bench;
mod cluster;
mod patient;
mod records;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

pub(crate) use self::bench::{Bench, Demo, Load, Mix};
#[cfg(feature = "bench-etcd")]
pub(crate) use self::bench::{BenchCommand, Compare, Target};
pub(crate) use self::cluster::{Carried, Cluster, Node, Shard, Upgrade};
pub(crate) use self::patient::{Change, Death, PatchFormat, Patient, Related, Sensitivity};
pub(crate) use self::records::{Organisations, Population, Records};
use crate::output::Format;

const EXIT_CODES: &str = "\
Exit codes:
  0  ok
  1  any other failure
  2  usage: wrong arguments, or a request that the cluster calls malformed
  3  not found
  4  conflict: a guard did not hold, a stale version, a reused request id
  5  unavailable: no node or no quorum
  6  timeout: no answer in time, or it is unknown whether a change took effect
  7  permission denied
  8  partial success: some lines of a load were refused
`cluster status` has its own: 0 healthy, 1 degraded but serving, 2 not serving.

Endpoints: --endpoints, else $SPINE_ENDPOINTS, else ./data/cluster.env (start.sh writes it),
else 127.0.0.1:7401.";

/// Works with a Spine cluster: data on stdout, talk on stderr.
#[derive(Parser)]
#[command(name = "spinectl", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Args {
    /// gRPC addresses of nodes, host:port, separated by commas.
    #[arg(
        long,
        global = true,
        env = "SPINE_ENDPOINTS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) endpoints: Vec<String>,
    /// How data is printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Time one call may take, with all its tries: 500ms, 10s, 2m.
    #[arg(long, global = true, value_parser = duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    /// Who calls, in a cluster in development mode.
    #[arg(long, global = true, env = "SPINE_PRINCIPAL", default_value = "developer")]
    pub(crate) principal: String,
    /// Bearer token.
    #[arg(long, global = true, env = "SPINE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Say more on stderr; repeat for more.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The cluster as a whole.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Single nodes.
    #[command(subcommand)]
    Node(Node),
    /// Restarts a running cluster, node by node, on another program.
    #[command(subcommand)]
    Upgrade(Upgrade),
    /// Shards and their replicas.
    #[command(subcommand)]
    Shard(Shard),
    /// Patients: the demographics service.
    #[command(subcommand)]
    Patient(Patient),
    /// Organisations, by which codes of practices and pharmacies are checked.
    #[command(subcommand)]
    Organisation(Organisations),
    /// The generic record store.
    #[command(subcommand)]
    Records(Records),
    /// Synthetic patients.
    #[command(subcommand)]
    Population(Population),
    /// Measures the cluster.
    Bench(Bench),
    /// Starts a cluster of its own, kills a node under load and checks that nothing was lost.
    Demo(Demo),
    /// The interface definitions.
    #[command(subcommand)]
    Proto(Proto),
    /// Completions for a shell, on stdout.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum Proto {
    /// Writes the compiled interface definitions (a FileDescriptorSet), for grpcurl and the like.
    Export {
        /// Where to; stdout without it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// 250ms, 10s, 15m, 2h, 1d.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number and ms, s, m, h or d".to_owned())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected the unit ms, s, m, h or d".to_owned()),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("15m").unwrap(), Duration::from_secs(900));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for bad in ["", "15", "m", "1.5s", "-1s", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn help_tells_the_exit_codes() {
        let help = Args::command().render_help().to_string();
        for code in ["0  ok", "8  partial success", "1 degraded but serving"] {
            assert!(help.contains(code), "{code}");
        }
    }
}
