//! Administration of one node: each call is made once, at that node, and answers or fails soon.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spine_proto::admin::v1 as wire;
use spine_proto::admin::v1::admin_service_client::AdminServiceClient;

use crate::address::Address;
use crate::call::Core;
use crate::dial::Link;
use crate::error::Result;
use crate::options::ANSWER_BYTES_MAX;
use crate::records::Key;

/// What one node's own replica holds, which may be behind: for checks after a test, never for care.
#[derive(Clone)]
pub struct ReplicaRecord {
    /// False where the node has no replica of that shard.
    pub hosted: bool,
    /// The value and its revision, where there is one.
    pub found: Option<(u64, Bytes)>,
    /// How far that replica has applied the log.
    pub applied_index: u64,
}

impl fmt::Debug for ReplicaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaRecord")
            .field("hosted", &self.hosted)
            .field("revision", &self.found.as_ref().map(|(revision, _)| revision))
            .field("applied_index", &self.applied_index)
            .finish_non_exhaustive()
    }
}

/// Calls to one node's administration. Made by [`crate::SpineClient::admin`]. Answers are the wire
/// messages themselves: they grow with the cluster's abilities and hold no patient data.
#[derive(Clone)]
pub struct Admin {
    core: Arc<Core>,
    address: Address,
    deadline: Duration,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Admin {
    pub(crate) fn new(core: Arc<Core>, address: Address) -> Self {
        let deadline = core.options.deadline;
        Self {
            core,
            address,
            deadline,
        }
    }

    /// The same calls with another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The node's gRPC address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Makes one cluster of these nodes. Repeating it with the same plan is harmless.
    ///
    /// # Errors
    /// `Conflict` where a node belongs to another cluster or plan; `Unavailable`.
    pub async fn init_cluster(
        &self,
        peer_addresses: Vec<String>,
        shards: u32,
        replicas: u32,
    ) -> Result<wire::InitClusterResponse> {
        let request = wire::InitClusterRequest {
            peer_addresses,
            shards,
            replicas,
        };
        self.call(
            &request,
            |link, r| async move { client(link).init_cluster(r).await },
        )
        .await
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn cluster_status(&self) -> Result<wire::GetClusterStatusResponse> {
        let request = wire::GetClusterStatusRequest {};
        self.call(&request, |link, r| async move {
            client(link).get_cluster_status(r).await
        })
        .await
    }

    /// The node itself.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn node_status(&self) -> Result<wire::GetNodeStatusResponse> {
        let request = wire::GetNodeStatusRequest {};
        self.call(&request, |link, r| async move {
            client(link).get_node_status(r).await
        })
        .await
    }

    /// Every shard with its replicas.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn list_shards(&self) -> Result<Vec<wire::ShardSummary>> {
        let request = wire::ListShardsRequest {};
        let answer = self
            .call(
                &request,
                |link, r| async move { client(link).list_shards(r).await },
            )
            .await?;
        Ok(answer.shards)
    }

    /// The cluster's log time.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn time(&self) -> Result<wire::GetTimeResponse> {
        let request = wire::GetTimeRequest {};
        self.call(&request, |link, r| async move { client(link).get_time(r).await })
            .await
    }

    /// Moves log time forward; development mode only. Not repeatable: twice moves it twice.
    ///
    /// # Errors
    /// `Forbidden` outside development mode.
    pub async fn advance_time(&self, by: Duration) -> Result<wire::AdvanceTimeResponse> {
        let request = wire::AdvanceTimeRequest {
            by_ms: u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
        };
        self.call(
            &request,
            |link, r| async move { client(link).advance_time(r).await },
        )
        .await
    }

    /// Hands the leadership of a shard to a node.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn transfer_leader(&self, shard: u32, to_node_id: u64) -> Result<()> {
        let request = wire::TransferLeaderRequest { shard, to_node_id };
        self.call(&request, |link, r| async move {
            client(link).transfer_leader(r).await
        })
        .await
        .map(drop)
    }

    /// Hands over all leaders of this node and keeps it from leading, or lets it lead again. Returns how many shards
    /// nobody took over.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drain_node(&self, undo: bool) -> Result<u32> {
        let request = wire::DrainNodeRequest { undo };
        self.call(
            &request,
            |link, r| async move { client(link).drain_node(r).await },
        )
        .await
        .map(|answer| answer.shards_left)
    }

    /// Reads this node's own replica, without a barrier.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn read_replica(&self, key: &Key) -> Result<ReplicaRecord> {
        let request = wire::ReadReplicaRequest {
            routing_key: key.routing_key.clone(),
            suffix: key.suffix.clone(),
        };
        let answer = self
            .call(
                &request,
                |link, r| async move { client(link).read_replica(r).await },
            )
            .await?;
        Ok(ReplicaRecord {
            hosted: answer.hosted,
            found: answer.found.then_some((answer.revision, answer.value)),
            applied_index: answer.applied_index,
        })
    }

    /// Checkpoints a shard on this node and purges its log up to there.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn compact_replica(&self, shard: u32) -> Result<wire::CompactReplicaResponse> {
        let request = wire::CompactReplicaRequest { shard };
        self.call(&request, |link, r| async move {
            client(link).compact_replica(r).await
        })
        .await
    }

    /// Orders a new incarnation of the cluster from what this node has; the node ends, and begins it at its next start.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn recover_cluster(&self) -> Result<wire::RecoverClusterResponse> {
        let request = wire::RecoverClusterRequest {
            accept_data_loss: true,
        };
        self.call(&request, |link, r| async move {
            client(link).recover_cluster(r).await
        })
        .await
    }

    /// One step of the recovery of a cluster from several nodes.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn recover_step(
        &self,
        request: &wire::RecoverStepRequest,
    ) -> Result<wire::RecoverStepResponse> {
        self.call(
            request,
            |link, r| async move { client(link).recover_step(r).await },
        )
        .await
    }

    /// Alters a record of this node's own replica behind the log's back; the index from which on it differs. Only where
    /// the node runs with `development.tamper`.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn tamper_replica(&self, key: &Key, value: impl Into<Bytes>) -> Result<u64> {
        let request = wire::TamperReplicaRequest {
            routing_key: key.routing_key.clone(),
            suffix: key.suffix.clone(),
            value: value.into(),
        };
        let answer = self
            .call(
                &request,
                |link, r| async move { client(link).tamper_replica(r).await },
            )
            .await?;
        Ok(answer.applied_index)
    }

    /// A secret that lets one node without data into the cluster, for so long: at most 7 days.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn create_join_token(&self, lifetime: Duration) -> Result<wire::CreateJoinTokenResponse> {
        let request = wire::CreateJoinTokenRequest {
            lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
        };
        self.call(&request, |link, r| async move {
            client(link).create_join_token(r).await
        })
        .await
    }

    /// Empties a node ([`wire::NodeState::Leaving`]), gives it up for good ([`wire::NodeState::Removed`]), or lets it
    /// take replicas again ([`wire::NodeState::Serving`]). Returns the epoch of the cluster's plan.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`]; `Conflict` where a shard would be left with too few replicas.
    pub async fn set_node_state(&self, node_id: u64, state: wire::NodeState) -> Result<u64> {
        let request = wire::SetNodeStateRequest {
            node_id,
            state: state.into(),
        };
        self.call(
            &request,
            |link, r| async move { client(link).set_node_state(r).await },
        )
        .await
        .map(|answer| answer.plan_epoch)
    }

    /// Begins to move replicas until nodes and zones carry as much as each other.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn balance(&self) -> Result<u64> {
        let request = wire::BalanceRequest {};
        self.call(&request, |link, r| async move { client(link).balance(r).await })
            .await
            .map(|answer| answer.plan_epoch)
    }

    /// Which replicas move now, and which would move next; with `balance` as if the load were to be made even.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn plan_cluster(&self, balance: bool) -> Result<wire::PlanClusterResponse> {
        let request = wire::PlanClusterRequest { balance };
        self.call(
            &request,
            |link, r| async move { client(link).plan_cluster(r).await },
        )
        .await
    }

    /// Lets a shard that this node leads follow the rules of a level; gives the level in force. There is no way back.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn raise_level(&self, shard: u32, level: u32) -> Result<u32> {
        let request = wire::RaiseLevelRequest { shard, level };
        self.call(
            &request,
            |link, r| async move { client(link).raise_level(r).await },
        )
        .await
        .map(|answer| answer.level)
    }

    async fn call<Q, A, F, Fut>(&self, request: &Q, rpc: F) -> Result<A>
    where
        Q: Clone,
        F: Fn(Link, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        self.core.run_at(&self.address, self.deadline, request, rpc).await
    }
}

fn client(link: Link) -> AdminServiceClient<Link> {
    let origin = link.origin();
    AdminServiceClient::with_origin(link, origin).max_decoding_message_size(ANSWER_BYTES_MAX)
}
