//! `spine.admin.v1`: for operators and tests.

use std::sync::Arc;
use std::time::Duration;

use spine_proto::admin::v1 as pb;
use spine_services::{ErrorKind, SpineError};
use tonic::{Request, Response, Status};

use super::edge::Edge;
use super::status::to_status;
use crate::node::Inner;

/// Permission that every call here needs.
pub const ADMIN_PERMISSION: &str = "admin";
/// Log time moves at most this far in one call.
const ADVANCE_MAX: Duration = Duration::from_secs(400 * 24 * 3_600);

/// The administrators' service.
#[derive(Clone)]
pub struct Admin {
    /// The node that answers.
    pub node: Arc<Inner>,
    /// Who asks.
    pub edge: Edge,
}

type Reply<T> = Result<Response<T>, Status>;

impl Admin {
    fn admin<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let principal = self
            .edge
            .principal(request.metadata())
            .map_err(|error| to_status(&error))?;
        if principal
            .permissions
            .iter()
            .any(|permission| permission == ADMIN_PERMISSION)
        {
            return Ok(());
        }
        Err(to_status(&SpineError::new(
            ErrorKind::Forbidden,
            "FORBIDDEN",
            "this call needs an administrator",
        )))
    }
}

fn reply<T>(result: Result<T, SpineError>) -> Reply<T> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl pb::admin_service_server::AdminService for Admin {
    async fn init_cluster(&self, request: Request<pb::InitClusterRequest>) -> Reply<pb::InitClusterResponse> {
        self.admin(&request)?;
        reply(Arc::clone(&self.node).init_cluster(request.into_inner()).await)
    }

    async fn get_cluster_status(
        &self,
        request: Request<pb::GetClusterStatusRequest>,
    ) -> Reply<pb::GetClusterStatusResponse> {
        self.admin(&request)?;
        reply(Ok(self.node.cluster_status().await))
    }

    async fn get_node_status(
        &self,
        request: Request<pb::GetNodeStatusRequest>,
    ) -> Reply<pb::GetNodeStatusResponse> {
        self.admin(&request)?;
        reply(Ok(self.node.node_status()))
    }

    async fn list_shards(&self, request: Request<pb::ListShardsRequest>) -> Reply<pb::ListShardsResponse> {
        self.admin(&request)?;
        reply(Ok(pb::ListShardsResponse {
            shards: self.node.cluster_status().await.shards,
        }))
    }

    async fn get_time(&self, request: Request<pb::GetTimeRequest>) -> Reply<pb::GetTimeResponse> {
        self.admin(&request)?;
        let (log_time_ms, advanced_ms) = self.node.time();
        reply(Ok(pb::GetTimeResponse {
            log_time_ms,
            advanced_ms,
        }))
    }

    async fn advance_time(&self, request: Request<pb::AdvanceTimeRequest>) -> Reply<pb::AdvanceTimeResponse> {
        self.admin(&request)?;
        let by = Duration::from_millis(request.get_ref().by_ms);
        if by > ADVANCE_MAX {
            return reply(Err(SpineError::new(
                ErrorKind::Invalid,
                "TIME_OUT_OF_RANGE",
                "at most 400 days at a time",
            )));
        }
        reply(
            self.node
                .advance_time(by)
                .map(|log_time_ms| pb::AdvanceTimeResponse { log_time_ms }),
        )
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Reply<pb::TransferLeaderResponse> {
        self.admin(&request)?;
        let request = request.into_inner();
        let done = self.node.transfer_leader(request.shard, request.to_node_id).await;
        reply(done.map(|()| pb::TransferLeaderResponse {}))
    }

    async fn drain_node(&self, request: Request<pb::DrainNodeRequest>) -> Reply<pb::DrainNodeResponse> {
        self.admin(&request)?;
        if request.get_ref().undo {
            self.node.undrain();
            return reply(Ok(pb::DrainNodeResponse::default()));
        }
        let shards_left = u32::try_from(self.node.drain().await).unwrap_or(u32::MAX);
        reply(Ok(pb::DrainNodeResponse { shards_left }))
    }

    async fn read_replica(&self, request: Request<pb::ReadReplicaRequest>) -> Reply<pb::ReadReplicaResponse> {
        self.admin(&request)?;
        reply(self.node.read_replica(&request.into_inner()))
    }

    async fn compact_replica(
        &self,
        request: Request<pb::CompactReplicaRequest>,
    ) -> Reply<pb::CompactReplicaResponse> {
        self.admin(&request)?;
        reply(self.node.compact_replica(request.get_ref().shard).await)
    }

    async fn tamper_replica(
        &self,
        request: Request<pb::TamperReplicaRequest>,
    ) -> Reply<pb::TamperReplicaResponse> {
        self.admin(&request)?;
        reply(self.node.tamper_replica(&request.into_inner()))
    }

    async fn create_join_token(
        &self,
        request: Request<pb::CreateJoinTokenRequest>,
    ) -> Reply<pb::CreateJoinTokenResponse> {
        self.admin(&request)?;
        reply(self.node.create_join_token(request.into_inner()).await)
    }

    async fn set_node_state(
        &self,
        request: Request<pb::SetNodeStateRequest>,
    ) -> Reply<pb::SetNodeStateResponse> {
        self.admin(&request)?;
        reply(self.node.set_node_state(request.into_inner()).await)
    }

    async fn balance(&self, request: Request<pb::BalanceRequest>) -> Reply<pb::BalanceResponse> {
        self.admin(&request)?;
        reply(self.node.balance().await)
    }

    async fn plan_cluster(&self, request: Request<pb::PlanClusterRequest>) -> Reply<pb::PlanClusterResponse> {
        self.admin(&request)?;
        reply(self.node.plan_cluster(request.get_ref()))
    }

    async fn recover_cluster(
        &self,
        request: Request<pb::RecoverClusterRequest>,
    ) -> Reply<pb::RecoverClusterResponse> {
        self.admin(&request)?;
        reply(self.node.recover_cluster(request.get_ref()))
    }

    async fn recover_step(&self, request: Request<pb::RecoverStepRequest>) -> Reply<pb::RecoverStepResponse> {
        self.admin(&request)?;
        reply(self.node.recover_step(request.into_inner()).await)
    }

    async fn raise_level(&self, request: Request<pb::RaiseLevelRequest>) -> Reply<pb::RaiseLevelResponse> {
        self.admin(&request)?;
        let request = request.into_inner();
        reply(self.node.raise_level(request.shard, request.level).await)
    }
}
