//! Carries out what the planner says, on the node that leads the meta group: a few shards at a time, each replica by
//! learner, both configurations, the new one alone. Nothing is remembered here: what is under way stands in the plan,
//! so that the next leader of the meta group goes on with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::change_response::Outcome;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{ChangeRequest, Lane};
use spine_proto::storage::v1::{ClusterPlan, NodeState, PlanShard, ReplicaChange};
use tokio::time::timeout;

use super::change::{self, Changed};
use super::meta::{MetaError, ShardHosts};
use crate::beat::beat;
use crate::node::{Inner, Running};
use crate::shard::map::META_SHARD;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Shards that change at a time: each may stream a whole state to a node.
const CHANGES_MAX: usize = 2;
/// A node that is asked to take a step answers within this.
const STEP_DEADLINE: Duration = Duration::from_secs(3);
/// One round, whatever it waits for.
const ROUND_TIME: Duration = Duration::from_secs(10);

/// See the module.
pub struct Mover {
    node: Arc<Inner>,
    /// What each shard's change waits for, as it was told last.
    told: BTreeMap<u32, String>,
    /// The term of the meta group in which the rows were read.
    read_in: Option<u64>,
    /// The plan, and the nodes that were silent, when there was nothing to do.
    idle: Option<(u64, Vec<u64>)>,
}

impl Mover {
    /// A mover for this node.
    #[must_use]
    pub fn new(node: Arc<Inner>) -> Self {
        Self {
            node,
            told: BTreeMap::new(),
            read_in: None,
            idle: None,
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        loop {
            if let Some(term) = self.leads_meta() {
                match timeout(ROUND_TIME, self.round(term)).await {
                    Ok(Ok(())) | Ok(Err(MetaError::Elsewhere(_))) | Err(_) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "change the cluster"),
                }
            }
            beat(self.node.started, LOOK_EVERY).await;
        }
    }

    /// The term in which this node leads the meta group.
    fn leads_meta(&self) -> Option<u64> {
        let status = self.node.host.shard(META_SHARD)?.group.status();
        status.leading.then_some(status.term)
    }

    async fn round(&mut self, term: u64) -> Result<(), MetaError> {
        let (running, _) = self.node.leading_meta().await?;
        if self.read_in != Some(term) {
            // What an earlier leader committed may not have been followed here.
            self.commit(|_| Ok(None)).await?;
            self.read_in = Some(term);
        }
        let seen = (running.plan().epoch, self.silent_nodes(&running));
        if self.idle.as_ref() == Some(&seen) && !self.waits_for_time(&running) {
            return Ok(());
        }
        self.judge_nodes(&running).await?;
        self.begin_steps(&running).await?;
        let plan = running.plan();
        let under_way: Vec<(u32, ReplicaChange)> = plan
            .shards
            .iter()
            .filter_map(|shard| Some((shard.shard, shard.change?)))
            .collect();
        // Nothing comes of the same again.
        self.idle = (under_way.is_empty() && running.plan().epoch == seen.0).then_some(seen);
        let asked = under_way
            .iter()
            .map(|(shard, change)| self.advance(&plan, *shard, change));
        let found = join_all(asked).await;
        for ((shard, _), found) in under_way.into_iter().zip(found) {
            self.record(shard, found).await?;
        }
        Ok(())
    }

    async fn commit(&self, to: impl Fn(&ClusterPlan) -> Changed) -> Result<(), MetaError> {
        self.node.commit_plan(to).await.map(drop)
    }

    /// Gives up nodes that were silent for too long, takes back those that are heard again, and lets go of those that
    /// are to leave and have nothing any more.
    async fn judge_nodes(&self, running: &Running) -> Result<(), MetaError> {
        let plan = running.plan();
        for node in &plan.nodes {
            let is_empty = plan.shards.iter().all(|shard| !belongs(shard, node.node_id));
            let state = match (node.state(), self.silent_for(node.node_id)) {
                (NodeState::Serving, Some(silent)) if self.is_too_long(silent) => NodeState::Lost,
                (NodeState::Lost, None) => NodeState::Serving,
                (NodeState::Leaving, _) if is_empty => NodeState::Removed,
                _ => continue,
            };
            tracing::info!(node = node.node_id, state = state.as_str_name(), "judge a node");
            self.commit(|plan| change::set_state(plan, node.node_id, state))
                .await?;
        }
        Ok(())
    }

    fn is_too_long(&self, silent: Duration) -> bool {
        let limit = self.node.config.cluster.replace_after();
        limit.is_some_and(|limit| silent >= limit)
    }

    /// How long a node has not been heard; `None` where it is heard. Counted from this node's start at most.
    fn silent_for(&self, node_id: u64) -> Option<Duration> {
        if self
            .node
            .running()
            .is_some_and(|running| running.node_id == node_id)
        {
            return None;
        }
        let seen = self.node.peers.links().liveness().borrow().clone();
        let Some(peer) = seen.peers.get(&NodeId(node_id)) else {
            return Some(Duration::ZERO);
        };
        match (peer.silent_since, peer.evidence.is_some()) {
            (Some(since), _) => Some(since.elapsed()),
            // Its process has ended just now.
            (None, true) => Some(Duration::ZERO),
            (None, false) => None,
        }
    }

    fn silent_nodes(&self, running: &Running) -> Vec<u64> {
        let plan = running.plan();
        let nodes = plan.nodes.iter().map(|node| node.node_id);
        nodes.filter(|node| self.silent_for(*node).is_some()).collect()
    }

    /// Whether a silent node may be given up soon.
    fn waits_for_time(&self, running: &Running) -> bool {
        let plan = running.plan();
        let mut serving = plan
            .nodes
            .iter()
            .filter(|node| node.state() == NodeState::Serving);
        serving.any(|node| {
            self.silent_for(node.node_id)
                .is_some_and(|silent| self.is_too_long(silent))
        })
    }

    async fn begin_steps(&self, running: &Running) -> Result<(), MetaError> {
        let plan = running.plan();
        let changing = plan.shards.iter().filter(|shard| shard.change.is_some()).count();
        if changing >= CHANGES_MAX {
            return Ok(());
        }
        let silent = self.silent_nodes(running);
        let steps = change::steps(&plan, &silent, plan.balancing);
        if steps.is_empty() && changing == 0 && plan.balancing {
            return self.commit(|plan| Ok(change::set_balancing(plan, false))).await;
        }
        for step in steps.into_iter().take(CHANGES_MAX - changing) {
            tracing::info!(
                shard = step.shard,
                from = step.places.from,
                to = step.places.to,
                "begin to move a replica"
            );
            self.commit(|plan| Ok(change::begin(plan, step))).await?;
        }
        Ok(())
    }

    /// Asks for the next step of one change.
    async fn advance(&self, plan: &ClusterPlan, shard: u32, change: &ReplicaChange) -> Found {
        let joining = change.joining.unwrap_or_default();
        let is_given_up = change.lost
            || change::node(plan, joining.node_id).map_or(true, |node| node.state() == NodeState::Lost);
        let mut request = ChangeRequest {
            shard,
            change: Some(*change),
            ..ChangeRequest::default()
        };
        if is_given_up && !change.created {
            return Found::Abandoned;
        }
        if !change.created {
            request.is_created = true;
            return match self.ask(joining.node_id, request).await {
                Some(Outcome::Done(_)) => Found::Created,
                Some(Outcome::Waits(why)) => Found::Waits(why),
                Some(Outcome::LeaderNode(_)) | None => Found::Waits("the node does not answer".to_string()),
            };
        }
        request.abandon = is_given_up;
        match self.ask_leader(plan, request).await {
            Some(Outcome::Done(true)) if is_given_up => Found::Abandoned,
            Some(Outcome::Done(_)) => Found::Finished,
            Some(Outcome::Waits(why)) => Found::Waits(why),
            Some(Outcome::LeaderNode(_)) | None => Found::Waits("no leader is found".to_string()),
        }
    }

    /// Asks the shard's hosts in turn, and whom they name, until the one that leads has answered.
    async fn ask_leader(&self, plan: &ClusterPlan, request: ChangeRequest) -> Option<Outcome> {
        let hosts = ShardHosts::of(plan, request.shard);
        let here = self.node.host.shard(request.shard);
        let mut hint = here.and_then(|shard| shard.group.status().leader.map(|(_, node)| node));
        let mut last = None;
        for turn in 0..hosts.len() + 1 {
            let node = hint.take().or_else(|| hosts.in_turn(turn))?;
            last = self.ask(node, request).await;
            match last {
                Some(Outcome::LeaderNode(named)) => hint = (named != 0).then_some(named),
                Some(_) => return last,
                None => {}
            }
        }
        last
    }

    async fn ask(&self, node: u64, request: ChangeRequest) -> Option<Outcome> {
        if self.node.running()?.node_id == node {
            return timeout(STEP_DEADLINE, self.node.change_step(request))
                .await
                .ok()?
                .outcome;
        }
        if self.node.peers.is_gone(NodeId(node)) {
            return None;
        }
        let links = self.node.peers.links();
        let asked = links.call(NodeId(node), Lane::Log, Body::Change(request), STEP_DEADLINE);
        match asked.await {
            Ok(Body::Changed(answer)) => answer.outcome,
            Ok(_) | Err(_) => None,
        }
    }

    async fn record(&mut self, shard: u32, found: Found) -> Result<(), MetaError> {
        let what = match found {
            Found::Waits(why) => {
                if self.told.get(&shard) != Some(&why) {
                    tracing::info!(shard, why, "a replica moves");
                    self.told.insert(shard, why);
                }
                return Ok(());
            }
            Found::Created => change::created,
            Found::Finished => change::finish,
            Found::Abandoned => change::abandon,
        };
        self.told.remove(&shard);
        tracing::info!(shard, step = found.as_str(), "a replica moves");
        self.commit(|plan| Ok(what(plan, shard))).await
    }
}

/// Whether a shard has, or is to get, a replica on a node.
fn belongs(shard: &PlanShard, node_id: u64) -> bool {
    let joining = shard.change.as_ref().and_then(|change| change.joining);
    let mut all = shard.members.iter().chain(&joining);
    all.any(|member| member.node_id == node_id)
}

/// How far a change has come.
enum Found {
    Waits(String),
    Created,
    Finished,
    Abandoned,
}

impl Found {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Waits(_) => "waits",
            Self::Created => "created",
            Self::Finished => "finished",
            Self::Abandoned => "abandoned",
        }
    }
}
