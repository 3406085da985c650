//! What administrators ask of the cluster's shape, through any node.

use std::sync::Arc;
use std::time::Duration;

use spine_proto::admin::v1 as pb;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::cluster_request::Kind;
use spine_proto::internal::raft::v1::{
    Balance, ClusterDone, ClusterRefusal, ClusterRequest, CreateToken, SetNodeState,
};
use spine_proto::storage::v1::{NodeState, PlanShard};
use spine_services::{ErrorKind, SpineError};
use tokio::time::Instant;

use super::change;
use super::join::{TOKEN_BYTES, token_hash};
use super::meta::TRY_AGAIN;
use crate::clock::Clock as _;
use crate::dispatch::failure::not_initialised;
use crate::node::Inner;
use crate::status::hex;

/// A change of the plan is made within this.
const CHANGE_TIME: Duration = Duration::from_secs(10);
/// Of a join token, where the operator names none.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// The words of the wire for what an operator may make of a node.
fn state_of(state: pb::NodeState) -> Result<NodeState, SpineError> {
    match state {
        pb::NodeState::Serving => Ok(NodeState::Serving),
        pb::NodeState::Leaving => Ok(NodeState::Leaving),
        pb::NodeState::Removed => Ok(NodeState::Removed),
        pb::NodeState::Lost | pb::NodeState::Unspecified => Err(SpineError::new(
            ErrorKind::Invalid,
            "MALFORMED_PLAN",
            "a node can be made serving, leaving or removed",
        )),
    }
}

/// A node's state as administrators see it.
#[must_use]
pub fn shown(state: NodeState) -> pb::NodeState {
    match state {
        NodeState::Serving => pb::NodeState::Serving,
        NodeState::Leaving => pb::NodeState::Leaving,
        NodeState::Lost => pb::NodeState::Lost,
        NodeState::Removed => pb::NodeState::Removed,
    }
}

fn refused(refusal: ClusterRefusal) -> SpineError {
    let (kind, reason) = match refusal.reason.as_str() {
        "NO_SUCH_NODE" => (ErrorKind::NotFound, "NO_SUCH_NODE"),
        "NODE_REMOVED" => (ErrorKind::Conflict, "NODE_REMOVED"),
        "NODE_HEARD" => (ErrorKind::Conflict, "NODE_HEARD"),
        "QUORUM_AT_RISK" => (ErrorKind::Conflict, "QUORUM_AT_RISK"),
        "NO_ROOM" => (ErrorKind::Conflict, "NO_ROOM"),
        "TOKEN_TOO_LONG" => (ErrorKind::Invalid, "TOKEN_TOO_LONG"),
        TRY_AGAIN => (ErrorKind::Unavailable, "META_UNAVAILABLE"),
        _ => (ErrorKind::Invalid, "MALFORMED_PLAN"),
    };
    SpineError::new(kind, reason, refusal.message)
}

impl Inner {
    async fn ask(self: &Arc<Self>, kind: Kind) -> Result<ClusterDone, SpineError> {
        if self.running().is_none() {
            return Err(not_initialised());
        }
        let request = ClusterRequest { kind: Some(kind) };
        let done = self.ask_meta(request, Instant::now() + CHANGE_TIME).await;
        done.map_err(refused)
    }

    /// Gives out a token that lets one node in.
    ///
    /// # Errors
    /// A life of more than 7 days; nobody leads the meta group.
    pub async fn create_join_token(
        self: &Arc<Self>,
        request: pb::CreateJoinTokenRequest,
    ) -> Result<pb::CreateJoinTokenResponse, SpineError> {
        let secret = self.entropy.bytes();
        let secret = &secret[..TOKEN_BYTES];
        let life = match request.lifetime_ms {
            0 => TOKEN_LIFE,
            asked => Duration::from_millis(asked),
        };
        let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        let expires_at_ms = self.clock.now_ms().saturating_add(life_ms);
        self.ask(Kind::CreateToken(CreateToken {
            token_hash: token_hash(secret).to_vec().into(),
            expires_at_ms,
        }))
        .await?;
        let running = self.running().ok_or_else(not_initialised)?;
        let plan = running.plan();
        let serving = plan
            .nodes
            .iter()
            .filter(|node| node.state() == NodeState::Serving);
        Ok(pb::CreateJoinTokenResponse {
            token: hex(secret),
            expires_at_ms,
            seeds: serving.map(|node| node.peer_address.clone()).collect(),
        })
    }

    /// Empties a node, gives it up, or takes that back.
    ///
    /// # Errors
    /// What would leave a shard with too few replicas, or give up a node that lives; no such node; nobody leads the meta
    /// group.
    pub async fn set_node_state(
        self: &Arc<Self>,
        request: pb::SetNodeStateRequest,
    ) -> Result<pb::SetNodeStateResponse, SpineError> {
        let state = state_of(request.state())?;
        let node_id = request.node_id;
        let done = self
            .ask(Kind::SetNodeState(SetNodeState {
                node_id,
                state: state.into(),
            }))
            .await?;
        Ok(pb::SetNodeStateResponse {
            plan_epoch: done.plan.map_or(0, |plan| plan.epoch),
        })
    }

    /// Begins to make the load even.
    ///
    /// # Errors
    /// Nobody leads the meta group.
    pub async fn balance(self: &Arc<Self>) -> Result<pb::BalanceResponse, SpineError> {
        let done = self.ask(Kind::Balance(Balance {})).await?;
        Ok(pb::BalanceResponse {
            plan_epoch: done.plan.map_or(0, |plan| plan.epoch),
        })
    }

    /// What moves, and what would move next, by the plan that this node follows and the nodes that it hears.
    ///
    /// # Errors
    /// The cluster is not initialised.
    pub fn plan_cluster(
        &self,
        request: &pb::PlanClusterRequest,
    ) -> Result<pb::PlanClusterResponse, SpineError> {
        let running = self.running().ok_or_else(not_initialised)?;
        let plan = running.plan();
        let nodes = plan.nodes.iter().map(|node| node.node_id);
        let silent: Vec<u64> = nodes
            .filter(|node| *node != running.node_id && self.peers.is_gone(NodeId(*node)))
            .collect();
        let steps = change::steps(&plan, &silent, request.balance || plan.balancing);
        let next = steps.iter().map(|step| pb::ReplicaMove {
            shard: step.shard,
            from_node_id: step.places.from.unwrap_or(0),
            to_node_id: step.places.to,
        });
        Ok(pb::PlanClusterResponse {
            plan_epoch: plan.epoch,
            moving: plan.shards.iter().filter_map(moving).collect(),
            next: next.collect(),
            balancing: plan.balancing,
        })
    }
}

fn moving(shard: &PlanShard) -> Option<pb::ReplicaMove> {
    let change = shard.change.as_ref()?;
    let leaver = shard
        .members
        .iter()
        .find(|member| member.replica_id == change.leaving);
    Some(pb::ReplicaMove {
        shard: shard.shard,
        from_node_id: leaver.map_or(0, |leaver| leaver.node_id),
        to_node_id: change.joining?.node_id,
    })
}
