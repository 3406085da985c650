//! Changes of the cluster's plan, on the node that leads the meta group; asked of any other node they go there.

use std::sync::Arc;
use std::time::Duration;

use spine_consensus::group::GroupError;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::cluster_request::Kind;
use spine_proto::internal::raft::v1::cluster_response::Outcome;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{
    ClusterDone, ClusterRefusal, ClusterRequest, ClusterResponse, Lane, MetaElsewhere,
};
use spine_proto::storage::v1::{ClusterPlan, SubTxn};
use spine_statemachine::{Applied, SubOutcome};
use tokio::time::{Instant, sleep};

use super::change::{self, Changed, Refused};
use super::join;
use super::rows::{self, Stored};
use crate::node::{Inner, Running};
use crate::shard::host::Shard;
use crate::shard::map::META_SHARD;
use crate::shard::proposals::txn_entry;

/// A node that is asked for a change answers within this.
const ASK_DEADLINE: Duration = Duration::from_secs(3);
/// While nobody is known to lead the meta group.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// Why the plan was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// This node does not lead the meta group; nothing was changed.
    #[error("the meta group is led elsewhere")]
    Elsewhere(Option<u64>),
    /// Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nothing was changed.
    #[error(transparent)]
    Join(#[from] join::JoinError),
    /// Another change came first, or nobody knows: look, and ask again.
    #[error("{0}")]
    TryAgain(String),
}

impl From<GroupError> for MetaError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotLeader { leader_node } => Self::Elsewhere(leader_node),
            other => Self::TryAgain(other.to_string()),
        }
    }
}

impl Inner {
    /// Asks whoever leads the meta group for a change, until `until`.
    ///
    /// # Errors
    /// What that node refused, or that none was found in time: then the change may have been made.
    pub async fn ask_meta(
        self: &Arc<Self>,
        request: ClusterRequest,
        until: Instant,
    ) -> Result<ClusterDone, ClusterRefusal> {
        let mut hint = None;
        let mut tries = 0_usize;
        loop {
            let asked = match self.meta_candidate(hint, tries) {
                Some(node) => self.ask_one(node, request.clone()).await,
                None => None,
            };
            match asked {
                Some(Outcome::Done(done)) => return Ok(done),
                Some(Outcome::Refused(refusal)) if refusal.reason != TRY_AGAIN => return Err(refusal),
                Some(Outcome::Elsewhere(elsewhere)) => {
                    hint = (elsewhere.node_id != 0).then_some(elsewhere.node_id);
                }
                Some(Outcome::Refused(_)) | None => hint = None,
            }
            if Instant::now() >= until {
                return Err(refusal(
                    TRY_AGAIN,
                    "nobody who leads the meta group was found in time",
                ));
            }
            tries += 1;
            if hint.is_none() {
                sleep(ASK_PAUSE).await;
            }
        }
    }

    /// Whom to ask next: who was named, or this node's own view, or the hosts of the meta group in turn.
    fn meta_candidate(&self, hint: Option<u64>, tries: usize) -> Option<u64> {
        let running = self.running()?;
        let meta = self.host.shard(META_SHARD).filter(|_| tries == 0);
        let believed = meta.and_then(|shard| shard.group.status().leader.map(|(_, node)| node));
        let hosts = ShardHosts::of(&running.plan(), META_SHARD);
        hint.or(believed).or_else(|| hosts.in_turn(tries))
    }

    async fn ask_one(self: &Arc<Self>, node: u64, request: ClusterRequest) -> Option<Outcome> {
        if self.running()?.node_id == node {
            return self.change_cluster(request).await.outcome;
        }
        let body = Body::Cluster(request);
        let answer = self
            .peers
            .links()
            .call(NodeId(node), Lane::Log, body, ASK_DEADLINE)
            .await;
        match answer {
            Ok(Body::ClusterDone(answer)) => answer.outcome,
            Ok(_) | Err(_) => None,
        }
    }

    /// Carries a change out, if this node leads the meta group.
    pub async fn change_cluster(self: &Arc<Self>, request: ClusterRequest) -> ClusterResponse {
        let done = match request.kind {
            Some(Kind::Join(request)) => join::let_in(self, request).await,
            Some(Kind::CreateToken(request)) => join::create_token(self, request).await.map(|()| 0),
            Some(Kind::SetNodeState(request)) => {
                let (node_id, state) = (request.node_id, request.state());
                self.commit_plan(|plan| change::set_state(plan, node_id, state, &self.unheard(plan)))
                    .await
                    .map(|_| 0)
            }
            Some(Kind::SetAddresses(request)) => {
                let node = request.node.unwrap_or_default();
                self.commit_plan(|plan| change::set_addresses(plan, &node))
                    .await
                    .map(|_| 0)
            }
            Some(Kind::ReportLost(request)) => {
                let lost = request.replica.unwrap_or_default();
                self.commit_plan(|plan| Ok(change::replace_lost(plan, request.shard, lost)))
                    .await
                    .map(|_| 0)
            }
            Some(Kind::Balance(_)) => self
                .commit_plan(|plan| Ok(change::set_balancing(plan, true)))
                .await
                .map(|_| 0),
            None => Err(MetaError::Refused(Refused::Malformed(
                "a change of an unknown kind",
            ))),
        };
        let outcome = match done {
            Ok(node_id) => Outcome::Done(ClusterDone {
                plan: self.running().map(|running| ClusterPlan::clone(&running.plan())),
                node_id,
            }),
            Err(error) => self.outcome_of(error),
        };
        ClusterResponse {
            outcome: Some(outcome),
        }
    }

    fn outcome_of(&self, error: MetaError) -> Outcome {
        match error {
            MetaError::Elsewhere(node) => {
                let plan = self.running().map(|running| running.plan());
                let known = plan.iter().flat_map(|plan| &plan.nodes);
                let leader = known.clone().find(|known| Some(known.node_id) == node);
                Outcome::Elsewhere(MetaElsewhere {
                    node_id: node.unwrap_or(0),
                    peer_address: leader
                        .map(|leader| leader.peer_address.clone())
                        .unwrap_or_default(),
                })
            }
            MetaError::Refused(error) => Outcome::Refused(refusal(error.reason(), error.to_string())),
            MetaError::Join(error) => Outcome::Refused(refusal(error.reason(), error.to_string())),
            MetaError::TryAgain(why) => Outcome::Refused(refusal(TRY_AGAIN, why)),
        }
    }

    /// Takes the plan one change further, on the leader of the meta group, and follows it. `None`: it is so already.
    ///
    /// # Errors
    /// [`MetaError`]
    pub async fn commit_plan(
        &self,
        to: impl Fn(&ClusterPlan) -> Changed,
    ) -> Result<Option<Arc<ClusterPlan>>, MetaError> {
        let _one_at_a_time = self.changing.lock().await;
        let (running, shard) = self.leading_meta().await?;
        let before = stored(&shard)?;
        let Some(after) = to(&before.plan)? else {
            // What was committed in an earlier term may not have been followed here yet.
            self.follow_own(before.plan).await;
            return Ok(None);
        };
        self.commit_rows(&running, &shard, rows::change(&before, &after, Vec::new()))
            .await?;
        Ok(Some(running.plan()))
    }

    /// Commits rows of the meta group and follows the plan that they make.
    pub(super) async fn commit_rows(
        &self,
        running: &Running,
        shard: &Arc<Shard>,
        sub: SubTxn,
    ) -> Result<(), MetaError> {
        let entry = txn_entry(vec![sub], running.time.stamp_ms(shard));
        let proposed = shard.group.propose(entry).await?;
        match proposed.applied {
            Applied::Txn(outcomes) if matches!(outcomes[..], [SubOutcome::Committed { .. }]) => {}
            _ => return Err(MetaError::TryAgain("another change came first".to_string())),
        }
        self.follow_own(stored(shard)?.plan).await;
        Ok(())
    }

    async fn follow_own(&self, plan: ClusterPlan) {
        if let Err(error) = self.follow(plan).await {
            tracing::warn!(%error, "follow the cluster's plan");
        }
    }

    /// The meta group, if this node leads it and may plan.
    pub(super) async fn leading_meta(&self) -> Result<(Arc<Running>, Arc<Shard>), MetaError> {
        let (Some(running), Some(shard)) = (self.running(), self.host.shard(META_SHARD)) else {
            return Err(MetaError::Elsewhere(None));
        };
        shard.group.ready_to_plan().await?;
        Ok((running, shard))
    }
}

/// The plan as this replica of the meta group has it.
pub(super) fn stored(shard: &Shard) -> Result<Stored, MetaError> {
    let unreadable = |error: String| MetaError::TryAgain(error);
    let read = shard.group.store().read(|view| rows::read(view));
    let read = read.map_err(|error| unreadable(error.to_string()))?;
    read.map_err(|error| unreadable(error.to_string()))?
        .ok_or_else(|| unreadable("the meta group has no rows yet".to_string()))
}

/// Reason of a refusal that may pass.
pub const TRY_AGAIN: &str = "TRY_AGAIN";

fn refusal(reason: &str, message: impl Into<String>) -> ClusterRefusal {
    ClusterRefusal {
        reason: reason.to_string(),
        message: message.into(),
    }
}

/// The nodes that host a shard.
pub(super) struct ShardHosts(Vec<u64>);

impl ShardHosts {
    pub(super) fn of(plan: &ClusterPlan, shard: u32) -> Self {
        let planned = plan.shards.iter().find(|planned| planned.shard == shard);
        let members = planned.iter().flat_map(|planned| &planned.members);
        Self(members.map(|member| member.node_id).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn in_turn(&self, tries: usize) -> Option<u64> {
        self.0.get(tries % self.0.len().max(1)).copied()
    }
}
