//! The first shape of a cluster, as a pure function of the nodes and the wishes of the operator.

use bytes::Bytes;
use spine_proto::storage::v1::{ClusterPlan, Member, PlanNode, PlanShard};

use crate::shard::map::slot_ranges;

/// Shards where the operator names no number.
pub const SHARDS_DEFAULT: u32 = 8;
/// More shards than this one plan may not have.
pub const SHARDS_MAX: u32 = 4_096;
/// First incarnation of a cluster; each restore raises it.
pub const FIRST_INCARNATION: u32 = 1;
/// Stored format of the plan.
pub const PLAN_FORMAT: u32 = 1;

/// What an operator asked for and cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// No nodes at all, or the same one twice.
    #[error("nodes must be named once each, and at least one of them")]
    Nodes,
    /// Out of range.
    #[error("shards must be 1 to {SHARDS_MAX}")]
    Shards,
    /// Not an odd number that the nodes can carry.
    #[error("replicas must be 1, 3 or 5, and no more than the nodes")]
    Replicas,
}

/// Places every shard's replicas round robin over the nodes, in node order.
///
/// # Errors
/// [`PlanError`]
pub fn decide(
    mut nodes: Vec<PlanNode>,
    shards: u32,
    replicas: u32,
    cluster_id: Bytes,
    subject_key: Bytes,
) -> Result<ClusterPlan, PlanError> {
    nodes.sort_by(|a, b| a.peer_address.cmp(&b.peer_address));
    if nodes.is_empty()
        || nodes
            .windows(2)
            .any(|pair| pair[0].peer_address == pair[1].peer_address)
    {
        return Err(PlanError::Nodes);
    }
    for (node_id, node) in (1..).zip(&mut nodes) {
        node.node_id = node_id;
    }
    let shards = if shards == 0 { SHARDS_DEFAULT } else { shards };
    if shards > SHARDS_MAX {
        return Err(PlanError::Shards);
    }
    let most = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let replicas = if replicas == 0 {
        if most < 3 { 1 } else { 3 }
    } else {
        replicas
    };
    if !matches!(replicas, 1 | 3 | 5) || replicas > most {
        return Err(PlanError::Replicas);
    }

    let mut next_replica = u64::from(FIRST_INCARNATION) << 48;
    let mut members_of = |shard: u32| -> Vec<Member> {
        let mut members: Vec<Member> = (0..replicas)
            .filter_map(|i| {
                let at = usize::try_from((shard + i) % most).ok()?;
                next_replica += 1;
                Some(Member {
                    replica_id: next_replica,
                    node_id: nodes.get(at)?.node_id,
                })
            })
            .collect();
        members.sort_by_key(|member| member.node_id);
        members
    };
    let mut all = vec![PlanShard {
        shard: 0,
        slot_first: 0,
        slot_last: 0,
        members: members_of(0),
        change: None,
    }];
    for (shard, (slot_first, slot_last)) in (1..).zip(slot_ranges(shards)) {
        all.push(PlanShard {
            shard,
            slot_first,
            slot_last,
            members: members_of(shard),
            change: None,
        });
    }
    Ok(ClusterPlan {
        format: PLAN_FORMAT,
        cluster_id,
        incarnation: FIRST_INCARNATION,
        nodes,
        shards: all,
        subject_key,
        replicas,
        ..ClusterPlan::default()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nodes(count: usize) -> Vec<PlanNode> {
        (0..count)
            .map(|i| PlanNode {
                peer_address: format!("n{i}:1"),
                ..PlanNode::default()
            })
            .collect()
    }

    #[test]
    fn replicas_of_a_shard_live_on_different_nodes_and_ids_are_fresh() {
        let plan = decide(nodes(5), 8, 3, Bytes::new(), Bytes::new()).expect("plan");
        assert_eq!(plan.shards.len(), 9);
        let mut ids = BTreeSet::new();
        for shard in &plan.shards {
            let homes: BTreeSet<u64> = shard.members.iter().map(|m| m.node_id).collect();
            assert_eq!(homes.len(), 3);
            assert!(
                shard.members.iter().all(|m| ids.insert(m.replica_id)),
                "replica ids are never reused"
            );
        }
    }

    #[test]
    fn one_node_gets_one_replica() {
        let plan = decide(nodes(1), 0, 0, Bytes::new(), Bytes::new()).expect("plan");
        assert!(plan.shards.iter().all(|shard| shard.members.len() == 1));
        assert_eq!(plan.shards.len(), 9);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(
            decide(vec![], 8, 3, Bytes::new(), Bytes::new()).err(),
            Some(PlanError::Nodes)
        );
        let twice = vec![PlanNode::default(), PlanNode::default()];
        assert_eq!(
            decide(twice, 8, 1, Bytes::new(), Bytes::new()).err(),
            Some(PlanError::Nodes)
        );
        assert_eq!(
            decide(nodes(3), 5_000, 3, Bytes::new(), Bytes::new()).err(),
            Some(PlanError::Shards)
        );
        assert_eq!(
            decide(nodes(3), 8, 5, Bytes::new(), Bytes::new()).err(),
            Some(PlanError::Replicas)
        );
        assert_eq!(
            decide(nodes(3), 8, 2, Bytes::new(), Bytes::new()).err(),
            Some(PlanError::Replicas)
        );
    }
}
