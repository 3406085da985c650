//! `spinectl bench compare`: Spine and etcd in turns under the same generator.

use std::fmt;

use serde::{Deserialize, Serialize};
use spine_client::etcd;

use super::support::{last_line, output};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "bench-etcd",
    issue: 4,
    claim: "records are put, compared and set, and read several times as fast as in etcd on the same machine",
    target: "each row of spinectl bench compare at its ratio (gate 60 % of it; latency 1/1.7), 0 errors",
    run,
};

/// Of a ratio; for one client the ratio is of latencies, whose gate is 1.7 times the time.
const GATE: f64 = 0.6;
/// The two that say most, where there is no time for all.
const ROWS_QUICK: &str = "put-256B-c64,get-256B-c64";

#[derive(Deserialize)]
struct Compared {
    rows: Vec<Compare>,
}

#[derive(Deserialize, Serialize)]
struct Side {
    ops_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
}

#[derive(Deserialize, Serialize)]
struct Compare {
    id: String,
    spine: Side,
    etcd: Side,
    ratio: f64,
    /// How many times better than etcd; not there where it is published and not claimed.
    target: Option<f64>,
}

impl Compare {
    fn met(&self, context: &Context) -> bool {
        let fast = self
            .target
            .is_none_or(|target| self.ratio >= context.at_least(target * GATE));
        fast && self.spine.errors == 0
    }
}

#[derive(Serialize)]
struct Measured {
    rows: Vec<Compare>,
    below: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, row) in self.rows.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {:.2}", row.id, row.ratio)?;
            if let Some(target) = row.target {
                write!(f, " of {target:.2}")?;
            }
        }
        match &self.below[..] {
            [] => Ok(()),
            below => write!(f, "; below the gate: {}", below.join(", ")),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.below.is_empty() && !self.rows.is_empty()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let skipped = |reason: &str| {
        Ok(Finding::Skipped {
            reason: reason.to_owned(),
        })
    };
    if etcd::program().is_none() {
        return skipped("etcd is not on the PATH (Debian: apt-get install etcd-server)");
    }
    let spinectl = context.programs.join("spinectl");
    let help = output(&spinectl, &["bench", "compare", "--help"], &context.root)?;
    if !help.status.success() {
        return skipped("spinectl was built without its feature bench-etcd");
    }
    let node = context.programs.join("spine-node").display().to_string();
    let mut arguments = vec![
        "--output",
        "json",
        "bench",
        "compare",
        "--repetitions",
        context.rounds("5", "1"),
        "--seconds",
        context.rounds("3", "2"),
        "--node-binary",
        &node,
    ];
    if context.quick {
        arguments.extend(["--only", ROWS_QUICK]);
    }
    let output = output(&spinectl, &arguments, &context.root)?;
    let parsed: Result<Compared, _> = serde_json::from_slice(&output.stdout);
    let rows = parsed
        .map_err(|_| RowError::because(last_line(&output.stderr)))?
        .rows;
    let below = rows.iter().filter(|row| !row.met(context));
    let below = below.map(|row| row.id.clone()).collect();
    Finding::of(&Measured { rows, below })
}
