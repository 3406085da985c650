//! `spinectl demo`, as a newcomer runs it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::support::{last_line, output};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "demo",
    issue: 2,
    claim: "spinectl demo kills a node under load and reads every acknowledged write back from every replica",
    target: "exit 0, 0 writes lost, 0 calls failed",
    run,
};

/// What `spinectl demo --output json` prints.
#[derive(Deserialize, Serialize)]
struct Measured {
    writes_acknowledged: u64,
    replica_reads: u64,
    stale_reads: u64,
    calls_failed: u64,
    longest_gap_ms: u64,
    writes_lost: u64,
    #[serde(default)]
    exit_ok: bool,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes acknowledged, {} replica reads, {} lost, {} calls failed, {} stale reads, longest gap {} ms",
            self.writes_acknowledged,
            self.replica_reads,
            self.writes_lost,
            self.calls_failed,
            self.stale_reads,
            self.longest_gap_ms
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let lost = self.writes_lost + self.calls_failed + self.stale_reads;
        self.exit_ok && lost == 0 && self.writes_acknowledged > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seconds = context.rounds("9", "4");
    let node = context.programs.join("spine-node").display().to_string();
    let arguments = [
        "--output",
        "json",
        "demo",
        "--seconds",
        seconds,
        "--node-binary",
        &node,
    ];
    let output = output(&context.programs.join("spinectl"), &arguments, &context.root)?;
    let parsed: Result<Measured, _> = serde_json::from_slice(&output.stdout);
    let mut measured = parsed.map_err(|_| RowError::because(last_line(&output.stderr)))?;
    measured.exit_ok = output.status.success();
    Finding::of(&measured)
}
