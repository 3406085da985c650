//! `spinectl cluster plan|apply`, and waiting for replicas that move.

use std::time::Duration;

use serde_json::{Value, json};
use spine_client::SpineClient;
use spine_proto::admin::v1::{NodeState, PlanClusterResponse, ReplicaMove};
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, progress, table, talk};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A node's state as people and programs read it.
pub(crate) fn word(state: NodeState) -> &'static str {
    match state {
        NodeState::Serving | NodeState::Unspecified => "serving",
        NodeState::Leaving => "leaving",
        NodeState::Lost => "lost",
        NodeState::Removed => "removed",
    }
}

pub(crate) async fn show(context: &Context) -> Result<Exit, Failure> {
    let client = context.client()?;
    let plan = context
        .ask_any(&client, |admin| async move { admin.plan_cluster(true).await })
        .await?;
    let json = json!({
        "plan_epoch": plan.plan_epoch,
        "balancing": plan.balancing,
        "moving": plan.moving.iter().map(to_json).collect::<Vec<_>>(),
        "next": plan.next.iter().map(to_json).collect::<Vec<_>>(),
    });
    emit(context.format, &json, || {
        let rows = |moves: &[ReplicaMove], when: &str| -> Vec<[String; 4]> {
            moves.iter().map(|one| row(one, when)).collect()
        };
        let mut all = rows(&plan.moving, "now");
        all.extend(rows(&plan.next, "next"));
        if all.is_empty() {
            return "every replica is where it should be".to_owned();
        }
        table(["SHARD", "FROM NODE", "TO NODE", "WHEN"], all)
    })?;
    Ok(Exit::Ok)
}

fn row(one: &ReplicaMove, when: &str) -> [String; 4] {
    let from = match one.from_node_id {
        0 => "-".to_owned(),
        node => node.to_string(),
    };
    [
        one.shard.to_string(),
        from,
        one.to_node_id.to_string(),
        when.to_owned(),
    ]
}

fn to_json(one: &ReplicaMove) -> Value {
    json!({"shard": one.shard, "from_node_id": one.from_node_id, "to_node_id": one.to_node_id})
}

pub(crate) async fn balance(context: &Context, wait: Duration) -> Result<Exit, Failure> {
    let client = context.client()?;
    context
        .ask_any(&client, |admin| async move { admin.balance().await })
        .await?;
    let done = settle(context, &client, wait, |plan| {
        !plan.balancing && plan.moving.is_empty()
    })
    .await?;
    emit(context.format, &json!({"balanced": done}), || {
        if done {
            "every replica is where it should be".to_owned()
        } else {
            "replicas still move; `spinectl cluster plan` shows which".to_owned()
        }
    })?;
    Ok(if done { Exit::Ok } else { Exit::Timeout })
}

/// Waits, with progress on stderr, until a look at the moves says that all is done; false where time is over.
async fn settle(
    context: &Context,
    client: &SpineClient,
    wait: Duration,
    is_done: impl Fn(&PlanClusterResponse) -> bool,
) -> Result<bool, Failure> {
    let until = Instant::now() + wait;
    let bar = progress(0, "moves");
    let mut seen = 0;
    loop {
        match context
            .ask_any(client, |admin| async move { admin.plan_cluster(false).await })
            .await
        {
            Ok(plan) if is_done(&plan) => {
                bar.finish_and_clear();
                return Ok(true);
            }
            Ok(plan) => {
                let left = u64::try_from(plan.moving.len() + plan.next.len()).unwrap_or(u64::MAX);
                seen = seen.max(left);
                bar.set_length(seen);
                bar.set_position(seen - left);
            }
            // A node that is asked may be the one that goes; another one answers next time.
            Err(failure) => talk(format_args!("{}", failure.message)),
        }
        if Instant::now() >= until {
            bar.finish_and_clear();
            return Ok(false);
        }
        sleep(LOOK_EVERY).await;
    }
}
