//! `spinectl cluster init|status|time`; `recover` has a file of its own.

use std::time::Duration;

use serde_json::{Value, json};
use spine_client::SpineClient;
use spine_proto::admin::v1::{GetClusterStatusResponse, Health, NodeState};
use tokio::time::{Instant, sleep};

use crate::args::Cluster;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, table, talk};

use super::shard::{replicas_json, state_of_replicas};
use super::{events, moves, recover};

/// Between two looks while waiting for health.
const WAIT_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) async fn run(context: &Context, command: Cluster) -> Result<Exit, Failure> {
    let client = context.client()?;
    match command {
        Cluster::Init {
            peers,
            shards,
            replicas,
        } => init(context, &client, peers, shards, replicas).await,
        Cluster::Status { wait } => status(context, &client, wait).await,
        Cluster::Recover { release: true, .. } => recover::release(context, &client).await,
        Cluster::Recover { accept_data_loss, .. } => recover::run(context, &client, accept_data_loss).await,
        Cluster::Plan => moves::show(context).await,
        Cluster::Apply { wait } => moves::balance(context, wait).await,
        Cluster::Time {
            advance: Some(by),
            node,
        } => advance(context, &client, by, node).await,
        Cluster::Time { advance: None, .. } => time(context, &client).await,
    }
}

async fn init(
    context: &Context,
    client: &SpineClient,
    peers: Vec<String>,
    shards: u32,
    replicas: u32,
) -> Result<Exit, Failure> {
    let peers = if peers.is_empty() {
        peers_of_endpoints(context, client).await?
    } else {
        peers
    };
    let first = client
        .endpoints()
        .first()
        .ok_or_else(|| Failure::usage("no endpoints"))?;
    let admin = client.admin(first.as_str())?.with_deadline(context.timeout());
    let done = admin.init_cluster(peers.clone(), shards, replicas).await?;
    let json = json!({ "cluster_id": done.cluster_id, "already": done.already, "nodes": peers.len() });
    emit(context.format, &json, || {
        let how = if done.already {
            "was initialised before"
        } else {
            "is initialised"
        };
        format!("cluster {} of {} nodes {how}", done.cluster_id, peers.len())
    })?;
    Ok(Exit::Ok)
}

/// Every endpoint must answer: a cluster is made of all its nodes at once.
async fn peers_of_endpoints(context: &Context, client: &SpineClient) -> Result<Vec<String>, Failure> {
    let asked = context
        .ask_each(client, |admin| async move { admin.node_status().await })
        .await?;
    asked
        .into_iter()
        .map(|(_, answer)| Ok(answer?.peer_address))
        .collect()
}

async fn status(context: &Context, client: &SpineClient, wait: Option<Duration>) -> Result<Exit, Failure> {
    let until = wait.map(|wait| Instant::now() + wait);
    loop {
        let seen = look(context, client).await?;
        let health = seen
            .as_ref()
            .map_or(Health::NotServing, GetClusterStatusResponse::health);
        if health == Health::Healthy || until.is_none_or(|until| Instant::now() >= until) {
            return report(context, seen.as_ref(), health);
        }
        sleep(WAIT_INTERVAL).await;
    }
}

/// The best view among the endpoints: a node that is cut off sees less than the others.
async fn look(context: &Context, client: &SpineClient) -> Result<Option<GetClusterStatusResponse>, Failure> {
    let asked = context
        .ask_each(client, |admin| async move { admin.cluster_status().await })
        .await?;
    let mut best: Option<GetClusterStatusResponse> = None;
    for (address, answer) in asked {
        match answer {
            Ok(status) => {
                let better = best
                    .as_ref()
                    .is_none_or(|best| rank(status.health()) < rank(best.health()));
                if better {
                    best = Some(status);
                }
            }
            Err(error) => talk(format_args!("{address}: {error}")),
        }
    }
    Ok(best)
}

fn rank(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::NotServing | Health::Unspecified => 2,
    }
}

fn report(
    context: &Context,
    status: Option<&GetClusterStatusResponse>,
    health: Health,
) -> Result<Exit, Failure> {
    let (word, exit) = match health {
        Health::Healthy => ("healthy", Exit::HEALTHY),
        Health::Degraded => ("degraded", Exit::DEGRADED),
        Health::NotServing | Health::Unspecified => ("not serving", Exit::NOT_SERVING),
    };
    let json = status.map_or_else(|| json!({ "health": word }), |status| to_json(status, word));
    emit(context.format, &json, || {
        status.map_or_else(|| word.to_owned(), |status| to_table(status, word))
    })?;
    Ok(exit)
}

fn to_json(status: &GetClusterStatusResponse, word: &str) -> Value {
    let nodes: Vec<Value> = status
        .nodes
        .iter()
        .map(|node| {
            json!({
                "node_id": node.node_id,
                "grpc_address": node.grpc_address,
                "peer_address": node.peer_address,
                "admin_address": node.admin_address,
                "reachable": node.reachable,
                "release": node.release,
                "replicas": node.replicas,
                "leaders": node.leaders,
                "state": moves::word(node.state()),
                "zone": node.zone,
            })
        })
        .collect();
    let shards: Vec<Value> = status.shards.iter().map(replicas_json).collect();
    json!({
        "health": word,
        "cluster_id": status.cluster_id,
        "level": status.level,
        "plan_epoch": status.plan_epoch,
        "level_of_all": status.level_of_all,
        "reasons": status.reasons,
        "nodes": nodes,
        "shards": shards,
        "events": status.events.iter().map(events::to_json).collect::<Vec<_>>(),
    })
}

fn to_table(status: &GetClusterStatusResponse, word: &str) -> String {
    let header = ["NODE", "GRPC", "ADMIN", "STATE", "RELEASE", "REPLICAS", "LEADERS"];
    let nodes = status.nodes.iter().map(|node| {
        let up = if node.reachable { "up" } else { "DOWN" };
        let state = match node.state() {
            NodeState::Serving | NodeState::Unspecified => up.to_owned(),
            state => format!("{up}, {}", moves::word(state)),
        };
        [
            node.node_id.to_string(),
            node.grpc_address.clone(),
            node.admin_address.clone(),
            state,
            node.release.clone(),
            node.replicas.to_string(),
            node.leaders.to_string(),
        ]
    });
    let mut text = format!("cluster {}: {word}\n", status.cluster_id);
    for reason in &status.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    text.push('\n');
    text.push_str(&table(header, nodes));
    let even = status
        .shards
        .iter()
        .filter(|shard| state_of_replicas(shard) == "even")
        .count();
    let led = status
        .shards
        .iter()
        .filter(|shard| shard.leader_node_id != 0)
        .count();
    text.push_str(&format!(
        "\n\n{} shards, {led} with a leader, {even} with even replicas",
        status.shards.len()
    ));
    text.push_str(&level(status));
    text.push_str(&events::to_table(&status.events));
    text
}

/// The meta group is raised first, so some shards may be behind it.
fn level(status: &GetClusterStatusResponse) -> String {
    let below = status.shards.iter().filter(|shard| shard.level < status.level);
    match below.count() {
        0 => format!("\nlevel {}", status.level),
        below => format!(
            "\nlevel {}, and {below} shards are below it: begin `upgrade finalize` again",
            status.level
        ),
    }
}

/// Every node's clock is moved once: a node that is asked again moves twice as far, so nothing is repeated.
async fn advance(
    context: &Context,
    client: &SpineClient,
    by: Duration,
    node: Option<String>,
) -> Result<Exit, Failure> {
    let addresses = match node {
        Some(address) => vec![address],
        None => addresses(context, client).await?,
    };
    let moves = addresses.iter().map(|address| async move {
        let admin = client.admin(address)?.with_deadline(context.timeout());
        admin.advance_time(by).await
    });
    let moved = futures_util::future::join_all(moves).await;
    let failed: Vec<&String> = addresses
        .iter()
        .zip(&moved)
        .filter_map(|(address, moved)| moved.is_err().then_some(address))
        .collect();
    let last = moved.iter().flatten().map(|moved| moved.log_time_ms).max();
    let Some(last) = last else {
        // Nothing was moved; the first reason stands for all.
        let first = moved.into_iter().find_map(Result::err);
        return Err(first.map_or_else(|| Failure::usage("no nodes"), Failure::from));
    };
    let done = addresses.len() - failed.len();
    let json = json!({ "log_time_ms": last, "nodes_moved": done, "nodes_failed": failed });
    emit(context.format, &json, || {
        let mut text = format!("log time {last} ms on {done} nodes");
        for address in &failed {
            text.push_str(&format!(
                "\n  {address} did not answer: whether it moved is not known"
            ));
        }
        text
    })?;
    Ok(if failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Partial
    })
}

/// The gRPC addresses of all nodes.
async fn addresses(context: &Context, client: &SpineClient) -> Result<Vec<String>, Failure> {
    let status = context
        .ask_any(client, |admin| async move { admin.cluster_status().await })
        .await?;
    Ok(status.nodes.into_iter().map(|node| node.grpc_address).collect())
}

async fn time(context: &Context, client: &SpineClient) -> Result<Exit, Failure> {
    let time = context
        .ask_any(client, |admin| async move { admin.time().await })
        .await?;
    let json = json!({ "log_time_ms": time.log_time_ms, "advanced_ms": time.advanced_ms });
    emit(context.format, &json, || {
        format!(
            "log time {} ms, of which {} ms were advanced by hand",
            time.log_time_ms, time.advanced_ms
        )
    })?;
    Ok(Exit::Ok)
}
