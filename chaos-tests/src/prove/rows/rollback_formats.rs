//! A release and the one before it: nothing that only the newer one reads is written before an operator says so.

use std::fmt;

use serde::Serialize;

use super::support::{SHARDS, block_on};
use crate::gap::{Finalized, TwoReleases};
use crate::processes::Options;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "rollback-formats",
    issue: 5,
    claim: "nodes roll from the previous release to this one and back under load, until it is finalized; then never",
    target: "0 failed calls, 0 lost, level 1 then 2, each wrong step refused",
    run,
};

const CLIENTS: usize = 32;
/// There and back, before it is finalized.
const TIMES: u32 = 3;
const TIMES_QUICK: u32 = 0;

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    found: Finalized,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let [before, after] = found.levels;
        write!(
            f,
            "{} rolls, level {before} then {after}, finalize refused while mixed: {}, way back refused: {}, \
             old program refused: {}, back on the new one: {}, {} calls, {} failed, {} lost",
            found.rolls,
            found.mixed_refused,
            found.back_refused,
            found.old_program_refused,
            found.came_back,
            found.calls,
            found.failed,
            found.lost
        )?;
        match &found.first_failure {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let found = &self.found;
        let refused = found.mixed_refused && found.back_refused && found.old_program_refused;
        found.levels == [1, 2]
            && refused
            && found.came_back
            && found.calls > 0
            && found.failed == 0
            && found.lost == 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let because = |error: crate::gap::RollError| RowError::because(error.to_string());
        let releases = TwoReleases::start(&options).await.map_err(because)?;
        match releases.play(CLIENTS, context.rounds(TIMES, TIMES_QUICK)).await {
            Ok(found) => Finding::of(&Measured { found }),
            Err(error) => {
                let mut cluster = releases.cluster.lock().await;
                cluster.keep_files();
                let kept = cluster.directory().display();
                Err(RowError::because(format!(
                    "{error}; the nodes' files are kept in {kept}"
                )))
            }
        }
    })
}
