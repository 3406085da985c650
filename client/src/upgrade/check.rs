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
    /// The program does not know the rules that shards follow.
    #[error("level {level} is in force and the program of release {release} knows levels {min} to {max}")]
    ProgramLevel {
        /// Followed by a shard.
        level: u32,
        /// Of the program.
        release: String,
        /// Of the program.
        min: u32,
        /// Of the program.
        max: u32,
    },
    /// A node's program does not know a level.
    #[error("node {node} runs release {release}, which knows levels {min} to {max}, not {level}")]
    NodeLevel {
        /// Which one.
        node: u64,
        /// What it runs.
        release: String,
        /// Of its program.
        min: u32,
        /// Of its program.
        max: u32,
        /// The level.
        level: u32,
    },
    /// Two nodes run different programs.
    #[error("nodes {one} and {other} run different programs: {of_one} and {of_other}")]
    Programs {
        /// A node.
        one: u64,
        /// Another one.
        other: u64,
        /// Release and commit.
        of_one: String,
        /// Release and commit.
        of_other: String,
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
    found.extend(program.and_then(|program| unknown_level(cluster, program)));
    found.extend(of_health(cluster));
    found.extend(cluster.shards.iter().filter_map(too_few));
    found.extend(cluster.shards.iter().flat_map(of_shard));
    found
}

/// Why nodes cannot run a program: a shard follows rules that it does not know.
#[must_use]
pub fn unknown_level(cluster: &GetClusterStatusResponse, program: &Program) -> Option<Refusal> {
    let known = program.level_min..=program.level_max;
    let mut levels = cluster.shards.iter().map(|shard| shard.level);
    let level = levels.find(|level| !known.contains(level))?;
    Some(Refusal::ProgramLevel {
        level,
        release: program.release.clone(),
        min: program.level_min,
        max: program.level_max,
    })
}

/// Everything that keeps the cluster from following the rules of `level` for good.
#[must_use]
pub fn level_refusals(
    cluster: &GetClusterStatusResponse,
    nodes: &BTreeMap<u64, GetNodeStatusResponse>,
    level: u32,
) -> Vec<Refusal> {
    let mut found = Vec::new();
    let mut first: Option<(u64, String)> = None;
    for node in cluster.nodes.iter().map(|node| node.node_id) {
        let Some(said) = nodes.get(&node) else {
            found.push(Refusal::NodeDown { node });
            continue;
        };
        if !(said.level_min..=said.level_max).contains(&level) {
            found.push(Refusal::NodeLevel {
                node,
                release: said.release.clone(),
                min: said.level_min,
                max: said.level_max,
                level,
            });
        }
        let runs = format!("release {} of commit {}", said.release, said.commit);
        match &first {
            Some((one, of_one)) if *of_one != runs => found.push(Refusal::Programs {
                one: *one,
                other: node,
                of_one: of_one.clone(),
                of_other: runs,
            }),
            Some(_) => {}
            None => first = Some((node, runs)),
        }
    }
    found.extend(of_health(cluster));
    found.extend(cluster.shards.iter().flat_map(of_shard));
    found
}

/// Shards that have a majority of replicas that are up, and would have none without `node`: they are served now. Others
/// have nothing to lose.
#[must_use]
pub(super) fn cannot_lose(cluster: &GetClusterStatusResponse, node: u64) -> Vec<Refusal> {
    let needs = |shard: &&ShardSummary| {
        let down: Vec<u64> = of_replicas(shard).map(|(of, _)| of).collect();
        let up = shard
            .replicas
            .iter()
            .filter(|replica| !down.contains(&replica.node_id));
        let (mut all, mut others) = (0, 0);
        for replica in up {
            all += 1;
            others += usize::from(replica.node_id != node);
        }
        let majority = shard.replicas.len() / 2 + 1;
        all >= majority && others < majority
    };
    let shards = cluster.shards.iter().filter(needs);
    shards
        .map(|shard| Refusal::TooFewReplicas {
            shard: shard.shard,
            voters: shard.replicas.len(),
        })
        .collect()
}

/// What is wrong with a node and its replicas alone.
#[must_use]
pub(super) fn of_one(
    cluster: &GetClusterStatusResponse,
    nodes: &BTreeMap<u64, GetNodeStatusResponse>,
    node: u64,
) -> Vec<Refusal> {
    let down = (!nodes.contains_key(&node)).then_some(Refusal::NodeDown { node });
    let replicas = cluster.shards.iter().flat_map(of_replicas);
    let replicas = replicas.filter_map(|(of, refusal)| (of == node).then_some(refusal));
    down.into_iter().chain(replicas).collect()
}

/// Everything that keeps the cluster from doing without `node` for a while: what is wrong with all others.
#[must_use]
pub(super) fn cannot_spare(
    cluster: &GetClusterStatusResponse,
    nodes: &BTreeMap<u64, GetNodeStatusResponse>,
    node: u64,
) -> Vec<Refusal> {
    let others = cluster.nodes.iter().map(|other| other.node_id);
    let down = others.filter(|other| *other != node && !nodes.contains_key(other));
    let mut found: Vec<Refusal> = down.map(|node| Refusal::NodeDown { node }).collect();
    let replicas = cluster.shards.iter().flat_map(of_replicas);
    found.extend(replicas.filter_map(|(of, refusal)| (of != node).then_some(refusal)));
    found
}

fn of_health(cluster: &GetClusterStatusResponse) -> Vec<Refusal> {
    if cluster.health() == Health::Healthy {
        return Vec::new();
    }
    if cluster.reasons.is_empty() {
        return vec![Refusal::NotHealthy("the cluster is not healthy".to_owned())];
    }
    cluster.reasons.iter().cloned().map(Refusal::NotHealthy).collect()
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

fn too_few(shard: &ShardSummary) -> Option<Refusal> {
    let (shard, voters) = (shard.shard, shard.replicas.len());
    (voters < 3).then_some(Refusal::TooFewReplicas { shard, voters })
}

/// Replicas that are not up or not level, each with its node.
fn of_replicas(shard: &ShardSummary) -> impl Iterator<Item = (u64, Refusal)> {
    let (shard, replicas) = (shard.shard, &shard.replicas);
    let furthest = replicas.iter().map(|r| r.applied_index).max().unwrap_or(0);
    replicas.iter().filter_map(move |replica| {
        let node = replica.node_id;
        let entries = furthest - replica.applied_index;
        let is_up = replica.reachable && matches!(replica.state.as_str(), "leading" | "following");
        let refusal = match is_up {
            false => Refusal::ReplicaDown { shard, node },
            true if entries > LAG_ENTRIES_MAX => Refusal::Behind { shard, node, entries },
            true => return None,
        };
        Some((node, refusal))
    })
}

fn of_shard(shard: &ShardSummary) -> Vec<Refusal> {
    let (number, replicas) = (shard.shard, &shard.replicas);
    let mut found: Vec<Refusal> = of_replicas(shard).map(|(_, refusal)| refusal).collect();
    for (at, replica) in replicas.iter().enumerate() {
        let differs = |other: &&spine_proto::admin::v1::ReplicaSummary| {
            other.applied_index == replica.applied_index && other.digest != replica.digest
        };
        if let Some(other) = replicas[..at].iter().find(differs) {
            found.push(Refusal::Unequal {
                shard: number,
                one: other.node_id,
                other: replica.node_id,
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
            level_max: 2,
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
            level_min: 0,
            level_max: 2,
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
    fn a_program_that_does_not_know_a_level_in_force_is_refused() {
        let (mut cluster, nodes) = sound();
        cluster.shards[0].level = 3;
        let refusal = Refusal::ProgramLevel {
            level: 3,
            release: "2".into(),
            min: 0,
            max: 2,
        };
        assert_eq!(refusals(&cluster, &nodes, Some(&program())), [refusal]);
        assert_eq!(refusals(&cluster, &nodes, None), []);
    }

    #[test]
    fn what_keeps_a_level_from_being_raised_is_named() {
        let (cluster, mut nodes) = sound();
        assert_eq!(level_refusals(&cluster, &nodes, 2), []);
        let unknown = |node, max, level| Refusal::NodeLevel {
            node,
            release: String::new(),
            min: 0,
            max,
            level,
        };
        let found = level_refusals(&cluster, &nodes, 3);
        assert_eq!(found, [1, 2, 3].map(|node| unknown(node, 2, 3)));
        nodes.entry(2).and_modify(|said| said.level_max = 1);
        assert_eq!(level_refusals(&cluster, &nodes, 2), [unknown(2, 1, 2)]);
        let (mut cluster, mut nodes) = sound();
        nodes.entry(3).and_modify(|said| said.commit = "d".into());
        nodes.remove(&2);
        cluster.shards[0].replicas[1].reachable = false;
        let programs = Refusal::Programs {
            one: 1,
            other: 3,
            of_one: "release  of commit ".into(),
            of_other: "release  of commit d".into(),
        };
        let (down, shard) = (Refusal::NodeDown { node: 2 }, 1);
        let found = level_refusals(&cluster, &nodes, 2);
        assert_eq!(found, [down, programs, Refusal::ReplicaDown { shard, node: 2 }]);
        // One replica is enough: none is restarted.
        let (mut cluster, nodes) = sound();
        cluster.shards[0].replicas.truncate(1);
        assert_eq!(level_refusals(&cluster, &nodes, 2), []);
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
