//! How a group begins: each first voter has the group's first membership before it takes part.
//!
//! openraft's own way is that one voter writes it and, as leader, gives it to the others. One that voted for that leader
//! and then lost it had neither a membership, without which it cannot stand, nor the right to write one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::EntryPayload;
use spine_storage::ids::LogId;
use spine_storage::wal::GroupLog;
use tokio::sync::oneshot;

use crate::convert;
use crate::types::{RaftEntry, RaftMembership, ReplicaNode};

/// Puts the first membership at the beginning of a log that has nothing; durable on return. The same entry on every first
/// voter, as if the first of them had led before the first term. `first_voters`: (replica id, node id).
///
/// # Errors
/// What the log says.
pub async fn begin(log: &GroupLog, first_voters: &[(u64, u64)]) -> io::Result<()> {
    let Some(leader) = first_voters.iter().map(|(replica, _)| *replica).min() else {
        return Ok(());
    };
    if log.last().is_some() || log.purged().is_some() || log.vote().is_some() {
        return Ok(());
    }
    let voters: BTreeSet<u64> = first_voters.iter().map(|(replica, _)| *replica).collect();
    let nodes: BTreeMap<u64, ReplicaNode> = first_voters
        .iter()
        .map(|(replica, node_id)| (*replica, ReplicaNode { node_id: *node_id }))
        .collect();
    let membership = RaftMembership::new(vec![voters], nodes);
    let membership = membership.map_err(|error| convert::invalid(&error.to_string()))?;
    let id = LogId {
        term: 0,
        leader,
        index: 0,
    };
    let entry = RaftEntry {
        log_id: convert::raft_log_id(id),
        payload: EntryPayload::Membership(membership),
    };
    let (done, written) = oneshot::channel();
    // Whoever waits is here until it is done, unless the process ends.
    let done = Box::new(move |result| drop(done.send(result)));
    log.append(vec![(id, convert::encode_entry(&entry))], done)
        .await?;
    written.await.map_err(io::Error::other)?
}
