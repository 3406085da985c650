//! The first shape of a cluster, as a pure function of the nodes and the wishes of the operator.

use std::collections::BTreeMap;

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

/// Places every shard's replicas round robin over the nodes, in node order; where nodes are in several zones, in as many of
/// them as there are.
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

    let replicas_of_each = usize::try_from(replicas).unwrap_or(0);
    let mut seats = Seats::new(&nodes);
    let mut next_replica = u64::from(FIRST_INCARNATION) << 48;
    let mut members_of = |shard: u32| -> Vec<Member> {
        let mut members: Vec<Member> = seats
            .take(shard, replicas_of_each)
            .into_iter()
            .map(|node_id| {
                next_replica += 1;
                Member {
                    replica_id: next_replica,
                    node_id,
                }
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

/// Nodes in their order, with what each carries so far.
struct Seats<'a> {
    nodes: Vec<(&'a PlanNode, usize)>,
    is_one_zone: bool,
}

impl<'a> Seats<'a> {
    fn new(nodes: &'a [PlanNode]) -> Self {
        let mut zones = nodes.iter().map(|node| &node.zone);
        let first = zones.next();
        Self {
            is_one_zone: zones.all(|zone| Some(zone) == first),
            nodes: nodes.iter().map(|node| (node, 0)).collect(),
        }
    }

    /// The nodes for one shard.
    fn take(&mut self, shard: u32, count: usize) -> Vec<u64> {
        let mut taken = Vec::with_capacity(count);
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        while taken.len() < count {
            let Some((node, load)) = self.best(shard, &taken, &zones) else {
                return taken;
            };
            let node = *node;
            *load += 1;
            taken.push(node.node_id);
            *zones.entry(&node.zone).or_default() += 1;
        }
        taken
    }

    /// The next node for a shard: of the zone that has the fewest of its replicas, the one that carries the least. Where all
    /// are equal, and in one zone always, the next in turn.
    fn best(
        &mut self,
        shard: u32,
        taken: &[u64],
        zones: &BTreeMap<&str, usize>,
    ) -> Option<&mut (&'a PlanNode, usize)> {
        let (count, is_one_zone) = (self.nodes.len(), self.is_one_zone);
        let begin = usize::try_from(shard).unwrap_or(0).checked_rem(count)?;
        let free = self
            .nodes
            .iter_mut()
            .enumerate()
            .filter(|(_, (node, _))| !taken.contains(&node.node_id));
        let best = free.min_by_key(|(at, (node, load))| {
            let there = zones.get(node.zone.as_str()).copied().unwrap_or(0);
            let turn = (at + count - begin) % count;
            (there, if is_one_zone { 0 } else { *load }, turn)
        });
        best.map(|(_, seat)| seat)
    }
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

    /// One node for each name, in the zone of its first letter.
    fn zoned(names: &[&str]) -> ClusterPlan {
        let nodes = names.iter().map(|name| PlanNode {
            peer_address: format!("{name}:1"),
            zone: name[..1].to_string(),
            ..PlanNode::default()
        });
        decide(nodes.collect(), 8, 3, Bytes::new(), Bytes::new()).expect("plan")
    }

    /// In how many zones each shard is.
    fn zones(plan: &ClusterPlan) -> Vec<usize> {
        let zone = |member: &Member| {
            let mut nodes = plan.nodes.iter();
            let node = nodes
                .find(|node| node.node_id == member.node_id)
                .expect("it is there");
            node.zone.clone()
        };
        let of = |shard: &PlanShard| shard.members.iter().map(zone).collect::<BTreeSet<_>>().len();
        plan.shards.iter().map(of).collect()
    }

    /// How many replicas each node has.
    fn loads(plan: &ClusterPlan) -> Vec<usize> {
        let load = |node: &PlanNode| {
            let members = plan.shards.iter().flat_map(|shard| &shard.members);
            members.filter(|member| member.node_id == node.node_id).count()
        };
        plan.nodes.iter().map(load).collect()
    }

    #[test]
    fn replicas_of_a_shard_begin_in_different_zones_and_nodes_carry_as_much_as_each_other() {
        // Sorted by address, neighbours share a zone.
        let plan = zoned(&["a1", "a2", "b1", "b2", "c1", "c2"]);
        assert_eq!(zones(&plan), [3; 9]);
        let loads = loads(&plan);
        assert!(loads.iter().all(|load| (4..=5).contains(load)), "{loads:?}");
    }

    #[test]
    fn few_and_uneven_zones_are_used_as_far_as_they_go() {
        let plan = zoned(&["a1", "a2", "a3", "a4", "b1"]);
        assert_eq!(zones(&plan), [2; 9]);
        let loads = loads(&plan);
        assert_eq!(loads[4], 9, "b1 has one of each");
        assert!(loads[..4].iter().all(|load| (4..=5).contains(load)), "{loads:?}");
        for shard in &plan.shards {
            let homes: BTreeSet<u64> = shard.members.iter().map(|member| member.node_id).collect();
            assert_eq!(homes.len(), 3);
        }
        assert_eq!(zones(&zoned(&["a1", "b1", "c1", "d1", "d2"])), [3; 9]);
    }

    #[test]
    fn in_one_zone_replicas_go_round_the_nodes() {
        let plan = zoned(&["a1", "a2", "a3", "a4", "a5"]);
        let homes = plan.shards.iter().map(|shard| {
            let homes = shard.members.iter().map(|member| member.node_id);
            homes.collect::<Vec<_>>()
        });
        let round: Vec<_> = homes.take(4).collect();
        assert_eq!(round, [[1, 2, 3], [2, 3, 4], [3, 4, 5], [1, 4, 5]]);
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
