//! The cluster level as this node sees it, and raising it where this node leads.

use std::collections::BTreeMap;

use spine_proto::admin::v1 as pb;
use spine_proto::storage::v1::NodeState;
use spine_services::{ErrorKind, SpineError};
use spine_statemachine::{Applied, txn};

use crate::dispatch::failure::not_initialised;
use crate::node::Inner;
use crate::shard::map::META_SHARD;
use crate::status::hex;

impl Inner {
    /// The highest level that a replica here has applied.
    #[must_use]
    pub fn level_in_force(&self) -> u32 {
        let replicas = self.host.all();
        let levels = replicas.iter().map(|shard| shard.group.store().status().level);
        levels.max().unwrap_or(0)
    }

    /// What is wrong where the peers follow rules that this program does not have.
    pub(crate) fn level_unknown(&self) -> Option<String> {
        let heard = self.peers.links().level_heard();
        let known = self.parts.release.levels;
        (heard > known.max).then(|| {
            format!(
                "the cluster is at level {heard} and this program knows {known}; install a release that does"
            )
        })
    }

    /// Lets a shard that this node leads follow the rules of this level from the next entry on. The same level again
    /// is harmless.
    ///
    /// The meta group goes first, so that no shard is ever above it: whoever asks the meta group whether a program may
    /// be part of the cluster learns of the level before any shard rests on it.
    ///
    /// # Errors
    /// `NOT_LEADER`; `LEVEL_NOT_POSSIBLE` where this program or another node does not know the level, nodes run
    /// different programs or do not answer, or the meta group is below it; `REPLICA_STOPPED`.
    pub async fn raise_level(&self, shard: u32, level: u32) -> Result<pb::RaiseLevelResponse, SpineError> {
        let running = self.running().ok_or_else(not_initialised)?;
        let here = self.shard_here(shard)?;
        let led = here.group.status().leading;
        if !led {
            return Err(SpineError::new(
                ErrorKind::NotLeader,
                "NOT_LEADER",
                "this node does not lead the shard",
            ));
        }
        let now = here.group.store().status().level;
        if now >= level {
            return Ok(pb::RaiseLevelResponse {
                level: now,
                already: true,
            });
        }
        let heard = self.ask_all(&running).await;
        let plan = running.plan();
        let stays = plan
            .nodes
            .iter()
            .filter(|node| node.state() != NodeState::Removed);
        let nodes: Vec<u64> = stays.map(|node| node.node_id).collect();
        if let Some(why) = why_not(&nodes, &heard, shard, level) {
            return Err(not_possible(why));
        }
        let stopped = |why: String| SpineError::new(ErrorKind::Unavailable, "REPLICA_STOPPED", why);
        let proposed = here.group.propose(txn::level(level)).await;
        let proposed = proposed.map_err(|error| stopped(error.to_string()))?;
        let Applied::Level(level) = proposed.applied else {
            return Err(stopped("the entry was applied as another one".to_owned()));
        };
        tracing::info!(shard, level, cluster = hex(&plan.cluster_id), "level raised");
        Ok(pb::RaiseLevelResponse {
            level,
            already: false,
        })
    }
}

fn not_possible(why: String) -> SpineError {
    SpineError::new(ErrorKind::Unavailable, "LEVEL_NOT_POSSIBLE", why)
}

/// What keeps a shard from this level, by what all nodes say. Asked here too, not only by the tool: after the entry
/// there is no way back.
fn why_not(
    nodes: &[u64],
    heard: &BTreeMap<u64, pb::GetNodeStatusResponse>,
    shard: u32,
    level: u32,
) -> Option<String> {
    let mut program = None;
    for node in nodes {
        let Some(said) = heard.get(node) else {
            return Some(format!("node {node} does not answer"));
        };
        if !(said.level_min..=said.level_max).contains(&level) {
            return Some(format!(
                "node {node} runs release {}, which knows levels {} to {}, not {level}",
                said.release, said.level_min, said.level_max
            ));
        }
        let runs = (&said.release, &said.commit);
        let (first, as_first) = *program.get_or_insert((node, runs));
        if as_first != runs {
            return Some(format!(
                "nodes {first} and {node} run different programs: release {} of commit {} and release {} of commit {}",
                as_first.0, as_first.1, runs.0, runs.1
            ));
        }
    }
    let replicas = heard.values().flat_map(|node| &node.shards);
    let meta = replicas.filter(|replica| replica.shard == META_SHARD);
    let meta = meta.map(|replica| replica.level).max().unwrap_or(0);
    (shard != META_SHARD && meta < level)
        .then(|| format!("the meta group is at level {meta}: it goes first, so that no shard is above it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(node_id: u64, meta_level: u32) -> (u64, pb::GetNodeStatusResponse) {
        let shards = vec![pb::ShardSummary {
            level: meta_level,
            ..Default::default()
        }];
        let status = pb::GetNodeStatusResponse {
            node_id,
            release: "2".into(),
            commit: "c".into(),
            level_max: 2,
            shards,
            ..Default::default()
        };
        (node_id, status)
    }

    #[test]
    fn each_thing_that_keeps_a_shard_from_a_level_is_named() {
        let sound: BTreeMap<_, _> = [said(1, 2), said(2, 0), said(3, 2)].into();
        let nodes = [1, 2, 3];
        for shard in [META_SHARD, 1] {
            assert_eq!(why_not(&nodes, &sound, shard, 2), None);
        }
        type Change = fn(&mut BTreeMap<u64, pb::GetNodeStatusResponse>);
        let table: [(&str, u32, Change); 5] = [
            ("node 2 does not answer", 0, |heard| drop(heard.remove(&2))),
            (
                "node 3 runs release 2, which knows levels 0 to 1, not 2",
                0,
                |heard| {
                    heard.entry(3).and_modify(|said| said.level_max = 1);
                },
            ),
            (
                "node 1 runs release 2, which knows levels 3 to 4, not 2",
                0,
                |heard| {
                    heard
                        .entry(1)
                        .and_modify(|said| (said.level_min, said.level_max) = (3, 4));
                },
            ),
            (
                "nodes 1 and 3 run different programs: release 2 of commit c and release 2 of commit d",
                0,
                |heard| {
                    heard.entry(3).and_modify(|said| said.commit = "d".into());
                },
            ),
            (
                "the meta group is at level 0: it goes first, so that no shard is above it",
                1,
                |heard| heard.values_mut().for_each(|said| said.shards[0].level = 0),
            ),
        ];
        for (expected, shard, change) in table {
            let mut heard = sound.clone();
            change(&mut heard);
            assert_eq!(why_not(&nodes, &heard, shard, 2).as_deref(), Some(expected));
        }
    }
}
