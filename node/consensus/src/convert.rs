//! openraft's types to and from Spine's own protobuf. openraft's layouts never reach a wire or a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId as _;
use prost::Message as _;
use spine_proto::storage::v1 as pb;
use spine_storage::ids::{LogId, Vote};

use crate::types::{
    Command, RaftEntry, RaftLeaderId, RaftLogId, RaftMembership, RaftStoredMembership, RaftVote, ReplicaNode,
};

pub(crate) fn log_id(id: &RaftLogId) -> LogId {
    let leader = id.committed_leader_id();
    LogId {
        term: leader.term,
        leader: leader.node_id,
        index: id.index(),
    }
}

pub(crate) fn raft_log_id(id: LogId) -> RaftLogId {
    RaftLogId::new(RaftLeaderId::new(id.term, id.leader), id.index)
}

pub(crate) fn vote(vote: &RaftVote) -> Vote {
    Vote {
        term: vote.leader_id().term,
        leader: vote.leader_id().node_id,
        committed: vote.is_committed(),
    }
}

pub(crate) fn raft_vote(vote: Vote) -> RaftVote {
    if vote.committed {
        RaftVote::new_committed(vote.term, vote.leader)
    } else {
        RaftVote::new(vote.term, vote.leader)
    }
}

pub(crate) fn vote_to_pb(v: &RaftVote) -> pb::Vote {
    let v = vote(v);
    pb::Vote {
        term: v.term,
        leader: v.leader,
        committed: v.committed,
    }
}

pub(crate) fn vote_from_pb(v: &pb::Vote) -> RaftVote {
    raft_vote(Vote {
        term: v.term,
        leader: v.leader,
        committed: v.committed,
    })
}

pub(crate) fn log_id_to_pb(id: &RaftLogId) -> pb::LogId {
    let id = log_id(id);
    pb::LogId {
        term: id.term,
        leader: id.leader,
        index: id.index,
    }
}

pub(crate) fn log_id_from_pb(id: &pb::LogId) -> RaftLogId {
    raft_log_id(LogId {
        term: id.term,
        leader: id.leader,
        index: id.index,
    })
}

pub(crate) fn membership_to_pb(membership: &RaftMembership) -> pb::Membership {
    pb::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|set| pb::VoterSet {
                replica_ids: set.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(replica_id, node)| pb::Member {
                replica_id: *replica_id,
                node_id: node.node_id,
            })
            .collect(),
    }
}

pub(crate) fn membership_from_pb(membership: &pb::Membership) -> io::Result<RaftMembership> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .iter()
        .map(|set| set.replica_ids.iter().copied().collect())
        .collect();
    let members: BTreeMap<u64, ReplicaNode> = membership
        .members
        .iter()
        .map(|m| (m.replica_id, ReplicaNode { node_id: m.node_id }))
        .collect();
    if configs.is_empty() {
        return Ok(RaftMembership::default());
    }
    RaftMembership::new(configs, members).map_err(|error| invalid(&error.to_string()))
}

pub(crate) fn stored_membership(state: &pb::ReplicaState) -> io::Result<RaftStoredMembership> {
    let membership = match &state.membership {
        Some(membership) => membership_from_pb(membership)?,
        None => RaftMembership::default(),
    };
    Ok(RaftStoredMembership::new(
        state.membership_log_id.as_ref().map(log_id_from_pb),
        membership,
    ))
}

/// An entry as the log and the wire carry it.
pub(crate) fn entry_to_pb(entry: &RaftEntry) -> pb::LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::log_entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(Command(bytes)) => pb::log_entry::Payload::Entry(bytes.clone()),
        EntryPayload::Membership(membership) => {
            pb::log_entry::Payload::Membership(membership_to_pb(membership))
        }
    };
    pb::LogEntry {
        log_id: Some(log_id_to_pb(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(crate) fn entry_from_pb(entry: pb::LogEntry) -> io::Result<RaftEntry> {
    let id = entry
        .log_id
        .as_ref()
        .map(log_id_from_pb)
        .ok_or_else(|| invalid("log entry without id"))?;
    let payload = match entry
        .payload
        .ok_or_else(|| invalid("log entry of an unknown kind"))?
    {
        pb::log_entry::Payload::Blank(_) => EntryPayload::Blank,
        pb::log_entry::Payload::Entry(bytes) => EntryPayload::Normal(Command(bytes)),
        pb::log_entry::Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from_pb(&membership)?)
        }
    };
    Ok(RaftEntry { log_id: id, payload })
}

pub(crate) fn encode_entry(entry: &RaftEntry) -> Bytes {
    entry_to_pb(entry).encode_to_vec().into()
}

pub(crate) fn decode_entry(bytes: Bytes) -> io::Result<RaftEntry> {
    entry_from_pb(pb::LogEntry::decode(bytes).map_err(|error| invalid(&error.to_string()))?)
}

pub(crate) fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_string())
}
