//! A row: a claim, its target, and the function that measures.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::report::{Journal, SlowCalls};

/// One claim of one issue.
pub struct Row {
    /// Lower case with hyphens; what `--only` takes.
    pub id: &'static str,
    pub issue: u32,
    pub claim: &'static str,
    pub target: &'static str,
    pub run: fn(&Context) -> Result<Finding, RowError>,
}

impl Row {
    /// What a reader types to measure this row alone.
    #[must_use]
    pub fn command(&self, quick: bool) -> String {
        let quick = if quick { " --quick" } else { "" };
        format!("cargo prove --only {}{quick}", self.id)
    }
}

/// What rows need to know of the run they are part of.
#[derive(Clone, Debug)]
pub struct Context {
    /// Fewer rounds, for every commit; the claim is then only sampled.
    pub quick: bool,
    /// Holds the built programs (`spine-node`, `spinectl`, `simulate`), of the profile in use.
    pub programs: PathBuf,
    /// What the nodes of rows about storage keep records in.
    pub engine: String,
    /// The repository's root, where scripts are.
    pub root: PathBuf,
    /// What the row's run leaves for the report if it fails.
    pub journal: Journal,
    /// Of the clients in this process.
    pub slow_calls: SlowCalls,
}

/// A figure of a quick run may miss its gate by this factor: the run is short, and whatever was built before it still
/// keeps the disk and a processor busy. What turns in circles shows all the same; gates are for full runs.
const QUICK_SLACK: f64 = 3.0;

impl Context {
    /// What a figure that must not be larger is compared with.
    #[must_use]
    pub fn at_most(&self, gate: f64) -> f64 {
        self.rounds(gate, gate * QUICK_SLACK)
    }

    /// Where a sync of the machine's own disk takes longer than this, half of the time to reach, what was measured
    /// beside it says nothing of the cluster.
    #[must_use]
    pub fn disk_limit(&self, goal_ms: f64) -> Duration {
        Duration::from_secs_f64(self.at_most(goal_ms / 2.0) / 1_000.0)
    }

    /// What a figure that must not be smaller is compared with.
    #[must_use]
    pub fn at_least(&self, gate: f64) -> f64 {
        self.rounds(gate, gate / QUICK_SLACK)
    }

    /// `full` rounds, or `quick` ones with `--quick`.
    #[must_use]
    pub fn rounds<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What a row measured. Its text is the `measured` column, its fields go to JSON.
pub trait Measurement: Display + Serialize {
    /// True if the target is met.
    fn met(&self) -> bool;
}

/// The end of a row that ran without an error.
#[derive(Debug)]
pub enum Finding {
    Measured {
        met: bool,
        text: String,
        facts: serde_json::Value,
    },
    /// What is missing on this machine. Never used where the machine could have measured.
    Skipped { reason: String },
}

impl Finding {
    /// Takes a measurement's verdict, text and fields.
    ///
    /// # Errors
    /// A measurement that has no JSON form, which is a fault of the row.
    pub fn of(measurement: &impl Measurement) -> Result<Self, RowError> {
        let facts = serde_json::to_value(measurement).map_err(|error| RowError::Row(error.to_string()))?;
        Ok(Self::Measured {
            met: measurement.met(),
            text: measurement.to_string(),
            facts,
        })
    }
}

/// Why a row could not measure; the row then fails.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Row(String),
}

impl RowError {
    pub fn because(reason: impl Into<String>) -> Self {
        Self::Row(reason.into())
    }
}
