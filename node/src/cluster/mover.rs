//! Carries out what the planner says, on the node that leads the meta group: a few shards at a time, each replica by
//! learner, both configurations, the new one alone. Nothing of that is remembered here: what is under way stands in the
//! plan, so that the next leader of the meta group goes on with it. How long nodes have been absent every node counts by
//! itself (`absence.rs`), so that the next leader need not begin with that either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::change_response::Outcome;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{ChangeRequest, Lane};
use spine_proto::storage::v1::{ClusterPlan, NodeState, ReplicaChange};
use tokio::time::{Instant, timeout};

use super::absence::Absences;
use super::change::{self, Changed};
use super::meta::{MetaError, ShardHosts};
use crate::beat::beat;
use crate::node::{Inner, Running};
use crate::shard::map::META_SHARD;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Shards that change at a time: each may stream a whole state to a node. Those that wait for a silent one do not count.
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
    absences: Absences,
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
            absences: Absences::default(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        loop {
            self.look();
            if let Some(term) = self.leads_meta() {
                match timeout(ROUND_TIME, self.round(term)).await {
                    Ok(Ok(())) | Ok(Err(MetaError::Elsewhere(_))) | Err(_) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "change the cluster"),
                }
            }
            beat(self.node.started, LOOK_EVERY).await;
        }
    }

    fn look(&mut self) {
        let seen = self.node.peers.links().liveness().borrow().clone();
        self.absences.look(&seen, Instant::now());
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
        let plan = running.plan();
        let limit = self.node.config.cluster.replace_after();
        let verdicts = self.absences.verdicts(&plan, limit);
        let seen = (plan.epoch, self.node.unheard(&plan));
        if self.idle.as_ref() == Some(&seen) && verdicts.is_empty() {
            return Ok(());
        }
        for (node_id, state) in verdicts {
            self.judge(node_id, state).await?;
        }
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
        for ((shard, change), found) in under_way.into_iter().zip(found) {
            let joining = change.joining.unwrap_or_default();
            self.record(shard, joining.replica_id, found).await?;
        }
        Ok(())
    }

    async fn commit(&self, to: impl Fn(&ClusterPlan) -> Changed) -> Result<(), MetaError> {
        self.node.commit_plan(to).await.map(drop)
    }

    /// Gives a node up that was absent for too long, takes one back, or lets go of one that has left.
    async fn judge(&self, node_id: u64, state: NodeState) -> Result<(), MetaError> {
        tracing::info!(node = node_id, state = state.as_str_name(), "judge a node");
        self.commit(|plan| match state {
            NodeState::Removed => Ok(change::let_go(plan, node_id)),
            state => change::set_state(plan, node_id, state, &[]),
        })
        .await
    }

    async fn begin_steps(&self, running: &Running) -> Result<(), MetaError> {
        let plan = running.plan();
        let silent = self.node.unheard(&plan);
        let under_way = change::under_way(&plan, &silent);
        if under_way >= CHANGES_MAX {
            return Ok(());
        }
        let steps = change::steps(&plan, &silent, plan.balancing);
        let is_still = plan.shards.iter().all(|shard| shard.change.is_none());
        if steps.is_empty() && is_still && plan.balancing {
            return self.commit(|plan| Ok(change::set_balancing(plan, false))).await;
        }
        for step in steps.into_iter().take(CHANGES_MAX - under_way) {
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
        let in_vain = self.absences.is_awaited_in_vain(NodeId(joining.node_id));
        if in_vain && change::pass_over(plan, shard, joining.replica_id).is_some() {
            return Found::PassedOver;
        }
        if !change.created {
            request.is_created = true;
            return match self.ask(joining.node_id, request).await {
                Some(Outcome::Done(_)) => Found::Created,
                Some(Outcome::Waits(why)) => Found::Waits(why),
                Some(Outcome::LeaderNode(_)) | None => Found::Waits("the node does not answer".to_string()),
            };
        }
        let abandon = is_given_up || (in_vain && change::comes_anew(plan, shard));
        request.abandon = abandon;
        match self.ask_leader(plan, request).await {
            Some(Outcome::Done(true)) if abandon => Found::Abandoned,
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
        // Who is silent would be waited for, and every other move with it.
        if self.node.peers.is_gone(NodeId(node)) || !self.node.hears(node) {
            return None;
        }
        let links = self.node.peers.links();
        let asked = links.call(NodeId(node), Lane::Log, Body::Change(request), STEP_DEADLINE);
        match asked.await {
            Ok(Body::Changed(answer)) => answer.outcome,
            Ok(_) | Err(_) => None,
        }
    }

    /// Notes how far the change has come that brings this replica. The shard may have another one by now.
    async fn record(&mut self, shard: u32, joining: u64, found: Found) -> Result<(), MetaError> {
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
            Found::PassedOver => change::pass_over,
        };
        self.told.remove(&shard);
        tracing::info!(shard, step = found.as_str(), "a replica moves");
        self.commit(|plan| Ok(what(plan, shard, joining))).await
    }
}

/// How far a change has come.
enum Found {
    Waits(String),
    Created,
    Finished,
    Abandoned,
    /// Its node stays silent: another one is to take it.
    PassedOver,
}

impl Found {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Waits(_) => "waits",
            Self::Created => "created",
            Self::Finished => "finished",
            Self::Abandoned => "abandoned",
            Self::PassedOver => "passed over",
        }
    }
}
