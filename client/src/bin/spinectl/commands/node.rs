//! `spinectl node status|drain`.

use serde_json::{Value, json};
use spine_client::{Address, Error};
use spine_proto::admin::v1::{GetNodeStatusResponse, NodeEvent};

use crate::args::Node;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, table};

use super::{events, members};

const MIB: u64 = 1024 * 1024;

pub(crate) async fn run(context: &Context, command: &Node) -> Result<Exit, Failure> {
    match command {
        Node::Status => status(context).await,
        Node::Drain { address, undo } => drain(context, address, *undo).await,
        Node::Add { lifetime } => members::add(context, *lifetime).await,
        Node::Decommission { node_id, undo, wait } => {
            members::decommission(context, *node_id, *undo, *wait).await
        }
        Node::Replace { node_id, wait } => members::replace(context, *node_id, *wait).await,
    }
}

async fn drain(context: &Context, address: &str, undo: bool) -> Result<Exit, Failure> {
    let left = context.client()?.admin(address)?.drain_node(undo).await?;
    emit(
        context.format,
        &json!({"address": address, "draining": !undo, "shards_left": left}),
        || match (undo, left) {
            (true, _) => format!("{address} may lead again"),
            (false, 0) => format!("{address} leads nothing and will not be elected"),
            (false, left) => format!("{address} still leads {left} shards: nobody took them over"),
        },
    )?;
    Ok(if left == 0 { Exit::Ok } else { Exit::Partial })
}

async fn status(context: &Context) -> Result<Exit, Failure> {
    let client = context.client()?;
    let asked = context
        .ask_each(&client, |admin| async move { admin.node_status().await })
        .await?;
    let json: Vec<Value> = asked
        .iter()
        .map(|(address, answer)| to_json(address, answer))
        .collect();
    emit(context.format, &Value::Array(json), || {
        let header = [
            "NODE",
            "GRPC",
            "STATE",
            "RELEASE",
            "UP",
            "MEMORY",
            "DISK FREE",
            "FSYNCS",
            "LEADS",
            "REASONS",
        ];
        let mut text = table(header, asked.iter().map(|(address, answer)| row(address, answer)));
        let mut happened: Vec<NodeEvent> = asked
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok())
            .flat_map(|status| status.events.clone())
            .collect();
        happened.sort_by_key(|event| (event.at_ms, event.node_id));
        text.push_str(&events::to_table(&happened));
        text
    })?;
    // Some nodes down is an answer; all of them down is not.
    let answered = asked.iter().any(|(_, answer)| answer.is_ok());
    match asked.into_iter().find_map(|(_, answer)| answer.err()) {
        Some(error) if !answered => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}

fn leads(status: &GetNodeStatusResponse) -> usize {
    status
        .shards
        .iter()
        .filter(|shard| shard.leader_node_id == status.node_id)
        .count()
}

fn row(address: &Address, answer: &Result<GetNodeStatusResponse, Error>) -> [String; 10] {
    match answer {
        Ok(status) => [
            status.node_id.to_string(),
            address.to_string(),
            status.state.clone(),
            status.release.clone(),
            format!("{} s", status.uptime_seconds),
            format!("{} MiB", status.resident_bytes / MIB),
            format!("{} MiB", status.disk_free_bytes / MIB),
            status.fsyncs.to_string(),
            format!("{}/{}", leads(status), status.shards.len()),
            status.reasons.join("; "),
        ],
        Err(error) => {
            let mut row: [String; 10] = Default::default();
            row[0] = "?".to_owned();
            row[1] = address.to_string();
            row[2] = "DOWN".to_owned();
            row[9] = error.to_string();
            row
        }
    }
}

fn to_json(address: &Address, answer: &Result<GetNodeStatusResponse, Error>) -> Value {
    match answer {
        Ok(status) => {
            let peers: Vec<Value> = status
                .peers
                .iter()
                .map(|p| json!({ "node_id": p.node_id, "connected": p.connected, "silent_ms": p.silent_ms }))
                .collect();
            json!({
                "endpoint": address.as_str(),
                "reachable": true,
                "node_id": status.node_id,
                "cluster_id": status.cluster_id,
                "release": status.release,
                "state": status.state,
                "uptime_seconds": status.uptime_seconds,
                "resident_bytes": status.resident_bytes,
                "disk_free_bytes": status.disk_free_bytes,
                "fsyncs": status.fsyncs,
                "shards": status.shards.len(),
                "leaders": leads(status),
                "grpc_address": status.grpc_address,
                "peer_address": status.peer_address,
                "admin_address": status.admin_address,
                "reasons": status.reasons,
                "peers": peers,
                "events": status.events.iter().map(events::to_json).collect::<Vec<_>>(),
            })
        }
        Err(error) => json!({ "endpoint": address.as_str(), "reachable": false, "reason": error.reason }),
    }
}
