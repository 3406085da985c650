//! The end of an upgrade: all shards follow the rules that the new release brought, and there is no way back.
//!
//! The meta group goes first, so that no shard is ever above it: once it is at a level, a program that does not know
//! the level is not to become part of the cluster, whatever has become of the other shards. Nothing is remembered but
//! what the shards' logs hold, so it may be ended anywhere and begun again.

use std::collections::BTreeMap;

use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse};
use tokio::time::{Instant, sleep};

use super::check::{Refusal, level_refusals};
use super::roll::{Fleet, Timings};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The level in force in every shard.
    pub level: u32,
    /// Shards that were below it until now, in the order in which they were raised.
    pub shards: Vec<u32>,
}

/// Why not every shard follows the rules of the new release.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    /// Nothing was done.
    #[error("no level was raised: {}", list(.0))]
    Refused(Vec<Refusal>),
    /// It stopped on its way; some shards may be at the new level. Begun again it goes on there.
    #[error("stopped: {0}")]
    Stopped(String),
}

fn list(refusals: &[Refusal]) -> String {
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    all.join("; ")
}

/// Raises the level of a cluster to the highest that its nodes know.
pub struct Finalize<'a, F> {
    /// The cluster.
    pub fleet: &'a mut F,
    /// How long a shard may take, and the whole in the end.
    pub timings: Timings,
    /// Told which shard is raised.
    pub tell: &'a mut dyn FnMut(u32),
}

impl<F: Fleet> Finalize<'_, F> {
    /// Goes on from where the shards are until all of them, and all their replicas, are at the new level.
    ///
    /// # Errors
    /// [`FinalizeError`]
    pub async fn run(&mut self) -> Result<Raised, FinalizeError> {
        let (cluster, nodes) = self.look().await.map_err(FinalizeError::Stopped)?;
        let level = wanted(&nodes);
        let mut raised = Vec::new();
        if !all_at(&cluster, level) {
            let why = level_refusals(&cluster, &nodes, level);
            if !why.is_empty() {
                return Err(FinalizeError::Refused(why));
            }
            let mut shards: Vec<u32> = cluster.shards.iter().map(|shard| shard.shard).collect();
            // 0 is the meta group.
            shards.sort_unstable();
            for shard in shards {
                if self.raise(shard, level).await? {
                    raised.push(shard);
                }
            }
        }
        self.wait_everywhere(level).await?;
        Ok(Raised {
            level,
            shards: raised,
        })
    }

    async fn look(&mut self) -> Result<Seen, String> {
        let cluster = self.fleet.cluster().await.map_err(|error| error.to_string())?;
        let mut nodes = BTreeMap::new();
        for node in &cluster.nodes {
            if let Ok(said) = self.fleet.node(&node.grpc_address).await {
                nodes.insert(node.node_id, said);
            }
        }
        Ok((cluster, nodes))
    }

    /// Whether the shard was below the level.
    async fn raise(&mut self, shard: u32, level: u32) -> Result<bool, FinalizeError> {
        let until = Instant::now() + self.timings.settle;
        let mut raised = false;
        loop {
            let seen = match self.fleet.cluster().await {
                Ok(cluster) if level_of(&cluster, shard) >= level => return Ok(raised),
                Ok(cluster) => match leader_of(&cluster, shard) {
                    Some(address) => {
                        (self.tell)(shard);
                        raised = true;
                        match self.fleet.raise_level(&address, shard, level).await {
                            Ok(now) if now >= level => return Ok(true),
                            Ok(now) => format!("its leader says that level {now} is in force"),
                            Err(error) => error.to_string(),
                        }
                    }
                    None => "it has no leader".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                return Err(FinalizeError::Stopped(format!("shard {shard}: {seen}")));
            }
            sleep(self.timings.poll).await;
        }
    }

    /// Until every replica has applied it and has a checkpoint there: from then on any of them may be restarted as a
    /// program that knows the old rules no more.
    async fn wait_everywhere(&mut self, level: u32) -> Result<(), FinalizeError> {
        let until = Instant::now() + self.timings.settle;
        loop {
            let seen = match self.fleet.cluster().await {
                Ok(cluster) => match behind(&cluster, level) {
                    None => return Ok(()),
                    Some((shard, node)) => {
                        format!(
                            "shard {shard}: the replica on node {node} has no checkpoint at level {level}"
                        )
                    }
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                return Err(FinalizeError::Stopped(seen));
            }
            sleep(self.timings.poll).await;
        }
    }
}

type Seen = (GetClusterStatusResponse, BTreeMap<u64, GetNodeStatusResponse>);

/// The highest level that a node knows. The lowest that can be raised to is 1: nodes that name none are refused by it.
fn wanted(nodes: &BTreeMap<u64, GetNodeStatusResponse>) -> u32 {
    nodes
        .values()
        .map(|said| said.level_max)
        .max()
        .unwrap_or(0)
        .max(1)
}

fn all_at(cluster: &GetClusterStatusResponse, level: u32) -> bool {
    cluster.shards.iter().all(|shard| shard.level >= level)
}

fn level_of(cluster: &GetClusterStatusResponse, shard: u32) -> u32 {
    let found = cluster.shards.iter().find(|found| found.shard == shard);
    found.map_or(0, |shard| shard.level)
}

fn leader_of(cluster: &GetClusterStatusResponse, shard: u32) -> Option<String> {
    let shard = cluster.shards.iter().find(|found| found.shard == shard)?;
    let mut nodes = cluster.nodes.iter();
    let leader = nodes.find(|node| node.node_id == shard.leader_node_id)?;
    Some(leader.grpc_address.clone())
}

/// A replica whose restart would go back to the old rules.
fn behind(cluster: &GetClusterStatusResponse, level: u32) -> Option<(u32, u64)> {
    cluster.shards.iter().find_map(|shard| {
        let behind = shard
            .replicas
            .iter()
            .find(|replica| replica.checkpoint_level < level)?;
        Some((shard.shard, behind.node_id))
    })
}
