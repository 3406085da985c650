//! Records of any kind, organisations, and populations to load.

use std::path::PathBuf;

use clap::Subcommand;

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
