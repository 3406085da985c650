//! Raft messages that arrive for a group of this node.

use std::time::Duration;

use async_trait::async_trait;
use openraft::Snapshot;
use openraft::alias::SnapshotMetaOf;
use openraft::errors::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use spine_proto::internal::raft::v1 as pb;
use spine_proto::storage::v1;
use spine_statemachine::Digest;
use spine_storage::replica::ReplicaStore;
use spine_storage::snapshot::{Installed, SnapshotInstaller};
use tokio::time::sleep;

use crate::background::in_background;
use crate::convert;
use crate::group::RaftGroup;
use crate::runtime::blocking;
use crate::snapshot::SnapshotData;
use crate::types::SpineRaft;

/// An append of so many entries may be of a leader that helps this replica to catch up.
const CATCH_UP_ENTRIES_MIN: u32 = 32;
/// A rest after each entry that is caught up with, about as long as its work takes. Not measured: what a seed of the
/// simulation does must not depend on the machine.
const CATCH_UP_REST: Duration = Duration::from_micros(100);

/// Parts of a snapshot that arrives; waiting for the next one slows the sender down.
#[async_trait]
pub trait SnapshotInflow: Send {
    /// The next part; `None` where the connection ended early.
    async fn next(&mut self) -> Option<pb::snapshot_part::Kind>;
}

fn unavailable(reason: impl Into<String>) -> pb::GroupResponse {
    pb::GroupResponse {
        kind: Some(pb::group_response::Kind::Unavailable(reason.into())),
    }
}

impl RaftGroup {
    /// Answers one message of a peer. A message for another replica is refused: the sender's map is old.
    pub async fn handle(&self, request: pb::GroupRequest) -> pb::GroupResponse {
        if request.target_replica != self.identity().replica_id {
            return unavailable("another replica lives here");
        }
        let kind = match request.kind {
            Some(pb::group_request::Kind::Append(append)) => self.on_append(append).await,
            Some(pb::group_request::Kind::Vote(vote)) => self.on_vote(vote, false).await,
            Some(pb::group_request::Kind::PreVote(vote)) => self.on_vote(vote, true).await,
            Some(pb::group_request::Kind::TransferLeader(transfer)) => self.on_transfer(transfer).await,
            Some(pb::group_request::Kind::Digest(request)) => Ok(self.on_digest(&request)),
            // The node answers this one: what is asked for goes another way.
            Some(pb::group_request::Kind::PullSnapshot(_)) | None => {
                Err("message of an unknown kind".to_string())
            }
        };
        match kind {
            Ok(kind) => pb::GroupResponse { kind: Some(kind) },
            Err(reason) => unavailable(reason),
        }
    }

    async fn on_append(&self, append: pb::AppendRequest) -> Result<pb::group_response::Kind, String> {
        let vote = append.vote.as_ref().ok_or("append without vote")?;
        let rest = rest_after(&append);
        let mut entries = Vec::with_capacity(append.entries.len());
        for entry in append.entries {
            entries.push(convert::entry_from_pb(entry).map_err(|error| error.to_string())?);
        }
        let request = AppendEntriesRequest::<SpineRaft> {
            vote: convert::vote_from_pb(vote),
            prev_log_id: append.prev_log_id.as_ref().map(convert::log_id_from_pb),
            entries,
            leader_commit: append.leader_commit.as_ref().map(convert::log_id_from_pb),
        };
        let response = self
            .raft
            .append_entries(request)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(rest) = rest {
            sleep(rest).await;
        }
        use pb::append_response::Outcome;
        let outcome = match response {
            AppendEntriesResponse::Success => Outcome::Success(true),
            AppendEntriesResponse::PartialSuccess(Some(id)) => {
                Outcome::PartialSuccess(convert::log_id_to_pb(&id))
            }
            // Nothing was taken: the sender tries again from what it knows to match.
            AppendEntriesResponse::PartialSuccess(None) => return Err("nothing taken".to_string()),
            AppendEntriesResponse::Conflict => Outcome::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => Outcome::HigherVote(convert::vote_to_pb(&vote)),
        };
        Ok(pb::group_response::Kind::Append(pb::AppendResponse {
            outcome: Some(outcome),
        }))
    }

    async fn on_vote(&self, vote: pb::VoteRequest, pre: bool) -> Result<pb::group_response::Kind, String> {
        let request = VoteRequest::<SpineRaft> {
            vote: convert::vote_from_pb(vote.vote.as_ref().ok_or("vote request without vote")?),
            last_log_id: vote.last_log_id.as_ref().map(convert::log_id_from_pb),
            leadership_transfer: vote.leadership_transfer,
        };
        let response = if pre {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        }
        .map_err(|error: RaftError<SpineRaft>| error.to_string())?;
        Ok(pb::group_response::Kind::Vote(pb::VoteResponse {
            vote: Some(convert::vote_to_pb(&response.vote)),
            granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(convert::log_id_to_pb),
        }))
    }

    async fn on_transfer(
        &self,
        transfer: pb::TransferLeaderRequest,
    ) -> Result<pb::group_response::Kind, String> {
        let from = transfer.from_leader.as_ref().ok_or("transfer without vote")?;
        let request = TransferLeaderRequest::<SpineRaft>::new(
            convert::vote_from_pb(from),
            transfer.to_replica,
            transfer.last_log_id.as_ref().map(convert::log_id_from_pb),
        );
        let response = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(|fatal| fatal.to_string())?;
        let (accepted, reason) = match response {
            Ok(()) => (true, String::new()),
            Err(error) => (false, error.to_string()),
        };
        Ok(pb::group_response::Kind::TransferLeader(
            pb::TransferLeaderResponse { accepted, reason },
        ))
    }

    /// Says this replica's digest, and begins to doubt it where who asks has another one.
    fn on_digest(&self, request: &pb::DigestRequest) -> pb::group_response::Kind {
        let ours = self.store().digest_at(request.index);
        if let Some(theirs) = Digest::from_bytes(&request.digest) {
            self.store().doubt(request.index, theirs);
        }
        let digest = ours.map(|digest| digest.to_bytes().to_vec().into());
        pb::group_response::Kind::Digest(pb::DigestResponse {
            digest: digest.unwrap_or_default(),
        })
    }

    /// Takes a snapshot that a leader streams: into a new directory, verified, then switched to.
    pub async fn receive_snapshot(
        &self,
        start: pb::SnapshotStart,
        inflow: &mut dyn SnapshotInflow,
    ) -> pb::GroupResponse {
        if start.target_replica != self.identity().replica_id {
            return unavailable("another replica lives here");
        }
        match self.take_snapshot(start, inflow).await {
            Ok(vote) => pb::GroupResponse {
                kind: Some(pb::group_response::Kind::Snapshot(pb::SnapshotResponse {
                    vote: Some(vote),
                })),
            },
            Err(reason) => {
                tracing::warn!(shard = self.identity().shard, reason, "receive snapshot");
                unavailable(reason)
            }
        }
    }

    async fn take_snapshot(
        &self,
        start: pb::SnapshotStart,
        inflow: &mut dyn SnapshotInflow,
    ) -> Result<v1::Vote, String> {
        let vote = start
            .vote
            .as_ref()
            .map(convert::vote_from_pb)
            .ok_or("snapshot without vote")?;
        let header = start.header.ok_or("snapshot without header")?;
        let state = header.state.clone().ok_or("snapshot without state")?;
        let meta = SnapshotMetaOf::<SpineRaft> {
            last_log_id: state.applied.as_ref().map(convert::log_id_from_pb),
            last_membership: convert::stored_membership(&state).map_err(|error| error.to_string())?,
        };
        let installed = receive(self.store(), header, inflow).await?;
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotData::Installed(Box::new(installed)),
        };
        let response = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(|fatal| fatal.to_string())?;
        Ok(convert::vote_to_pb(&response.vote))
    }
}

/// How long to rest after a message that brings so much, all of it committed by others, that this replica must be far
/// behind: nobody waits for its answer, and callers of the others come first.
fn rest_after(append: &pb::AppendRequest) -> Option<Duration> {
    let last = append.entries.last()?.log_id.as_ref()?;
    let committed = append.leader_commit.as_ref()?;
    let entries = u32::try_from(append.entries.len()).unwrap_or(u32::MAX);
    let far_behind = entries >= CATCH_UP_ENTRIES_MIN && last.index <= committed.index;
    far_behind.then(|| CATCH_UP_REST.saturating_mul(entries))
}

/// Takes in the parts of a snapshot beside the store's present state.
pub(crate) async fn receive(
    store: &ReplicaStore,
    header: v1::SnapshotHeader,
    inflow: &mut dyn SnapshotInflow,
) -> Result<Installed, String> {
    let begun = blocking(|| SnapshotInstaller::begin(store, header));
    let mut installer = begun.map_err(|error| error.to_string())?;
    let end = loop {
        match inflow.next().await.ok_or("stream ended early")? {
            pb::snapshot_part::Kind::Chunk(chunk) => {
                let taken = in_background(|| installer.chunk(chunk)).await;
                taken.map_err(|error| error.to_string())?;
            }
            pb::snapshot_part::Kind::End(end) => break end,
            pb::snapshot_part::Kind::Start(_) => return Err("second start".to_string()),
            pb::snapshot_part::Kind::Abort(reason) => {
                return Err(format!("aborted by the sender: {reason}"));
            }
        }
    };
    blocking(|| installer.finish(&end)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(entries: u64, committed: Option<u64>) -> pb::AppendRequest {
        let id = |index| v1::LogId {
            index,
            ..v1::LogId::default()
        };
        pb::AppendRequest {
            entries: (1..=entries)
                .map(|index| v1::LogEntry {
                    log_id: Some(id(index)),
                    ..v1::LogEntry::default()
                })
                .collect(),
            leader_commit: committed.map(id),
            ..pb::AppendRequest::default()
        }
    }

    #[test]
    fn only_what_is_committed_already_may_wait() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(&append(40, Some(40))), Some(ms(4)));
        assert_eq!(rest_after(&append(900, Some(5_000))), Some(ms(90)));
        assert_eq!(
            rest_after(&append(40, Some(39))),
            None,
            "one may need this answer"
        );
        assert_eq!(rest_after(&append(40, None)), None);
        assert_eq!(rest_after(&append(31, Some(5_000))), None, "a breath behind");
        assert_eq!(rest_after(&append(0, Some(5_000))), None);
    }
}
