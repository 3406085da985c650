//! `spinectl shard list|compact`.

use serde_json::{Value, json};
use spine_client::SpineClient;
use spine_proto::admin::v1::ShardSummary;

use crate::args::Shard;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, table, talk};

pub(crate) async fn run(context: &Context, command: Shard) -> Result<Exit, Failure> {
    let client = context.client()?;
    match command {
        Shard::List => list(context, &client).await,
        Shard::Compact { shard } => compact(context, &client, shard).await,
    }
}

async fn list(context: &Context, client: &SpineClient) -> Result<Exit, Failure> {
    let shards = context
        .ask_any(client, |admin| async move { admin.list_shards().await })
        .await?;
    let json = Value::Array(shards.iter().map(replicas_json).collect());
    emit(context.format, &json, || {
        let header = [
            "SHARD",
            "SLOTS",
            "LEADER",
            "TERM",
            "RECORDS",
            "REPLICAS",
            "NODE:APPLIED/LOG",
        ];
        table(header, shards.iter().map(row))
    })?;
    Ok(Exit::Ok)
}

fn row(shard: &ShardSummary) -> [String; 7] {
    let slots = if shard.shard == 0 {
        "meta".to_owned()
    } else {
        format!("{}-{}", shard.slot_first, shard.slot_last)
    };
    let leader = if shard.leader_node_id == 0 {
        "none".to_owned()
    } else {
        shard.leader_node_id.to_string()
    };
    let replicas: Vec<String> = shard
        .replicas
        .iter()
        .map(|r| {
            let lost = if r.reachable { "" } else { "!" };
            format!("{}:{}/{}{lost}", r.node_id, r.applied_index, r.last_log_index)
        })
        .collect();
    let records = shard.replicas.iter().map(|r| r.record_count).max().unwrap_or(0);
    [
        shard.shard.to_string(),
        slots,
        leader,
        shard.term.to_string(),
        records.to_string(),
        state_of_replicas(shard).to_owned(),
        replicas.join(" "),
    ]
}

/// In one word: are the replicas where they should be?
pub(super) fn state_of_replicas(shard: &ShardSummary) -> &'static str {
    let furthest = shard.replicas.iter().map(|r| r.applied_index).max();
    let at_furthest: Vec<_> = shard
        .replicas
        .iter()
        .filter(|r| r.reachable && Some(r.applied_index) == furthest)
        .collect();
    let Some(first) = at_furthest.first() else {
        return "unknown";
    };
    if at_furthest.iter().any(|r| r.digest != first.digest) {
        "DIVERGED"
    } else if at_furthest.len() == shard.replicas.len() {
        "even"
    } else if shard.replicas.iter().all(|r| r.reachable) {
        "behind"
    } else {
        "missing"
    }
}

pub(super) fn replicas_json(shard: &ShardSummary) -> Value {
    let replicas: Vec<Value> = shard
        .replicas
        .iter()
        .map(|r| {
            json!({
                "node_id": r.node_id,
                "replica_id": r.replica_id,
                "reachable": r.reachable,
                "state": r.state,
                "applied_index": r.applied_index,
                "last_log_index": r.last_log_index,
                "purged_index": r.purged_index,
                "checkpoint_index": r.checkpoint_index,
                "record_count": r.record_count,
                "digest": r.digest,
            })
        })
        .collect();
    json!({
        "shard": shard.shard,
        "slot_first": shard.slot_first,
        "slot_last": shard.slot_last,
        "leader_node_id": shard.leader_node_id,
        "term": shard.term,
        "replicas": replicas,
    })
}

async fn compact(context: &Context, client: &SpineClient, shard: Option<u32>) -> Result<Exit, Failure> {
    let asked = context
        .ask_each(client, |admin| async move {
            let mine = admin.node_status().await?.shards;
            let wanted = mine
                .iter()
                .map(|s| s.shard)
                .filter(|n| shard.is_none_or(|only| only == *n));
            let mut done = Vec::new();
            for number in wanted {
                done.push((number, admin.compact_replica(number).await?));
            }
            Ok(done)
        })
        .await?;
    let mut failed = None;
    let mut rows = Vec::new();
    for (address, answer) in asked {
        match answer {
            Ok(done) => rows.extend(
                done.into_iter()
                    .map(|(number, c)| (address.to_string(), number, c)),
            ),
            Err(error) => {
                talk(format_args!("{address}: {error}"));
                failed = Some(Failure::from(error));
            }
        }
    }
    let json: Vec<Value> = rows
        .iter()
        .map(|(address, number, c)| {
            json!({
                "node": address,
                "shard": number,
                "checkpoint_index": c.checkpoint_index,
                "purged_index": c.purged_index,
            })
        })
        .collect();
    emit(context.format, &Value::Array(json), || {
        let rows = rows.iter().map(|(address, number, c)| {
            [
                address.clone(),
                number.to_string(),
                c.checkpoint_index.to_string(),
                c.purged_index.to_string(),
            ]
        });
        table(["NODE", "SHARD", "CHECKPOINT", "PURGED"], rows)
    })?;
    failed.map_or(Ok(Exit::Ok), Err)
}

#[cfg(test)]
mod tests {
    use spine_proto::admin::v1::ReplicaSummary;

    use super::*;

    fn shard(replicas: &[(bool, u64, &str)]) -> ShardSummary {
        let replicas = replicas
            .iter()
            .map(|(reachable, applied_index, digest)| ReplicaSummary {
                reachable: *reachable,
                applied_index: *applied_index,
                digest: (*digest).to_owned(),
                ..ReplicaSummary::default()
            });
        ShardSummary {
            replicas: replicas.collect(),
            ..ShardSummary::default()
        }
    }

    #[test]
    fn replicas_are_judged_in_one_word() {
        assert_eq!(
            state_of_replicas(&shard(&[(true, 5, "a"), (true, 5, "a")])),
            "even"
        );
        assert_eq!(
            state_of_replicas(&shard(&[(true, 5, "a"), (true, 4, "b")])),
            "behind"
        );
        assert_eq!(
            state_of_replicas(&shard(&[(true, 5, "a"), (true, 5, "b")])),
            "DIVERGED"
        );
        assert_eq!(
            state_of_replicas(&shard(&[(true, 5, "a"), (false, 0, "")])),
            "missing"
        );
        assert_eq!(state_of_replicas(&shard(&[])), "unknown");
    }
}
