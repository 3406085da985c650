//! One hop to the node that leads the shard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_consensus::transport::{PeerError, RefusalReason};
use spine_mutants::mutant;
use spine_proto::admin::v1::GetNodeStatusResponse;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{Lane, StatusRequest};
use spine_proto::internal::shard::v1 as pb;
use spine_services::{Principal, SpineError, catalogue};
use tokio::time::Instant;

use super::failure::{ExecuteError, answer_too_large, outcome_unknown};
use crate::driver::NodesSource as _;
use crate::fitness::Trouble;
use crate::peers::NodePeers;

/// A node that is asked how far its feed reaches back answers within this.
const FLOOR_DEADLINE: Duration = Duration::from_millis(800);

/// Sends executions to other nodes.
pub struct Forwarder {
    peers: Arc<NodePeers>,
}

impl Forwarder {
    /// Forwards over these links.
    #[must_use]
    pub fn new(peers: Arc<NodePeers>) -> Self {
        Self { peers }
    }

    /// The first index whose changes another node's replica can show, as far as it answers.
    pub async fn watch_floor(&self, node: u64, shard: u32) -> Option<u64> {
        let asked = Body::Status(StatusRequest {});
        let links = self.peers.links();
        let answer = links.call(NodeId(node), Lane::Log, asked, FLOOR_DEADLINE).await;
        let Ok(Body::StatusIs(answer)) = answer else {
            return None;
        };
        let status = GetNodeStatusResponse::decode(answer.node_status).ok()?;
        let summary = status.shards.iter().find(|summary| summary.shard == shard)?;
        Some(summary.replicas.first()?.watch_floor)
    }

    /// Which of these nodes are heard.
    #[must_use]
    pub fn alive(&self, voters: &[u64]) -> Vec<u64> {
        let seen = self.peers.nodes(voters);
        let alive = seen.alive.into_iter();
        alive.filter(|node| voters.contains(node)).collect()
    }

    /// Sends one execution and waits for its answer.
    ///
    /// # Errors
    /// [`ExecuteError::NotLeader`] where nothing was executed, [`ExecuteError::Unknown`] where it may have been,
    /// [`ExecuteError::Final`] where the answer is too large to be sent.
    pub async fn execute(
        &self,
        node: u64,
        request: pb::ExecuteRequest,
        deadline: Instant,
    ) -> Result<pb::ExecuteResponse, ExecuteError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let peer = NodeId(node);
        if self.peers.is_gone(peer) {
            return Err(ExecuteError::NotLeader(None));
        }
        let writes = catalogue::find(&request.operation).is_ok_and(|spec| spec.writes);
        let call = self
            .peers
            .links()
            .call(peer, Lane::Log, Body::Execute(request), left);
        let answer = tokio::select! {
            biased;
            answer = call => answer,
            // A frozen node keeps its connections open; whoever waits for it waits for nothing.
            () = self.peers.gone(peer) => Err(PeerError::Closed),
        };
        match answer {
            Ok(Body::Executed(response)) => Ok(response),
            Ok(_) => Err(ExecuteError::Unknown),
            Err(error) => Err(unanswered(&error, writes)),
        }
    }
}

/// What is known of an execution that has no answer.
fn unanswered(error: &PeerError, writes: bool) -> ExecuteError {
    match error {
        PeerError::Closed | PeerError::Timeout if mutant!("unknown-counts-as-not-done") => {
            ExecuteError::NotLeader(None)
        }
        PeerError::Closed | PeerError::Timeout => ExecuteError::Unknown,
        // It was carried out, and whoever asks again meets the same.
        PeerError::Refused(RefusalReason::AnswerTooLarge) if writes => ExecuteError::Final(outcome_unknown()),
        PeerError::Refused(RefusalReason::AnswerTooLarge) => ExecuteError::Final(answer_too_large()),
        PeerError::Unreachable | PeerError::Busy | PeerError::TooLarge { .. } | PeerError::Refused(_) => {
            ExecuteError::NotLeader(None)
        }
    }
}

/// The wire form of one execution or a batch.
#[must_use]
pub fn request(
    operation: &str,
    shard: u32,
    body: Bytes,
    batch: Vec<Bytes>,
    principal: &Principal,
    deadline: Instant,
) -> pb::ExecuteRequest {
    let left = deadline.saturating_duration_since(Instant::now());
    pb::ExecuteRequest {
        operation: operation.to_string(),
        shard,
        request: body,
        principal: Some(pb::Principal {
            id: principal.id.clone(),
            permissions: principal.permissions.clone(),
        }),
        deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        batch,
        settle: false,
    }
}

/// Reads an answer: a response, a final error, or a hint to go elsewhere.
///
/// # Errors
/// [`ExecuteError`]
pub fn outcome(response: pb::ExecuteResponse) -> Result<Bytes, ExecuteError> {
    match response.outcome {
        Some(pb::execute_response::Outcome::Response(bytes)) => Ok(bytes),
        Some(pb::execute_response::Outcome::Failure(failure)) => Err(from_failure(&failure)),
        Some(pb::execute_response::Outcome::Batch(_)) | None => Err(ExecuteError::Unknown),
    }
}

/// The wire form of an outcome.
#[must_use]
pub fn response(result: Result<Bytes, ExecuteError>) -> pb::ExecuteResponse {
    let outcome = match result {
        Ok(bytes) => pb::execute_response::Outcome::Response(bytes),
        Err(error) => pb::execute_response::Outcome::Failure(to_failure(error)),
    };
    pb::ExecuteResponse {
        outcome: Some(outcome),
    }
}

/// Kinds at and above this are between nodes only and never reach a caller.
const KIND_NOT_LEADER: u32 = 1_000;
const KIND_NO_QUORUM: u32 = 1_001;

fn to_failure(error: ExecuteError) -> pb::Failure {
    match error {
        ExecuteError::NotLeader(node) => pb::Failure {
            kind: KIND_NOT_LEADER,
            message: String::new(),
            detail: node.unwrap_or(0).encode_to_vec().into(),
        },
        ExecuteError::NoQuorum => pb::Failure {
            kind: KIND_NO_QUORUM,
            message: String::new(),
            detail: Bytes::new(),
        },
        ExecuteError::Unfit(trouble) => trouble.error().to_failure(),
        ExecuteError::Unknown => outcome_unknown().to_failure(),
        ExecuteError::Final(error) => error.to_failure(),
    }
}

fn from_failure(failure: &pb::Failure) -> ExecuteError {
    match failure.kind {
        KIND_NOT_LEADER => {
            let node = u64::decode(failure.detail.clone()).unwrap_or(0);
            ExecuteError::NotLeader((node != 0).then_some(node))
        }
        KIND_NO_QUORUM => ExecuteError::NoQuorum,
        _ => match SpineError::from_failure(failure) {
            error if error.reason == "OUTCOME_UNKNOWN" => ExecuteError::Unknown,
            error => match Trouble::of_reason(&error.reason) {
                Some(trouble) => ExecuteError::Unfit(trouble),
                None => ExecuteError::Final(error),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_large_is_final_and_says_so() {
        let refused = |reason, writes| unanswered(&PeerError::Refused(reason), writes);
        let reason_of = |error| match error {
            ExecuteError::Final(error) => Some(error.reason.into_owned()),
            _ => None,
        };
        let read = reason_of(refused(RefusalReason::AnswerTooLarge, false));
        assert_eq!(read.as_deref(), Some("ANSWER_TOO_LARGE"));
        // A change took effect, and nobody may be told that it did not.
        let write = reason_of(refused(RefusalReason::AnswerTooLarge, true));
        assert_eq!(write.as_deref(), Some("OUTCOME_UNKNOWN"));
        for writes in [false, true] {
            let busy = refused(RefusalReason::Busy, writes);
            assert!(matches!(busy, ExecuteError::NotLeader(None)), "asked elsewhere");
            let lost = unanswered(&PeerError::Timeout, writes);
            assert!(matches!(lost, ExecuteError::Unknown));
        }
    }
}
