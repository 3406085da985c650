//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

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
pub(crate) enum Cluster {
    /// Makes one cluster of new nodes. Repeating it is harmless.
    Init {
        /// Peer addresses of all nodes; without them every endpoint is asked for its own.
        #[arg(long, value_delimiter = ',')]
        peers: Vec<String>,
        /// Data shards; 0 means 8.
        #[arg(long, default_value_t = 0)]
        shards: u32,
        /// Replicas of each shard; 0 means 3, or 1 for a single node.
        #[arg(long, default_value_t = 0)]
        replicas: u32,
    },
    /// Health at a glance. Exits 0 healthy, 1 degraded but serving, 2 not serving.
    Status {
        /// Wait so long for it to become healthy.
        #[arg(long, value_parser = duration)]
        wait: Option<Duration>,
    },
    /// Which replicas move now, and which `cluster apply` would move.
    Plan,
    /// Moves replicas until nodes and zones carry as much as each other. Waits; interrupted, it goes on by itself.
    #[command(visible_alias = "balance")]
    Apply {
        /// Wait at most so long.
        #[arg(long, value_parser = duration, default_value = "1h")]
        wait: Duration,
    },
    /// Begins a new incarnation of a cluster that lost its majority for good, from what the nodes at the endpoints have. No
    /// way back.
    Recover {
        /// What only the lost nodes had is lost.
        #[arg(long)]
        accept_data_loss: bool,
        /// Take back what an earlier try held, where no node has begun: those at the endpoints end, and are as before once
        /// they are started again.
        #[arg(long, conflicts_with = "accept_data_loss")]
        release: bool,
    },
    /// The cluster's log time.
    Time {
        /// Move it forward; development mode only: 15m, 2h.
        #[arg(long, value_parser = duration)]
        advance: Option<Duration>,
        /// Move the clock of this node only, by its gRPC address: it is then apart from its peers'.
        #[arg(long, value_name = "ADDRESS", requires = "advance")]
        node: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Node {
    /// State, memory, disk and shards of every endpoint.
    Status,
    /// Hands over everything that a node leads and keeps it from leading, until undone or restarted.
    Drain {
        /// gRPC address of the node.
        address: String,
        /// Let it lead again.
        #[arg(long)]
        undo: bool,
    },
    /// Prints a token with which one new node can join, and how to start that node.
    Add {
        /// How long the token is good: 10m, 1h; at most 168h.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "1h")]
        lifetime: Duration,
    },
    /// Empties a living node and lets go of it. Waits until that is done; interrupted, it goes on by itself.
    Decommission {
        /// Number of the node, as `cluster status` shows it.
        node_id: u64,
        /// Let it take replicas again instead.
        #[arg(long)]
        undo: bool,
        /// Wait at most so long.
        #[arg(long, value_parser = duration, default_value = "1h")]
        wait: Duration,
    },
    /// Gives up a dead node for good and makes what it had anew on others. Waits until that is done.
    Replace {
        /// Number of the node, as `cluster status` shows it. It never comes back under this number.
        node_id: u64,
        /// Wait at most so long.
        #[arg(long, value_parser = duration, default_value = "1h")]
        wait: Duration,
    },
}

#[derive(Subcommand)]
pub(crate) enum Upgrade {
    /// What an upgrade would do, and what keeps it from beginning; exits 5 if something does.
    Plan {
        /// The spine-node program that nodes are to get.
        #[arg(long, value_name = "PATH")]
        binary: PathBuf,
    },
    /// Restarts one node after the other on another program. Where a check fails, those that were done go back. Begun
    /// again with the same --state it goes on where it was.
    Apply {
        /// The spine-node program that nodes get; the same one for a restart without an upgrade.
        #[arg(long, value_name = "PATH")]
        binary: PathBuf,
        /// The program that they run now: the way back. Without it a check that fails ends the upgrade where it is.
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        #[command(flatten)]
        carried: Carried,
    },
    /// Takes every node that an upgrade has restarted back to the program that it had.
    Rollback {
        #[command(flatten)]
        carried: Carried,
    },
    /// Lets all shards follow the rules that the new release brought. There is no way back from it. Exits 5 where
    /// something is in the way; begun again it goes on where it was.
    Finalize {
        /// The file of the upgrade that it ends, if it is there.
        #[arg(long, value_name = "FILE", default_value = UPGRADE_STATE)]
        state: PathBuf,
    },
    /// How far an upgrade has come.
    Status {
        /// Its file.
        #[arg(long, value_name = "FILE", default_value = UPGRADE_STATE)]
        state: PathBuf,
    },
}

/// How an upgrade acts, and what it remembers.
#[derive(clap::Args)]
pub(crate) struct Carried {
    /// Shell command that stops a node and starts it on a program; it is told which by SPINE_NODE_ID, SPINE_NODE_GRPC,
    /// SPINE_NODE_ADMIN and SPINE_BINARY, and exits with 0 once the node was started.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) hook: String,
    /// Where it notes how far it has come.
    #[arg(long, value_name = "FILE", default_value = UPGRADE_STATE)]
    pub(crate) state: PathBuf,
}

/// In the directory in which the upgrade is begun.
const UPGRADE_STATE: &str = "spine-upgrade.json";

#[derive(Subcommand)]
pub(crate) enum Shard {
    /// Every shard with its slots, leader and replicas.
    List,
    /// Checkpoints a shard on every endpoint and purges its log up to there.
    Compact {
        /// One shard; without it all of them.
        shard: Option<u32>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Patient {
    /// Prints the current version as FHIR JSON.
    Get {
        /// Ten digits.
        nhs_number: String,
    },
    /// Registers a patient, or replaces it with --if-version.
    Put {
        /// A FHIR R4 Patient as JSON; - for stdin.
        file: PathBuf,
        /// Replace exactly this version.
        #[arg(long)]
        if_version: Option<u32>,
        /// Takes effect once, however often it is sent.
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Changes parts of a patient.
    Patch {
        /// Ten digits.
        nhs_number: String,
        /// The patch; - for stdin.
        file: PathBuf,
        /// How it is written: a JSON patch list, a JSON merge patch, or {"patches": [...]} with the rules of PDS.
        #[arg(long, value_enum, default_value_t = PatchFormat::Json)]
        format: PatchFormat,
        /// Change exactly this version; required for pds.
        #[arg(long)]
        if_version: Option<u32>,
        /// Takes effect once, however often it is sent.
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Searches every shard for patients: NAME=VALUE as in the PDS FHIR API, for example family=Hill birthdate=eq1990-01-01.
    /// Exits 3 where nobody matches and 4 where too many do.
    Search {
        /// What the patient must be.
        #[arg(required = true, value_name = "NAME=VALUE")]
        parameters: Vec<String>,
    },
    /// Has a patient created under a new NHS Number, unless somebody alike has one. Exits 4 where somebody has.
    Allocate {
        /// A FHIR R4 Patient without an id; - for stdin.
        file: PathBuf,
        /// What the national service asks of a new patient must be there.
        #[arg(long)]
        national: bool,
        /// NAME=VALUE: nothing is created where one patient meets all of these. Either identifier=NHS-NUMBER, or a
        /// search with the birth date.
        #[arg(long, value_name = "NAME=VALUE")]
        if_none: Vec<String>,
        /// Answered with the same number, however often it is sent.
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Merges a number into another, which answers for both from now on.
    Merge {
        /// The number that is to be superseded.
        nhs_number: String,
        /// The number that stays.
        #[arg(long)]
        into: String,
        #[command(flatten)]
        change: Change,
    },
    /// Marks a record as invalid: nobody is shown it any more.
    Invalidate {
        /// Ten digits.
        nhs_number: String,
        #[command(flatten)]
        change: Change,
    },
    /// Says whether a record shows where the patient is.
    Sensitivity {
        /// Ten digits.
        nhs_number: String,
        /// Hide it, or show it again.
        #[arg(value_enum)]
        to: Sensitivity,
        #[command(flatten)]
        change: Change,
    },
    /// Tells that a patient has died, or that this was wrong.
    Death {
        /// Ten digits.
        nhs_number: String,
        /// As somebody or the registrar tells it, or removed.
        #[arg(value_enum)]
        status: Death,
        /// When: a FHIR dateTime of UTC, for example 2026-01-02T03:04:05+00:00.
        #[arg(long)]
        at: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Who is there for a patient.
    #[command(subcommand)]
    Related(Related),
    /// Lists the versions, newest first.
    History {
        /// Ten digits.
        nhs_number: String,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Prints what is written of all patients, until interrupted; a line on stderr at the end says where to go on.
    Watch {
        /// Begin behind this cursor; without it with the next change. `start`: with every patient that there is.
        #[arg(long)]
        cursor: Option<String>,
        /// Only of this shard; may be given several times.
        #[arg(long)]
        shard: Vec<u32>,
        /// End after so many versions.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Registers one patient for each line of an NDJSON file; a bad line never stops a good one.
    /// Exits 8 where lines were refused. Repeat it after a failure: nothing is registered twice.
    Load {
        /// NDJSON of FHIR R4 Patients; - for stdin.
        file: PathBuf,
        /// Streams side by side.
        #[arg(long, default_value_t = spine_client::load::STREAMS)]
        streams: usize,
        /// Lines of one batch.
        #[arg(long, default_value_t = spine_client::load::BATCH_LINES)]
        batch: usize,
    },
}

/// What changes of a patient share.
#[derive(clap::Args)]
pub(crate) struct Change {
    /// Change exactly this version.
    #[arg(long)]
    pub(crate) if_version: Option<u32>,
    /// Takes effect once, however often it is sent.
    #[arg(long)]
    pub(crate) request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sensitivity {
    /// Where the patient is, and what leads there, is hidden.
    Restricted,
    /// Nothing is hidden.
    Unrestricted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Death {
    /// Somebody has told it.
    Informal,
    /// The registrar has told it.
    Formal,
    /// It was wrong.
    Removed,
}

#[derive(Subcommand)]
pub(crate) enum Related {
    /// Prints everybody who is there for a patient.
    List {
        /// Ten digits.
        nhs_number: String,
    },
    /// Adds somebody, or replaces them with --number.
    Put {
        /// Ten digits.
        nhs_number: String,
        /// A FHIR R4 RelatedPerson; - for stdin.
        file: PathBuf,
        /// Which one to replace.
        #[arg(long)]
        number: Option<u32>,
        #[command(flatten)]
        change: Change,
    },
    /// Removes somebody; their versions stay.
    Remove {
        /// Ten digits.
        nhs_number: String,
        /// Which one.
        number: u32,
        #[command(flatten)]
        change: Change,
    },
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PatchFormat {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Of the national service.
    Pds,
}

#[derive(Subcommand)]
pub(crate) enum Records {
    /// Prints the value of one record.
    Get {
        routing_key: String,
        /// May be empty.
        #[arg(default_value = "")]
        suffix: String,
    },
    /// Lists the records of a routing key.
    List {
        routing_key: String,
        /// Only suffixes that begin so.
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Changes records of one routing key, all or none.
    Commit {
        routing_key: String,
        /// SUFFIX=VALUE, or SUFFIX=@FILE; may be repeated.
        #[arg(long, value_name = "SUFFIX=VALUE")]
        put: Vec<String>,
        /// May be repeated.
        #[arg(long, value_name = "SUFFIX")]
        delete: Vec<String>,
        /// Only if the record has this revision; may be repeated.
        #[arg(long, value_name = "SUFFIX=REVISION")]
        if_revision: Vec<String>,
        /// Only if there is no such record; may be repeated.
        #[arg(long, value_name = "SUFFIX")]
        if_absent: Vec<String>,
        /// Takes effect once, however often it is sent.
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Prints changes as they are committed, until interrupted.
    Watch {
        routing_key: String,
        /// Begin at this index; without it with the next change.
        #[arg(long)]
        from: Option<u64>,
        /// End after so many log entries.
        #[arg(long)]
        limit: Option<usize>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Organisations {
    /// Tells every shard of the organisations of a CSV file: code, name, roles, status. Repeatable.
    Load {
        /// CSV; - for stdin.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum Population {
    /// Writes the organisations that patients of every population name, as CSV.
    Organisations {
        /// Where to; stdout without it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Writes synthetic FHIR R4 Patients as NDJSON: one seed, one population.
    Generate {
        /// How many.
        #[arg(long)]
        count: u64,
        /// Which.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where to; stdout without it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

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
