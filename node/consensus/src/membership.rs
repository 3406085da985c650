//! Who belongs to a group, and how one replica takes the place of another: learner, then both configurations at once,
//! then the new one alone. Every step may be asked for again, of this leader or of a later one.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};

use crate::group::{GroupError, RaftGroup};
use crate::types::{RaftStoredMembership, ReplicaNode};

/// The members of a group, as the newest membership in one replica's log has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// (replica id, node id) of all voters, of both configurations where there are two; in order of replica id.
    pub voters: Vec<(u64, u64)>,
    /// Of those who only follow.
    pub learners: Vec<(u64, u64)>,
    /// Whether two configurations are in force together.
    pub joint: bool,
    /// Whether this membership is known to be committed.
    pub committed: bool,
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeProgress {
    /// In force and committed.
    Done,
    /// The joining replica is being brought level.
    CatchingUp {
        /// Its log is known to match up to here.
        matched: u64,
        /// The leader's log ends here.
        last: u64,
    },
    /// Something was asked for whose end is to be awaited.
    Waits(&'static str),
    /// Everything is ready, but this leader is the one that is to leave: it must hand over first.
    LeaderLeaves,
    /// The replica that is to be taken out votes already: the change can only go on.
    Votes,
}

/// A replica this many entries behind is level: it gets the rest while it becomes a voter.
const LEVEL_ENTRIES_MAX: u64 = 64;

impl RaftGroup {
    /// Voters as (replica id, node id) in order of replica id; the first ones before there is a membership.
    #[must_use]
    pub fn voters(&self) -> Vec<(u64, u64)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters = voters_of(&metrics.membership_config);
        if voters.is_empty() {
            self.identity().first_voters.clone()
        } else {
            voters
        }
    }

    /// Whether two configurations are in force together.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        let metrics = self.raft.server_metrics();
        metrics
            .borrow_watched()
            .membership_config
            .get_joint_config()
            .len()
            > 1
    }

    /// Whether nobody else votes.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        match metrics.membership_config.voter_ids().count() {
            0 => self.identity().first_voters.len() < 2,
            voters => voters < 2,
        }
    }

    /// Everybody who belongs to the group.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let effective = &metrics.membership_config;
        let voters = voters_of(effective);
        let learners = effective
            .nodes()
            .filter(|(id, _)| !voters.iter().any(|(voter, _)| voter == *id))
            .map(|(id, node)| (*id, node.node_id))
            .collect();
        Roster {
            voters,
            learners,
            joint: effective.get_joint_config().len() > 1,
            committed: metrics.committed_membership_config.log_id() == effective.log_id(),
        }
    }

    /// The node of a replica, where this replica has heard of it.
    #[must_use]
    pub fn node_of(&self, replica: u64) -> Option<u64> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        self.node_in(&metrics.membership_config, replica)
    }

    /// The node of a replica by a membership; by the first one while that is empty.
    pub(crate) fn node_in(&self, membership: &RaftStoredMembership, replica: u64) -> Option<u64> {
        let first = || {
            let known = self.identity().first_voters.iter();
            known
                .copied()
                .find(|(id, _)| *id == replica)
                .map(|(_, node)| node)
        };
        membership
            .get_node(&replica)
            .map(|node| node.node_id)
            .or_else(first)
    }

    /// Takes the next step to the group in which `joining` votes and the replica `leaving` (0: nobody) is no more.
    /// Only a leader can; where it is the one that leaves it only says so, and must hand over first.
    ///
    /// # Errors
    /// As [`RaftGroup::propose`].
    pub async fn change_step(&self, joining: (u64, u64), leaving: u64) -> Result<ChangeProgress, GroupError> {
        self.ready_to_change().await?;
        let roster = self.roster();
        if !roster.committed {
            return Ok(ChangeProgress::Waits("an earlier change is not committed yet"));
        }
        let votes = |replica: u64| roster.voters.iter().any(|(id, _)| *id == replica);
        let (replica, node_id) = joining;
        if roster.joint || (votes(replica) && !votes(leaving)) {
            return self.settle(&roster).await;
        }
        if !votes(replica) {
            if !roster.learners.contains(&joining) {
                let added = self
                    .raft
                    .add_learner(replica, ReplicaNode { node_id }, false)
                    .await;
                self.changed(added.map(drop))?;
                return Ok(ChangeProgress::Waits("the joining replica begins to follow"));
            }
            let last = self.status().last_log_index;
            let matched = self.matched().into_iter().find(|(id, _)| *id == replica);
            let matched = matched.map_or(0, |(_, index)| index);
            if matched == 0 || matched.saturating_add(LEVEL_ENTRIES_MAX) < last {
                return Ok(ChangeProgress::CatchingUp { matched, last });
            }
        }
        if leaving == self.identity().replica_id {
            return Ok(ChangeProgress::LeaderLeaves);
        }
        let mut voters: BTreeSet<u64> = roster.voters.iter().map(|(id, _)| *id).collect();
        voters.insert(replica);
        voters.remove(&leaving);
        let changed = self.raft.change_membership(voters, false).await;
        self.changed(changed.map(drop))?;
        Ok(ChangeProgress::Waits("the new voters are being committed"))
    }

    /// Takes a replica that is no voter out of the group.
    ///
    /// # Errors
    /// As [`RaftGroup::propose`].
    pub async fn abandon_step(&self, joining: (u64, u64)) -> Result<ChangeProgress, GroupError> {
        self.ready_to_change().await?;
        let roster = self.roster();
        if !roster.committed {
            return Ok(ChangeProgress::Waits("an earlier change is not committed yet"));
        }
        if roster.joint || roster.voters.contains(&joining) {
            return Ok(ChangeProgress::Votes);
        }
        if !roster.learners.contains(&joining) {
            return Ok(ChangeProgress::Done);
        }
        let gone = ChangeMembers::RemoveNodes(BTreeSet::from([joining.0]));
        let changed = self.raft.change_membership(gone, false).await;
        self.changed(changed.map(drop))?;
        Ok(ChangeProgress::Waits("the joining replica is being taken out"))
    }

    /// A quiet group's lease has run out: an answer of the quorum renews it, or raft would refuse the change.
    async fn ready_to_change(&self) -> Result<(), GroupError> {
        self.ready_to_plan().await?;
        self.barrier().await.map(drop)
    }

    /// From two configurations to the newer one alone; done where that is so.
    async fn settle(&self, roster: &Roster) -> Result<ChangeProgress, GroupError> {
        if !roster.joint {
            return Ok(ChangeProgress::Done);
        }
        // A change of nothing: what it leaves is the newer configuration.
        let nothing = ChangeMembers::AddVoters(BTreeMap::new());
        let changed = self.raft.change_membership(nothing, false).await;
        self.changed(changed.map(drop))?;
        Ok(ChangeProgress::Waits("the old voters are being let go"))
    }

    fn changed(
        &self,
        result: Result<(), RaftError<crate::types::SpineRaft, ClientWriteError<crate::types::SpineRaft>>>,
    ) -> Result<(), GroupError> {
        match result {
            // One change at a time: the next look sees what became of the other one.
            Ok(()) | Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_))) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(self.not_leader(&forward))
            }
            Err(RaftError::APIError(_)) => Err(GroupError::Unknown),
            Err(RaftError::Fatal(fatal)) => Err(GroupError::Stopped(fatal.to_string())),
        }
    }
}

fn voters_of(membership: &RaftStoredMembership) -> Vec<(u64, u64)> {
    let node = |id: u64| membership.get_node(&id).map(|node| (id, node.node_id));
    membership.voter_ids().filter_map(node).collect()
}
