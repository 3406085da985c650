//! The administration of the fake cluster: as much as spinectl's own tests need.

use spine_proto::admin::v1::admin_service_server::AdminService;
use spine_proto::admin::v1::{
    AdvanceTimeRequest, AdvanceTimeResponse, BalanceRequest, BalanceResponse, CompactReplicaRequest,
    CompactReplicaResponse, CreateJoinTokenRequest, CreateJoinTokenResponse, DrainNodeRequest,
    DrainNodeResponse, GetClusterStatusRequest, GetClusterStatusResponse, GetNodeStatusRequest,
    GetNodeStatusResponse, GetTimeRequest, GetTimeResponse, InitClusterRequest, InitClusterResponse,
    ListShardsRequest, ListShardsResponse, NodeSummary, PlanClusterRequest, PlanClusterResponse,
    RaiseLevelRequest, RaiseLevelResponse, ReadReplicaRequest, ReadReplicaResponse, RecoverClusterRequest,
    RecoverClusterResponse, RecoverStepRequest, RecoverStepResponse, RecoveredShard, ReplicaSummary,
    SetNodeStateRequest, SetNodeStateResponse, ShardSummary, TamperReplicaRequest, TamperReplicaResponse,
    TransferLeaderRequest, TransferLeaderResponse,
};
use tonic::{Request, Response, Status};

use super::Seat;

#[tonic::async_trait]
impl AdminService for Seat {
    async fn init_cluster(
        &self,
        request: Request<InitClusterRequest>,
    ) -> Result<Response<InitClusterResponse>, Status> {
        self.before("init").await?;
        let already = request.into_inner().peer_addresses != ["peer-of-a"];
        Ok(Response::new(InitClusterResponse {
            cluster_id: "c1".into(),
            already,
        }))
    }

    async fn get_cluster_status(
        &self,
        _: Request<GetClusterStatusRequest>,
    ) -> Result<Response<GetClusterStatusResponse>, Status> {
        self.before("cluster status").await?;
        let (health, level, advertised) = {
            let store = self.fake.store.lock();
            (store.health, store.level, store.advertised.clone())
        };
        let mut shard = shard();
        shard.level = level;
        shard.replicas[0].checkpoint_level = level;
        let shards = vec![shard];
        let node = NodeSummary {
            node_id: 1,
            grpc_address: advertised.unwrap_or_else(|| self.name.clone()),
            reachable: true,
            leaders: 1,
            ..Default::default()
        };
        Ok(Response::new(GetClusterStatusResponse {
            cluster_id: "c1".into(),
            health,
            shards,
            nodes: vec![node],
            level,
            ..Default::default()
        }))
    }

    async fn get_node_status(
        &self,
        _: Request<GetNodeStatusRequest>,
    ) -> Result<Response<GetNodeStatusResponse>, Status> {
        self.before("node status").await?;
        let fsyncs = self.fake.store.lock().fsyncs;
        let peer_address = "peer-of-a".into();
        Ok(Response::new(GetNodeStatusResponse {
            fsyncs,
            peer_address,
            level_max: 2,
            ..Default::default()
        }))
    }

    async fn list_shards(
        &self,
        _: Request<ListShardsRequest>,
    ) -> Result<Response<ListShardsResponse>, Status> {
        self.before("shards").await?;
        Ok(Response::new(ListShardsResponse {
            shards: vec![shard()],
        }))
    }

    async fn get_time(&self, _: Request<GetTimeRequest>) -> Result<Response<GetTimeResponse>, Status> {
        self.before("time").await?;
        Ok(Response::new(GetTimeResponse {
            log_time_ms: 1_000,
            advanced_ms: 0,
        }))
    }

    async fn advance_time(
        &self,
        request: Request<AdvanceTimeRequest>,
    ) -> Result<Response<AdvanceTimeResponse>, Status> {
        self.before("advance").await?;
        let by_ms = i64::try_from(request.into_inner().by_ms).expect("a test's time");
        Ok(Response::new(AdvanceTimeResponse {
            log_time_ms: 1_000 + by_ms,
        }))
    }

    async fn drain_node(&self, _: Request<DrainNodeRequest>) -> Result<Response<DrainNodeResponse>, Status> {
        Ok(Response::new(DrainNodeResponse::default()))
    }

    async fn transfer_leader(
        &self,
        _: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        Ok(Response::new(TransferLeaderResponse {}))
    }

    async fn read_replica(
        &self,
        request: Request<ReadReplicaRequest>,
    ) -> Result<Response<ReadReplicaResponse>, Status> {
        let request = request.into_inner();
        let store = self.fake.store.lock();
        let found = store
            .values
            .get(&(request.routing_key, request.suffix.to_vec()))
            .cloned();
        let mut answer = ReadReplicaResponse {
            hosted: true,
            ..Default::default()
        };
        if let Some((revision, value)) = found {
            answer = ReadReplicaResponse {
                found: true,
                revision,
                value,
                ..answer
            };
        }
        Ok(Response::new(answer))
    }

    async fn raise_level(
        &self,
        request: Request<RaiseLevelRequest>,
    ) -> Result<Response<RaiseLevelResponse>, Status> {
        self.before("raise").await?;
        let level = request.into_inner().level;
        self.fake.store.lock().level = level;
        Ok(Response::new(RaiseLevelResponse {
            level,
            already: false,
        }))
    }

    async fn recover_cluster(
        &self,
        _: Request<RecoverClusterRequest>,
    ) -> Result<Response<RecoverClusterResponse>, Status> {
        Ok(Response::new(RecoverClusterResponse {
            incarnation: 2,
            shards: vec![RecoveredShard {
                shard: 1,
                last_index: 9,
                last_term: 3,
                committed_index: 7,
                ..RecoveredShard::default()
            }],
        }))
    }

    async fn recover_step(
        &self,
        _: Request<RecoverStepRequest>,
    ) -> Result<Response<RecoverStepResponse>, Status> {
        Err(Status::permission_denied("this is a fake"))
    }

    async fn tamper_replica(
        &self,
        _: Request<TamperReplicaRequest>,
    ) -> Result<Response<TamperReplicaResponse>, Status> {
        Err(Status::permission_denied("this is a fake"))
    }

    async fn compact_replica(
        &self,
        _: Request<CompactReplicaRequest>,
    ) -> Result<Response<CompactReplicaResponse>, Status> {
        Ok(Response::new(CompactReplicaResponse {
            checkpoint_index: 7,
            purged_index: 7,
        }))
    }

    async fn create_join_token(
        &self,
        _: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        Ok(Response::new(CreateJoinTokenResponse::default()))
    }

    async fn set_node_state(
        &self,
        _: Request<SetNodeStateRequest>,
    ) -> Result<Response<SetNodeStateResponse>, Status> {
        Ok(Response::new(SetNodeStateResponse { plan_epoch: 3 }))
    }

    async fn balance(&self, _: Request<BalanceRequest>) -> Result<Response<BalanceResponse>, Status> {
        Ok(Response::new(BalanceResponse { plan_epoch: 3 }))
    }

    async fn plan_cluster(
        &self,
        _: Request<PlanClusterRequest>,
    ) -> Result<Response<PlanClusterResponse>, Status> {
        Ok(Response::new(PlanClusterResponse::default()))
    }
}

fn shard() -> ShardSummary {
    let replica = ReplicaSummary {
        node_id: 1,
        reachable: true,
        applied_index: 9,
        state: "leading".into(),
        ..Default::default()
    };
    ShardSummary {
        shard: 1,
        slot_last: 16_383,
        leader_node_id: 1,
        replicas: vec![replica],
        ..Default::default()
    }
}
