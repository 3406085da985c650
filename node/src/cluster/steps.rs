//! One step of a shard's change, on the node that leads the shard or hosts the replica that comes. Each may be asked
//! for again: it is taken from what the group says of itself.

use std::sync::Arc;

use spine_consensus::group::GroupError;
use spine_consensus::membership::ChangeProgress;
use spine_proto::internal::raft::v1::change_response::Outcome;
use spine_proto::internal::raft::v1::{ChangeRequest, ChangeResponse};
use spine_proto::storage::v1::Member;

use super::change::replica_on;
use crate::node::Inner;
use crate::shard::host::Shard;

impl Inner {
    /// Takes the next step of a change, and says how far it has come.
    pub async fn change_step(&self, request: ChangeRequest) -> ChangeResponse {
        let outcome = match request.change.as_ref().and_then(|change| change.joining) {
            None => waits("a change without a replica that joins"),
            Some(joining) if request.is_created => self.is_created(request.shard, joining),
            Some(joining) => {
                let leaving = request.change.as_ref().map_or(0, |change| change.leaving);
                match self.host.shard(request.shard) {
                    None => Outcome::LeaderNode(0),
                    Some(shard) if request.abandon => self.abandon(&shard, joining, leaving).await,
                    Some(shard) => self.take_step(&shard, joining, leaving).await,
                }
            }
        };
        ChangeResponse {
            outcome: Some(outcome),
        }
    }

    /// The plan in force says that the replica was begun: see `follow.rs`.
    fn is_created(&self, shard: u32, joining: Member) -> Outcome {
        let plan = self.running().map(|running| running.plan());
        let mut shards = plan.iter().flat_map(|plan| &plan.shards);
        let planned = shards.find(|planned| planned.shard == shard);
        if planned.and_then(|planned| replica_on(planned, joining.node_id)) == Some(joining) {
            Outcome::Done(true)
        } else {
            waits("the node does not follow the plan yet")
        }
    }

    async fn take_step(&self, shard: &Arc<Shard>, joining: Member, leaving: u64) -> Outcome {
        let group = &shard.group;
        let joiner = (joining.replica_id, joining.node_id);
        // In a group that nobody writes to the replica of a node that is gone stays level, and a living voter would go for it.
        if !group.voters().contains(&joiner) && !self.hears(joining.node_id) {
            return waits("the node of the joining replica is silent");
        }
        let progress = group.change_step(joiner, leaving).await;
        // As for a planned stop: whoever led goes only when somebody else leads, so nobody waits for an election.
        if progress == Ok(ChangeProgress::LeaderLeaves) {
            return match self.best_successor(shard) {
                Some(successor) => match group.transfer_to(successor).await {
                    Ok(()) => waits("leadership is handed over"),
                    Err(error) => of_error(error),
                },
                None => waits("nobody can take leadership"),
            };
        }
        of_progress(progress)
    }

    /// Takes the joining replica out again. One that votes already stays: the change goes on to its end, which is told as
    /// `done: false`, and the planner replaces what was given up.
    async fn abandon(&self, shard: &Arc<Shard>, joining: Member, leaving: u64) -> Outcome {
        let replica = (joining.replica_id, joining.node_id);
        match shard.group.abandon_step(replica).await {
            Ok(ChangeProgress::Votes) => match self.take_step(shard, joining, leaving).await {
                Outcome::Done(_) => Outcome::Done(false),
                other => other,
            },
            progress => of_progress(progress),
        }
    }
}

fn waits(why: impl Into<String>) -> Outcome {
    Outcome::Waits(why.into())
}

fn of_progress(progress: Result<ChangeProgress, GroupError>) -> Outcome {
    match progress {
        Ok(ChangeProgress::Done) => Outcome::Done(true),
        Ok(ChangeProgress::CatchingUp { matched, last }) => {
            waits(format!("the joining replica has {matched} of {last} entries"))
        }
        Ok(ChangeProgress::Waits(why)) => waits(why),
        Ok(ChangeProgress::LeaderLeaves) => waits("the leader is to leave"),
        Ok(ChangeProgress::Votes) => waits("the joining replica votes already"),
        Err(error) => of_error(error),
    }
}

fn of_error(error: GroupError) -> Outcome {
    match error {
        GroupError::NotLeader { leader_node } => Outcome::LeaderNode(leader_node.unwrap_or(0)),
        other => waits(other.to_string()),
    }
}
