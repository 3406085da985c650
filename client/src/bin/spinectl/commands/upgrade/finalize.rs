//! `spinectl upgrade finalize`.

use std::path::Path;

use serde_json::json;
use spine_client::upgrade::{Finalize, FinalizeError, LiveFleet, Phase, Progress, Restart, Timings};
use spine_proto::admin::v1::NodeSummary;

use super::{cluster, conflict, read_state, unavailable, write_state};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, talk};

pub(super) async fn finalize(context: &Context, state: &Path) -> Result<Exit, Failure> {
    let client = context.client()?;
    let cluster = cluster(context, &client).await?;
    let progress = read_state(state)?.filter(|progress| progress.cluster_id == cluster.cluster_id);
    if progress.as_ref().is_some_and(|progress| !progress.has_ended()) {
        return Err(conflict(format!(
            "the upgrade of {} has not ended: finish it, or take it back with `upgrade rollback`",
            state.display()
        )));
    }
    let client_of = |address: &str| context.client_of(&[address.to_owned()]);
    let mut fleet = LiveFleet::new(client, client_of, NoRestart);
    let mut finalize = Finalize {
        fleet: &mut fleet,
        timings: Timings::default(),
        tell: &mut |shard| talk(format_args!("{} is raised", named(shard))),
    };
    let raised = match finalize.run().await {
        Ok(raised) => raised,
        Err(refused @ FinalizeError::Refused(_)) => return Err(unavailable(refused.to_string())),
        Err(stopped) => return Err(Failure::generic(stopped.to_string())),
    };
    if let Some(progress) = progress {
        note(state, progress, raised.level).map_err(Failure::io("note the progress"))?;
    }
    let json = json!({
        "cluster_id": cluster.cluster_id,
        "level": raised.level,
        "shards_raised": raised.shards,
    });
    emit(context.format, &json, || {
        let now = match raised.shards.len() {
            0 => "as before".to_owned(),
            1 => "1 shard was raised".to_owned(),
            shards => format!("{shards} shards were raised"),
        };
        format!("every shard follows level {} ({now})", raised.level)
    })?;
    Ok(Exit::Ok)
}

/// What was taken back stays so: its nodes run the program that they had, at its own level.
fn note(state: &Path, mut progress: Progress, level: u32) -> std::io::Result<()> {
    if progress.phase != Phase::Done {
        return Ok(());
    }
    progress.phase = Phase::Finalized { level };
    write_state(state, &progress)
}

fn named(shard: u32) -> String {
    match shard {
        0 => "the meta group".to_owned(),
        shard => format!("shard {shard}"),
    }
}

/// Nothing is restarted.
struct NoRestart;

impl Restart for NoRestart {
    async fn restart(&mut self, _: &NodeSummary, _: &Path) -> Result<(), String> {
        Err("a node is not restarted by this".to_owned())
    }
}
