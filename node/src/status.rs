//! What this node and the cluster look like. Counts, indexes, terms and digests; never content.

use std::collections::BTreeMap;

use spine_proto::admin::v1 as pb;
use spine_proto::storage::v1::{ClusterPlan, NodeState};

use crate::cluster::ask::shown;
use crate::cluster::change::replica_on;
use crate::events::Event;
use crate::shard::host::{Absent, Shard};
use crate::shard::map::META_SHARD;

/// Replicas whose applied index is this far behind keep a cluster from being healthy.
const LAG_ENTRIES_MAX: u64 = 10_000;

/// Why a hosted replica serves nothing, if so: what halted it, or else how its group ended.
#[must_use]
pub fn why_stopped(shard: &Shard) -> Option<String> {
    let halted = shard.group.store().status().halted;
    halted.or_else(|| shard.group.status().stopped)
}

/// One hosted replica.
#[must_use]
pub fn shard_summary(shard: &Shard, node_id: u64, slots: (u32, u32)) -> pb::ShardSummary {
    let group = &shard.group;
    let status = group.status();
    let store = group.store().status();
    pb::ShardSummary {
        shard: group.identity().shard,
        slot_first: slots.0,
        slot_last: slots.1,
        leader_node_id: if status.leading {
            node_id
        } else {
            status.leader.map_or(0, |(_, node)| node)
        },
        term: status.term,
        replicas: vec![pb::ReplicaSummary {
            node_id,
            replica_id: group.identity().replica_id,
            reachable: true,
            applied_index: store.applied.map_or(0, |id| id.index),
            last_log_index: status.last_log_index,
            purged_index: status.purged_index,
            checkpoint_index: store.checkpoint.map_or(0, |id| id.index),
            record_count: store.record_count,
            digest: store.digest.to_string(),
            state: match (why_stopped(shard), status.leading) {
                (Some(_), _) => "stopped".to_string(),
                (None, true) => "leading".to_string(),
                (None, false) => "following".to_string(),
            },
            watch_floor: store.feed_floor,
            level: store.level,
            checkpoint_level: store.checkpoint_level,
        }],
        level: store.level,
    }
}

/// Events of all nodes shown with a cluster's status.
const CLUSTER_EVENTS_MAX: usize = 64;

/// One event of a node.
#[must_use]
pub fn node_event(node_id: u64, event: &Event) -> pb::NodeEvent {
    pb::NodeEvent {
        at_ms: event.at_ms,
        kind: event.kind.as_str().to_string(),
        reason: event.reason.to_string(),
        has_shard: event.shard.is_some(),
        shard: event.shard.unwrap_or(0),
        node_id,
    }
}

/// The last events of all nodes, by time.
fn last_events(heard: &BTreeMap<u64, pb::GetNodeStatusResponse>) -> Vec<pb::NodeEvent> {
    let mut events: Vec<pb::NodeEvent> = heard.values().flat_map(|node| &node.events).cloned().collect();
    events.sort_by_key(|event| (event.at_ms, event.node_id));
    let surplus = events.len().saturating_sub(CLUSTER_EVENTS_MAX);
    events.split_off(surplus)
}

/// A replica that does not run.
#[must_use]
pub fn absent_summary(shard: u32, node_id: u64, absent: &Absent) -> pb::ShardSummary {
    let state = if absent.repairing { "repairing" } else { "stopped" };
    pb::ShardSummary {
        shard,
        replicas: vec![pb::ReplicaSummary {
            node_id,
            replica_id: absent.replica_id,
            reachable: true,
            state: state.to_string(),
            ..pb::ReplicaSummary::default()
        }],
        ..pb::ShardSummary::default()
    }
}

/// Joins what every node says into one picture. `heard` holds an answer for each node that gave one.
#[must_use]
pub fn cluster_status(
    plan: &ClusterPlan,
    heard: &BTreeMap<u64, pb::GetNodeStatusResponse>,
) -> pb::GetClusterStatusResponse {
    let shards: Vec<pb::ShardSummary> = plan
        .shards
        .iter()
        .map(|planned| {
            let seen: Vec<&pb::ShardSummary> = heard
                .values()
                .flat_map(|node| &node.shards)
                .filter(|summary| summary.shard == planned.shard)
                .collect();
            let leader = seen
                .iter()
                .flat_map(|summary| summary.replicas.iter().map(|replica| (summary.term, replica)))
                .filter(|(_, replica)| replica.state == "leading")
                .max_by_key(|(term, _)| *term);
            let replicas = planned
                .members
                .iter()
                .map(|member| {
                    seen.iter()
                        .flat_map(|summary| &summary.replicas)
                        .find(|replica| replica.replica_id == member.replica_id)
                        .cloned()
                        .unwrap_or_else(|| pb::ReplicaSummary {
                            node_id: member.node_id,
                            replica_id: member.replica_id,
                            state: "unreachable".to_string(),
                            ..pb::ReplicaSummary::default()
                        })
                })
                .collect();
            pb::ShardSummary {
                shard: planned.shard,
                slot_first: planned.slot_first,
                slot_last: planned.slot_last,
                leader_node_id: leader.map_or(0, |(_, replica)| replica.node_id),
                term: seen.iter().map(|summary| summary.term).max().unwrap_or(0),
                level: seen.iter().map(|summary| summary.level).max().unwrap_or(0),
                replicas,
            }
        })
        .collect();
    let reasons = reasons(plan, heard, &shards);
    let health = if shards.iter().any(|shard| !serves(shard)) {
        pb::Health::NotServing
    } else if reasons.is_empty() {
        pb::Health::Healthy
    } else {
        pb::Health::Degraded
    };
    pb::GetClusterStatusResponse {
        cluster_id: hex(&plan.cluster_id),
        health: health.into(),
        reasons,
        nodes: nodes(plan, heard, &shards),
        level: level_of(&shards, META_SHARD),
        level_of_all: shards.iter().map(|shard| shard.level).min().unwrap_or(0),
        shards,
        plan_epoch: plan.epoch,
        events: last_events(heard),
    }
}

fn level_of(shards: &[pb::ShardSummary], number: u32) -> u32 {
    let shard = shards.iter().find(|shard| shard.shard == number);
    shard.map_or(0, |shard| shard.level)
}

/// A led shard with a majority of its replicas reachable.
fn serves(shard: &pb::ShardSummary) -> bool {
    let up = shard.replicas.iter().filter(|replica| is_up(replica)).count();
    shard.leader_node_id != 0 && up * 2 > shard.replicas.len()
}

fn is_up(replica: &pb::ReplicaSummary) -> bool {
    replica.reachable && matches!(replica.state.as_str(), "leading" | "following")
}

fn reasons(
    plan: &ClusterPlan,
    heard: &BTreeMap<u64, pb::GetNodeStatusResponse>,
    shards: &[pb::ShardSummary],
) -> Vec<String> {
    let mut reasons: Vec<String> = plan
        .nodes
        .iter()
        .filter(|node| node.state() != NodeState::Removed && !heard.contains_key(&node.node_id))
        .map(|node| format!("node {} at {} does not answer", node.node_id, node.peer_address))
        .collect();
    for (node_id, node) in heard {
        reasons.extend(
            node.reasons
                .iter()
                .map(|reason| format!("node {node_id}: {reason}")),
        );
    }
    for shard in shards {
        let name = if shard.shard == META_SHARD {
            "meta group".to_string()
        } else {
            format!("shard {}", shard.shard)
        };
        if shard.leader_node_id == 0 {
            reasons.push(format!("{name} has no leader"));
        }
        let newest = shard
            .replicas
            .iter()
            .map(|replica| replica.applied_index)
            .max()
            .unwrap_or(0);
        for replica in shard
            .replicas
            .iter()
            .filter(|replica| heard.contains_key(&replica.node_id))
        {
            if !is_up(replica) {
                reasons.push(format!(
                    "{name}: replica on node {} is {}",
                    replica.node_id, replica.state
                ));
            } else if newest > replica.applied_index.saturating_add(LAG_ENTRIES_MAX) {
                let behind = newest - replica.applied_index;
                reasons.push(format!(
                    "{name}: replica on node {} is {behind} entries behind",
                    replica.node_id
                ));
            }
        }
    }
    reasons
}

fn nodes(
    plan: &ClusterPlan,
    heard: &BTreeMap<u64, pb::GetNodeStatusResponse>,
    shards: &[pb::ShardSummary],
) -> Vec<pb::NodeSummary> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    plan.nodes
        .iter()
        .filter(|node| node.state() != NodeState::Removed)
        .map(|node| {
            let status = heard.get(&node.node_id);
            pb::NodeSummary {
                node_id: node.node_id,
                peer_address: node.peer_address.clone(),
                grpc_address: status.map_or_else(|| node.grpc_address.clone(), |s| s.grpc_address.clone()),
                admin_address: status.map_or_else(|| node.admin_address.clone(), |s| s.admin_address.clone()),
                reachable: status.is_some(),
                release: status.map(|s| s.release.clone()).unwrap_or_default(),
                replicas: count(
                    plan.shards
                        .iter()
                        .filter(|s| replica_on(s, node.node_id).is_some())
                        .count(),
                ),
                leaders: count(
                    shards
                        .iter()
                        .filter(|shard| shard.leader_node_id == node.node_id)
                        .count(),
                ),
                state: shown(node.state()).into(),
                zone: node.zone.clone(),
            }
        })
        .collect()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use spine_proto::storage::v1::PlanNode;

    use super::*;
    use crate::cluster::plan::decide;

    fn plan() -> ClusterPlan {
        let nodes = (1..=3)
            .map(|i| PlanNode {
                peer_address: format!("n{i}"),
                ..PlanNode::default()
            })
            .collect();
        decide(nodes, 2, 3, bytes::Bytes::new(), bytes::Bytes::new()).expect("plan")
    }

    fn says(plan: &ClusterPlan, node_id: u64, leads: &[u32]) -> pb::GetNodeStatusResponse {
        let shards = plan
            .shards
            .iter()
            .map(|shard| {
                let member = shard
                    .members
                    .iter()
                    .find(|m| m.node_id == node_id)
                    .expect("hosts all");
                let state = if leads.contains(&shard.shard) {
                    "leading"
                } else {
                    "following"
                };
                pb::ShardSummary {
                    shard: shard.shard,
                    term: 1,
                    replicas: vec![pb::ReplicaSummary {
                        node_id,
                        replica_id: member.replica_id,
                        reachable: true,
                        state: state.to_string(),
                        ..pb::ReplicaSummary::default()
                    }],
                    ..pb::ShardSummary::default()
                }
            })
            .collect();
        pb::GetNodeStatusResponse {
            node_id,
            shards,
            ..pb::GetNodeStatusResponse::default()
        }
    }

    #[test]
    fn all_nodes_up_is_healthy() {
        let plan = plan();
        let heard = BTreeMap::from([
            (1, says(&plan, 1, &[0, 1])),
            (2, says(&plan, 2, &[2])),
            (3, says(&plan, 3, &[])),
        ]);
        let status = cluster_status(&plan, &heard);
        assert!(status.health() == pb::Health::Healthy, "{:?}", status.reasons);
        assert_eq!(
            status.nodes.iter().map(|node| node.leaders).collect::<Vec<_>>(),
            [2, 1, 0]
        );
    }

    #[test]
    fn one_node_down_is_degraded_and_two_down_do_not_serve() {
        let plan = plan();
        let mut heard = BTreeMap::from([(1, says(&plan, 1, &[0, 1, 2])), (2, says(&plan, 2, &[]))]);
        assert!(cluster_status(&plan, &heard).health() == pb::Health::Degraded);
        heard.remove(&2);
        let status = cluster_status(&plan, &heard);
        assert!(status.health() == pb::Health::NotServing);
        assert!(
            status.reasons.iter().any(|reason| reason.contains("node 2")),
            "{:?}",
            status.reasons
        );
    }

    #[test]
    fn a_shard_without_a_leader_does_not_serve() {
        let plan = plan();
        let heard = BTreeMap::from([
            (1, says(&plan, 1, &[0])),
            (2, says(&plan, 2, &[1])),
            (3, says(&plan, 3, &[])),
        ]);
        assert!(cluster_status(&plan, &heard).health() == pb::Health::NotServing);
    }
}
