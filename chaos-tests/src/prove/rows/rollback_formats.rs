//! A release and the one before it: nothing that only the newer one reads is written before an operator says so.

use std::fmt;

use serde::Serialize;

use super::rolling::{kept, options};
use super::support::block_on;
use crate::gap::{Crossed, Finalized, RollError, TwoReleases};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "rollback-formats",
    issue: 5,
    claim: "nodes roll from the previous release to this one and back under load, and each installs \
            snapshots of the other, until it is finalized; then never",
    target: "0 failed calls, 0 lost, level 1 then 2, each wrong step refused, shards by snapshot both ways",
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
    crossed: Crossed,
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
        if let Some(first) = &found.first_failure {
            write!(f, " (first: {first})")?;
        }
        write!(f, "; {}", self.crossed)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let found = &self.found;
        let refused = found.mixed_refused && found.back_refused && found.old_program_refused;
        found.levels == [1, 2]
            && refused
            && self.crossed.is_whole()
            && found.came_back
            && found.calls > 0
            && found.failed == 0
            && found.lost == 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let because = |error: RollError| RowError::because(error.to_string());
        let releases = TwoReleases::start(&options(context)).await.map_err(because)?;
        let there_and_back = context.rounds(TIMES, TIMES_QUICK);
        match measure(&releases, there_and_back).await {
            Ok(measured) => Finding::of(&measured),
            Err(error) => Err(kept(&releases.cluster, &error).await),
        }
    })
}

async fn measure(releases: &TwoReleases, there_and_back: u32) -> Result<Measured, RollError> {
    // First: once it is finalized there is no previous release any more.
    let crossed = releases.cross_snapshots(CLIENTS).await?;
    let found = releases.play(CLIENTS, there_and_back).await?;
    Ok(Measured { found, crossed })
}
