//! What keeps a node from being restarted now. Pure: from what the cluster and its nodes say to a list of reasons.

use std::collections::BTreeMap;

use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse, Health, ShardSummary};

use super::program::Program;

/// A replica may be this many entries behind the furthest of its shard: it has them within a moment.
pub const LAG_ENTRIES_MAX: u64 = 1_000;
/// A node that restarts needs this much of its disk.
pub const DISK_FREE_BYTES_MIN: u64 = 1 << 30;

/// Why no node is to be restarted now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A node does not answer.
    #[error("node {node} does not answer")]
    NodeDown {
        /// Which one.
        node: u64,
    },
    /// What the cluster says is wrong with it.
    #[error("{0}")]
    NotHealthy(String),
    /// Without the node that is restarted nobody could serve it.
    #[error("shard {shard} has {voters} replicas: it could not do without one")]
    TooFewReplicas {
        /// Which one.
        shard: u32,
        /// How many.
        voters: usize,
    },
    /// A replica is not up.
    #[error("shard {shard}: the replica on node {node} is not up")]
    ReplicaDown {
        /// Of which shard.
        shard: u32,
        /// Where.
        node: u64,
    },
    /// A replica is behind.
    #[error("shard {shard}: node {node} is {entries} entries behind")]
    Behind {
        /// Of which shard.
        shard: u32,
        /// Where.
        node: u64,
        /// How far.
        entries: u64,
    },
    /// Two replicas at the same index differ.
    #[error("shard {shard}: nodes {one} and {other} differ at index {index}")]
    Unequal {
        /// Which one.
        shard: u32,
        /// Where.
        one: u64,
        /// Where else.
        other: u64,
        /// Both have applied so much.
        index: u64,
    },
    /// Too little room on a disk.
    #[error("node {node} has {free} bytes of disk free, less than {DISK_FREE_BYTES_MIN}")]
    DiskShort {
        /// Whose.
        node: u64,
        /// What is left.
        free: u64,
    },
    /// Old and new would not understand each other.
    #[error("the new program speaks wire {min} to {max}, node {node} speaks {node_min} to {node_max}")]
    Wire {
        /// Which node.
        node: u64,
        /// Of the program.
        min: u32,
        /// Of the program.
        max: u32,
        /// Of the node.
        node_min: u32,
        /// Of the node.
        node_max: u32,
    },
    /// The new program does not know what stands on a node's disk.
    #[error("the new program writes stored format {program}, node {node} has {stored} already")]
    Format {
        /// Which node.
        node: u64,
        /// Of the program.
        program: u32,
        /// On its disk.
        stored: u32,
    },
}

/// Everything that keeps a node from being restarted now; on `program`, if one is given.
#[must_use]
pub fn refusals(
    cluster: &GetClusterStatusResponse,
    nodes: &BTreeMap<u64, GetNodeStatusResponse>,
    program: Option<&Program>,
) -> Vec<Refusal> {
    let mut found = Vec::new();
    for node in &cluster.nodes {
        match nodes.get(&node.node_id) {
            Some(said) => found.extend(of_node(node.node_id, said, program)),
            None => found.push(Refusal::NodeDown { node: node.node_id }),
        }
    }
    if cluster.health() != Health::Healthy {
        found.extend(cluster.reasons.iter().cloned().map(Refusal::NotHealthy));
        if cluster.reasons.is_empty() {
            found.push(Refusal::NotHealthy("the cluster is not healthy".to_owned()));
        }
    }
    found.extend(cluster.shards.iter().flat_map(of_shard));
    found
}

fn of_node(node: u64, said: &GetNodeStatusResponse, program: Option<&Program>) -> Vec<Refusal> {
    let mut found = Vec::new();
    if said.disk_free_bytes < DISK_FREE_BYTES_MIN {
        let free = said.disk_free_bytes;
        found.push(Refusal::DiskShort { node, free });
    }
    let Some(program) = program else { return found };
    if program.wire_min > said.wire_max || program.wire_max < said.wire_min {
        found.push(Refusal::Wire {
            node,
            min: program.wire_min,
            max: program.wire_max,
            node_min: said.wire_min,
            node_max: said.wire_max,
        });
    }
    if program.stored_format < said.stored_format {
        found.push(Refusal::Format {
            node,
            program: program.stored_format,
            stored: said.stored_format,
        });
    }
    found
}

fn of_shard(shard: &ShardSummary) -> Vec<Refusal> {
    let (number, replicas) = (shard.shard, &shard.replicas);
    let mut found = Vec::new();
    if replicas.len() < 3 {
        found.push(Refusal::TooFewReplicas {
            shard: number,
            voters: replicas.len(),
        });
    }
    let furthest = replicas.iter().map(|r| r.applied_index).max().unwrap_or(0);
    for (at, replica) in replicas.iter().enumerate() {
        let node = replica.node_id;
        let entries = furthest - replica.applied_index;
        if !replica.reachable || !matches!(replica.state.as_str(), "leading" | "following") {
            found.push(Refusal::ReplicaDown { shard: number, node });
        } else if entries > LAG_ENTRIES_MAX {
            found.push(Refusal::Behind {
                shard: number,
                node,
                entries,
            });
        }
        let differs = |other: &&spine_proto::admin::v1::ReplicaSummary| {
            other.applied_index == replica.applied_index && other.digest != replica.digest
        };
        if let Some(other) = replicas[..at].iter().find(differs) {
            found.push(Refusal::Unequal {
                shard: number,
                one: other.node_id,
                other: node,
                index: replica.applied_index,
            });
        }
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use spine_proto::admin::v1::{NodeSummary, ReplicaSummary};

    use super::*;

    /// Three nodes and one shard; nothing is wrong.
    pub(crate) fn sound() -> (GetClusterStatusResponse, BTreeMap<u64, GetNodeStatusResponse>) {
        let replica = |node_id| ReplicaSummary {
            node_id,
            reachable: true,
            applied_index: 5_000,
            digest: "d".into(),
            state: if node_id == 1 { "leading" } else { "following" }.into(),
            ..Default::default()
        };
        let cluster = GetClusterStatusResponse {
            cluster_id: "c".into(),
            health: Health::Healthy.into(),
            nodes: (1..=3)
                .map(|node_id| NodeSummary {
                    node_id,
                    grpc_address: format!("n{node_id}:1"),
                    reachable: true,
                    ..Default::default()
                })
                .collect(),
            shards: vec![ShardSummary {
                shard: 1,
                leader_node_id: 1,
                replicas: (1..=3).map(replica).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let said = |node_id| GetNodeStatusResponse {
            node_id,
            disk_free_bytes: DISK_FREE_BYTES_MIN,
            stored_format: 1,
            wire_min: 1,
            wire_max: 1,
            ..Default::default()
        };
        (cluster, (1..=3).map(|node| (node, said(node))).collect())
    }

    fn program() -> Program {
        Program {
            path: PathBuf::from("/new"),
            release: "2".into(),
            commit: "c".into(),
            stored_format: 1,
            wire_min: 1,
            wire_max: 2,
        }
    }

    #[test]
    fn nothing_keeps_a_sound_cluster_from_it() {
        let (cluster, nodes) = sound();
        assert_eq!(refusals(&cluster, &nodes, Some(&program())), []);
    }

    #[test]
    fn each_fault_is_named() {
        let (cluster, nodes) = sound();
        let with = |change: &dyn Fn(&mut GetClusterStatusResponse)| {
            let mut cluster = cluster.clone();
            change(&mut cluster);
            refusals(&cluster, &nodes, None)
        };
        let down = Refusal::ReplicaDown { shard: 1, node: 2 };
        assert_eq!(
            with(&|c| c.shards[0].replicas[1].reachable = false),
            std::slice::from_ref(&down)
        );
        assert_eq!(
            with(&|c| c.shards[0].replicas[1].state = "repairing".into()),
            [down]
        );
        let (shard, node) = (1, 3);
        assert_eq!(
            with(&|c| c.shards[0].replicas[2].applied_index = 3_999),
            [Refusal::Behind {
                shard,
                node,
                entries: 1_001
            }]
        );
        assert_eq!(
            with(&|c| c.shards[0].replicas[2].digest = "other".into()),
            [Refusal::Unequal {
                shard,
                one: 1,
                other: 3,
                index: 5_000
            }]
        );
        assert_eq!(
            with(&|c| drop(c.shards[0].replicas.pop())),
            [Refusal::TooFewReplicas { shard, voters: 2 }]
        );
        let degraded = with(&|c| {
            c.health = Health::Degraded.into();
            c.reasons = vec!["why".into()];
        });
        assert_eq!(degraded, [Refusal::NotHealthy("why".into())]);
        assert_eq!(with(&|c| c.health = Health::NotServing.into()).len(), 1);
    }

    #[test]
    fn replicas_at_different_indexes_may_differ() {
        let (mut cluster, nodes) = sound();
        let replica = &mut cluster.shards[0].replicas[1];
        replica.applied_index -= 1;
        replica.digest = "of that moment".into();
        assert_eq!(refusals(&cluster, &nodes, None), []);
    }

    #[test]
    fn a_node_is_asked_itself() {
        let (cluster, mut nodes) = sound();
        nodes.remove(&2);
        assert_eq!(refusals(&cluster, &nodes, None), [Refusal::NodeDown { node: 2 }]);
        let (cluster, mut nodes) = sound();
        if let Some(said) = nodes.get_mut(&3) {
            said.disk_free_bytes = 7;
            said.stored_format = 2;
            said.wire_min = 3;
            said.wire_max = 4;
        }
        let found = refusals(&cluster, &nodes, Some(&program()));
        let wire = Refusal::Wire {
            node: 3,
            min: 1,
            max: 2,
            node_min: 3,
            node_max: 4,
        };
        let format = Refusal::Format {
            node: 3,
            program: 1,
            stored: 2,
        };
        assert_eq!(found, [Refusal::DiskShort { node: 3, free: 7 }, wire, format]);
    }
}
