//! `spinectl node add|decommission|replace`.

use std::time::Duration;

use serde_json::json;
use spine_client::SpineClient;
use spine_proto::admin::v1::{GetClusterStatusResponse, NodeState};
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, progress, talk};

/// Between two looks at a node that is to go.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn add(context: &Context, lifetime: Duration) -> Result<Exit, Failure> {
    let client = &context.client()?;
    let given = context
        .ask_any(
            client,
            |admin| async move { admin.create_join_token(lifetime).await },
        )
        .await?;
    let json = json!({
        "token": given.token,
        "expires_at_ms": given.expires_at_ms,
        "seeds": given.seeds,
    });
    emit(context.format, &json, || {
        format!(
            "One new node, with an empty data directory, can join with:\n\n  \
             SPINE_CLUSTER__JOIN_TOKEN={}\n  SPINE_CLUSTER__SEEDS={}\n\n\
             Then give it its share: spinectl cluster apply",
            given.token,
            given.seeds.join(",")
        )
    })?;
    Ok(Exit::Ok)
}

async fn set(context: &Context, client: &SpineClient, node_id: u64, state: NodeState) -> Result<(), Failure> {
    context
        .ask_any(client, |admin| async move {
            admin.set_node_state(node_id, state).await
        })
        .await
        .map(drop)
}

pub(crate) async fn decommission(
    context: &Context,
    node_id: u64,
    undo: bool,
    wait: Duration,
) -> Result<Exit, Failure> {
    let client = &context.client()?;
    let until = Instant::now() + wait;
    if undo {
        set(context, client, node_id, NodeState::Serving).await?;
        emit(
            context.format,
            &json!({"node_id": node_id, "state": "serving"}),
            || format!("node {node_id} takes replicas again"),
        )?;
        return Ok(Exit::Ok);
    }
    if replicas_of(&look(context, client).await?, node_id).is_some() {
        set(context, client, node_id, NodeState::Leaving).await?;
    }
    // It is empty once the cluster has let go of it.
    let left = |status: &GetClusterStatusResponse| replicas_of(status, node_id);
    if !gone(context, client, node_id, Some(NodeState::Leaving), until, left).await {
        return still(context, node_id);
    }
    emit(
        context.format,
        &json!({"node_id": node_id, "state": "removed"}),
        || format!("node {node_id} has nothing any more and belongs to the cluster no longer; stop it"),
    )?;
    Ok(Exit::Ok)
}

pub(crate) async fn replace(context: &Context, node_id: u64, wait: Duration) -> Result<Exit, Failure> {
    let client = &context.client()?;
    let until = Instant::now() + wait;
    set(context, client, node_id, NodeState::Removed).await?;
    let plan = context
        .ask_any(client, |admin| async move { admin.plan_cluster(false).await })
        .await?;
    let has_some = replicas_left(&look(context, client).await?, node_id).is_some();
    if plan.moving.is_empty() && plan.next.is_empty() && has_some {
        talk(format_args!(
            "no node has room for what node {node_id} had; `spinectl node add` lets one in"
        ));
    }
    let left = |status: &GetClusterStatusResponse| replicas_left(status, node_id);
    if !gone(context, client, node_id, None, until, left).await {
        return still(context, node_id);
    }
    emit(
        context.format,
        &json!({"node_id": node_id, "state": "removed"}),
        || format!("node {node_id} is given up; what it had is made anew on others"),
    )?;
    Ok(Exit::Ok)
}

/// Waits, with progress on stderr, until the cluster's status says that nothing is left of a node; false where time is over.
/// One that is to be in a state is told again where it serves: it was away for so long that it was taken for lost.
async fn gone(
    context: &Context,
    client: &SpineClient,
    node_id: u64,
    state: Option<NodeState>,
    until: Instant,
    left: impl Fn(&GetClusterStatusResponse) -> Option<u32>,
) -> bool {
    let bar = progress(0, "replicas");
    let mut most = 0;
    let is_gone = loop {
        let seen = look(context, client).await;
        let serves = seen.as_ref().is_ok_and(|status| serves(status, node_id));
        if let Some(state) = state.filter(|_| serves)
            && let Err(failure) = set(context, client, node_id, state).await
        {
            bar.suspend(|| talk(format_args!("node {node_id}: {}", failure.message)));
        }
        match seen.map(|status| left(&status)) {
            Ok(None) => break true,
            Ok(Some(left)) => {
                most = left.max(most);
                bar.set_length(u64::from(most));
                bar.set_position(u64::from(most - left));
            }
            Err(failure) => bar.suspend(|| talk(format_args!("node {node_id}: {}", failure.message))),
        }
        if Instant::now() >= until {
            break false;
        }
        sleep(LOOK_EVERY).await;
    };
    bar.finish_and_clear();
    is_gone
}

fn still(context: &Context, node_id: u64) -> Result<Exit, Failure> {
    emit(
        context.format,
        &json!({"node_id": node_id, "state": "leaving"}),
        || format!("replicas of node {node_id} still move; `spinectl cluster plan` shows which"),
    )?;
    Ok(Exit::Timeout)
}

/// The newest view among the endpoints: a node that was given up may not have heard of it.
async fn look(context: &Context, client: &SpineClient) -> Result<GetClusterStatusResponse, Failure> {
    let asked = context
        .ask_each(client, |admin| async move { admin.cluster_status().await })
        .await?;
    let mut failure = Failure::usage("no endpoints");
    let mut newest: Option<GetClusterStatusResponse> = None;
    for (_, answer) in asked {
        match answer {
            Ok(status) => {
                let is_newer = newest
                    .as_ref()
                    .is_none_or(|known| known.plan_epoch < status.plan_epoch);
                if is_newer {
                    newest = Some(status);
                }
            }
            Err(error) => failure = error.into(),
        }
    }
    newest.ok_or(failure)
}

/// How many replicas a node has; `None` where it does not belong to the cluster.
fn serves(status: &GetClusterStatusResponse, node_id: u64) -> bool {
    let mut nodes = status.nodes.iter();
    nodes.any(|node| node.node_id == node_id && node.state() == NodeState::Serving)
}

fn replicas_of(status: &GetClusterStatusResponse, node_id: u64) -> Option<u32> {
    let mut nodes = status.nodes.iter();
    nodes
        .find(|node| node.node_id == node_id)
        .map(|node| node.replicas)
}

/// How many replicas the shards have on a node that was given up; `None` where there are none.
fn replicas_left(status: &GetClusterStatusResponse, node_id: u64) -> Option<u32> {
    let replicas = status.shards.iter().flat_map(|shard| &shard.replicas);
    let left = replicas.filter(|replica| replica.node_id == node_id).count();
    (left > 0).then(|| u32::try_from(left).unwrap_or(u32::MAX))
}
