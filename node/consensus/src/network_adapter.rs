//! openraft's network on top of the links between nodes.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::BoxStream;
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use spine_proto::internal::raft::v1 as pb;
use spine_storage::snapshot::SnapshotSource;
use spine_storage::wal::GroupLog;

use crate::follower_log::FollowerLog;
use crate::peers::{CallError, Peers, SnapshotFeed};
use crate::runtime::blocking;
use crate::snapshot::SnapshotData;
use crate::types::{ReplicaNode, SpineRaft};
use crate::{commit_news, convert};

/// An append that carries entries waits for the follower's disk, not only for the network.
const APPEND_DEADLINE: Duration = Duration::from_secs(2);
const VOTE_DEADLINE: Duration = Duration::from_millis(500);
/// Pause before an unreachable follower is tried again; a link that comes back ends it early.
const BACKOFF: Duration = Duration::from_millis(100);

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<SpineRaft>, RPCError<SpineRaft>>>;
type Rpc<T> = Result<T, RPCError<SpineRaft>>;
pub(crate) type Append = AppendEntriesRequest<SpineRaft>;
type Appended = AppendEntriesResponse<SpineRaft>;

/// Makes the senders of one group.
pub(crate) struct NetworkFactory {
    pub(crate) shard: u32,
    pub(crate) peers: Arc<dyn Peers>,
    /// This replica's own.
    pub(crate) log: GroupLog,
}

/// Sends to one replica of one group.
pub(crate) struct Network {
    shard: u32,
    target: u64,
    node_id: u64,
    peers: Arc<dyn Peers>,
    follower: FollowerLog,
}

impl RaftNetworkFactory<SpineRaft> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &ReplicaNode) -> Network {
        Network {
            shard: self.shard,
            target,
            node_id: node.node_id,
            peers: Arc::clone(&self.peers),
            follower: FollowerLog::new(self.log.clone()),
        }
    }
}

impl Network {
    async fn append(&self, rpc: &Append) -> Rpc<Appended> {
        let request = pb::group_request::Kind::Append(append_to_pb(rpc));
        match self.call(request, APPEND_DEADLINE).await? {
            pb::group_response::Kind::Append(response) => append_from_pb(response),
            _ => Err(unexpected()),
        }
    }

    async fn call(&self, kind: pb::group_request::Kind, deadline: Duration) -> Rpc<pb::group_response::Kind> {
        let request = pb::GroupRequest {
            shard: self.shard,
            target_replica: self.target,
            kind: Some(kind),
        };
        let response = self
            .peers
            .call(self.node_id, request, deadline)
            .await
            .map_err(|error| rpc_error(&error))?;
        match response.kind {
            Some(pb::group_response::Kind::Unavailable(reason)) => {
                Err(rpc_error(&CallError::Unavailable(reason)))
            }
            Some(kind) => Ok(kind),
            None => Err(unexpected()),
        }
    }
}

fn rpc_error(error: &CallError) -> RPCError<SpineRaft> {
    match error {
        CallError::Lost => RPCError::Network(NetworkError::new(error)),
        CallError::Unreachable | CallError::Unavailable(_) => RPCError::Unreachable(Unreachable::new(error)),
    }
}

fn unexpected() -> RPCError<SpineRaft> {
    RPCError::Network(NetworkError::from_string("answer of another kind"))
}

pub(crate) fn append_to_pb(rpc: &Append) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(convert::vote_to_pb(&rpc.vote)),
        prev_log_id: rpc.prev_log_id.as_ref().map(convert::log_id_to_pb),
        entries: rpc.entries.iter().map(convert::entry_to_pb).collect(),
        leader_commit: rpc.leader_commit.as_ref().map(convert::log_id_to_pb),
    }
}

fn append_from_pb(response: pb::AppendResponse) -> Rpc<Appended> {
    use pb::append_response::Outcome;
    match response.outcome.ok_or_else(unexpected)? {
        Outcome::Success(_) => Ok(Appended::Success),
        Outcome::PartialSuccess(id) => Ok(Appended::PartialSuccess(Some(convert::log_id_from_pb(&id)))),
        Outcome::Conflict(_) => Ok(Appended::Conflict),
        Outcome::HigherVote(vote) => Ok(Appended::HigherVote(convert::vote_from_pb(&vote))),
    }
}

fn vote_to_pb(rpc: &VoteRequest<SpineRaft>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(convert::vote_to_pb(&rpc.vote)),
        last_log_id: rpc.last_log_id.as_ref().map(convert::log_id_to_pb),
        leadership_transfer: rpc.leadership_transfer,
    }
}

fn vote_from_pb(kind: &pb::group_response::Kind) -> Rpc<VoteResponse<SpineRaft>> {
    let pb::group_response::Kind::Vote(response) = kind else {
        return Err(unexpected());
    };
    let vote = response.vote.as_ref().ok_or_else(unexpected)?;
    let last = response.last_log_id.as_ref().map(convert::log_id_from_pb);
    Ok(VoteResponse::new(
        convert::vote_from_pb(vote),
        last,
        response.granted,
    ))
}

impl RaftNetworkV2<SpineRaft> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(&mut self, rpc: Append, _option: RPCOption) -> Rpc<Appended> {
        if let Some(question) = self.follower.question(&rpc) {
            match self.append(&question).await? {
                higher @ Appended::HigherVote(_) => return Ok(higher),
                answer => self
                    .follower
                    .learn(&question, matches!(answer, Appended::Success)),
            }
        }
        if self.follower.covers(&rpc) {
            return Ok(Appended::Success);
        }
        let answer = self.append(&rpc).await?;
        if matches!(answer, Appended::Conflict) {
            self.follower.forget();
        }
        Ok(answer)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<SpineRaft>>>
    where
        S: Stream<Item = AppendEntriesRequest<SpineRaft>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, commit_news::with_entries(input), option)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<SpineRaft>,
        _option: RPCOption,
    ) -> Rpc<VoteResponse<SpineRaft>> {
        vote_from_pb(
            &self
                .call(pb::group_request::Kind::Vote(vote_to_pb(&rpc)), VOTE_DEADLINE)
                .await?,
        )
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<SpineRaft>,
        _option: RPCOption,
    ) -> Rpc<VoteResponse<SpineRaft>> {
        vote_from_pb(
            &self
                .call(pb::group_request::Kind::PreVote(vote_to_pb(&rpc)), VOTE_DEADLINE)
                .await?,
        )
    }

    async fn full_snapshot(
        &mut self,
        vote: alias::Vote,
        snapshot: alias::Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<SpineRaft>, StreamingError<SpineRaft>> {
        let source = snapshot
            .snapshot
            .into_source()
            .map_err(|error| Unreachable::new(&error))?;
        let start = pb::SnapshotStart {
            shard: self.shard,
            target_replica: self.target,
            vote: Some(convert::vote_to_pb(&vote)),
            header: Some(source.header()),
        };
        let sending = pin!(
            self.peers
                .send_snapshot(self.node_id, start, Box::new(Feed::new(source)))
        );
        let response = match select(sending, pin!(cancel)).await {
            Either::Left((response, _)) => {
                response.map_err(|error| StreamingError::from(rpc_error(&error)))?
            }
            Either::Right((closed, _)) => return Err(StreamingError::Closed(closed)),
        };
        match response.kind {
            Some(pb::group_response::Kind::Snapshot(pb::SnapshotResponse { vote: Some(vote) })) => {
                Ok(SnapshotResponse::new(convert::vote_from_pb(&vote)))
            }
            Some(pb::group_response::Kind::Unavailable(reason)) => {
                Err(rpc_error(&CallError::Unavailable(reason)).into())
            }
            _ => Err(unexpected().into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<SpineRaft>,
        _option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<SpineRaft>> {
        let request = pb::TransferLeaderRequest {
            from_leader: Some(convert::vote_to_pb(req.from_leader())),
            to_replica: *req.to_node_id(),
            last_log_id: req.last_log_id().map(convert::log_id_to_pb),
        };
        match self
            .call(pb::group_request::Kind::TransferLeader(request), VOTE_DEADLINE)
            .await?
        {
            pb::group_response::Kind::TransferLeader(response) if response.accepted => Ok(Ok(())),
            pb::group_response::Kind::TransferLeader(response) => {
                Err(rpc_error(&CallError::Unavailable(response.reason)))
            }
            _ => Err(unexpected()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

/// Pulls a snapshot out of the store as fast as the connection takes it.
pub(crate) struct Feed {
    source: SnapshotSource,
    ended: bool,
}

impl Feed {
    pub(crate) fn new(source: SnapshotSource) -> Self {
        Self { source, ended: false }
    }
}

#[async_trait]
impl SnapshotFeed for Feed {
    async fn next(&mut self) -> io::Result<Option<pb::snapshot_part::Kind>> {
        if self.ended {
            return Ok(None);
        }
        if let Some(chunk) = blocking(|| self.source.next_chunk()).map_err(io::Error::other)? {
            return Ok(Some(pb::snapshot_part::Kind::Chunk(chunk)));
        }
        self.ended = true;
        self.source
            .end()
            .map(|end| Some(pb::snapshot_part::Kind::End(end)))
            .map_err(io::Error::other)
    }
}

mod alias {
    use crate::snapshot::SnapshotData;
    use crate::types::SpineRaft;

    pub(super) type Vote = openraft::alias::VoteOf<SpineRaft>;
    pub(super) type Snapshot = openraft::alias::SnapshotOf<SpineRaft, SnapshotData>;
}
