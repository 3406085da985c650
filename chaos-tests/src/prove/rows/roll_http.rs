//! Rolling upgrades, and the way back, while clients of FHIR over HTTP go on.

use std::fmt;

use serde::Serialize;

use super::rolling::{CLIENTS, GATE, LONGEST_MS, kept, options, shared};
use super::support::block_on;
use crate::gap::{Befell, Rolled, http_rolls};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "roll-http",
    issue: 6,
    claim: "5 rolls of all nodes and the ways back under 64 HTTP clients that read and patch patients over \
            connections that stay open: no failed call, nothing lost, hardly any call cut",
    target: "longest call of a restart p99 <= 50 ms (gate 85), at most 1 of 10,000 cut; 0 failed, 0 lost",
    run,
};

/// Forward and back.
const TIMES: u32 = 5;
const TIMES_QUICK: u32 = 1;
/// As in `gap-http`: who connects in the moment in which a listener closes is lost by the kernel.
const CALLS_FOR_ONE_CUT: u64 = 10_000;

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    rolled: Rolled,
    befell: Befell,
    #[serde(skip)]
    p99_ms: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Befell { cut, put_off } = self.befell;
        write!(f, "{}, {cut} cut, {put_off} put off", self.rolled)?;
        if self.met() && self.rolled.summary.p99_ms > LONGEST_MS {
            f.write_str(" (gate met, goal not)")?;
        }
        Ok(())
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.rolled.is_whole()
            && self.rolled.summary.p99_ms <= self.p99_ms
            && self.befell.cut * CALLS_FOR_ONE_CUT <= self.rolled.calls
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = Cluster::start_with_http(&options(context), Vec::new()).await?;
        let cluster = shared(cluster, context);
        let times = context.rounds(TIMES, TIMES_QUICK);
        match http_rolls(&cluster, CLIENTS, times, context.disk_limit(LONGEST_MS)).await {
            Ok((rolled, befell)) => Finding::of(&Measured {
                rolled,
                befell,
                p99_ms: context.at_most(LONGEST_MS * GATE),
            }),
            Err(error) => Err(kept(&cluster, &error).await),
        }
    })
}
