//! What clients of FHIR over HTTP notice of a crash and of a planned stop.

use std::fmt;

use serde::Serialize;

use super::support::{SHARDS, block_on};
use crate::gap::{Befell, Fault, Gap, Rounds, elsewhere_limit_ms, http_rounds};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "gap-http",
    issue: 6,
    claim: "64 HTTP clients that send again what was cut: a planned stop cuts hardly any, a kill -9 only what was under way, \
            and every call succeeds",
    target: "kill p99 <= 150 ms (gate 255); planned p99 <= 50 ms (gate 85), at most 1 of 10,000 cut; of keys \
             led elsewhere at most 3 times the p99 without a fault, or 50 ms (gate 1.7 times that); 0 failed, 0 lost, \
             no error logged",
    run,
};

const CLIENTS: usize = 64;
/// As in the rows of the other clients: the p99 of planned stops is the second largest.
const PLANNED: u32 = 100;
const KILLS: u32 = 50;
const FAULTS_QUICK: u32 = 2;
/// Rounds without a fault, to see what a machine does to a call by itself.
const QUIET: u32 = 40;
const KILL_MS: f64 = 150.0;
const PLANNED_MS: f64 = 50.0;
/// Who connects in the moment in which a listener closes is lost by the kernel: one call in so many, and more are a fault
/// of the stop.
const CALLS_FOR_ONE_CUT: u64 = 10_000;
/// The share of a goal that is the gate of a time.
const GATE: f64 = 1.7;

#[derive(Serialize)]
struct Measured {
    #[serde(skip)]
    gate: f64,
    /// By what was measured without a fault, a moment before.
    elsewhere_limit_ms: f64,
    quiet: Gap,
    kill: Gap,
    kill_befell: Befell,
    planned: Gap,
    planned_befell: Befell,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kill, planned) = (self.kill_befell, self.planned_befell);
        write!(f, "no fault: {}; ", self.quiet)?;
        write!(
            f,
            "kill: {}, {} cut, {} put off",
            self.kill, kill.cut, kill.put_off
        )?;
        write!(
            f,
            "; planned: {}, {} cut, {} put off",
            self.planned, planned.cut, planned.put_off
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let gaps = [(&self.kill, KILL_MS), (&self.planned, PLANNED_MS)];
        let good = |(gap, goal): (&Gap, f64)| {
            let in_time = gap.summary.p99_ms <= goal * self.gate;
            let spares_others = gap.others.p99_ms <= self.elsewhere_limit_ms;
            gap.complete && gap.is_clean() && in_time && spares_others
        };
        gaps.into_iter().all(good) && self.planned_befell.cut * CALLS_FOR_ONE_CUT <= self.planned.calls
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let (quiet, _) = rounds(context, Fault::None, QUIET, KILL_MS).await?;
        let (kill, kill_befell) = rounds(context, Fault::Kill, KILLS, KILL_MS).await?;
        let (planned, planned_befell) = rounds(context, Fault::Planned, PLANNED, PLANNED_MS).await?;
        Finding::of(&Measured {
            gate: context.at_most(GATE),
            elsewhere_limit_ms: context.at_most(GATE * elsewhere_limit_ms(quiet.summary.p99_ms)),
            quiet,
            kill,
            kill_befell,
            planned,
            planned_befell,
        })
    })
}

async fn rounds(
    context: &Context,
    fault: Fault,
    faults: u32,
    goal_ms: f64,
) -> Result<(Gap, Befell), RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    let cluster = Cluster::start_with_http(&options, Vec::new()).await?;
    let mut cluster = cluster.noted_in(context.journal.clone());
    let rounds = Rounds {
        clients: CLIENTS,
        faults: context.rounds(faults, FAULTS_QUICK),
        fault,
        seed: 6,
        disk_limit: Some(context.disk_limit(goal_ms)),
    };
    match http_rounds(&mut cluster, rounds).await {
        Ok(seen) => Ok(seen),
        Err(error) => {
            cluster.keep_files();
            let kept = cluster.directory().display();
            Err(RowError::because(format!(
                "{error}; the nodes' files are kept in {kept}"
            )))
        }
    }
}
