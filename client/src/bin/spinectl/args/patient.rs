//! What is done to patients.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

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
