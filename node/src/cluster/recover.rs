//! A cluster that lost its majority for good goes on as a new incarnation, from what one node has, or several
//! (`survivors.rs`).
//!
//! Order: 1 the order on disk, given by an operator while no node is heard that is to be left out; the process ends. 2 At
//! the next start each replica that the order gives to this node is made anew under a new id, alone in its group, from its
//! old state and all of its old log, committed or not: what was acknowledged may be there only. 3 The plan. 4 The order is
//! removed. Power may go anywhere: what was done is done again or found done. Nodes of the earlier incarnation are refused
//! by its number.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use spine_consensus::replay::replay_all;
use spine_proto::admin::v1 as pb;
use spine_proto::ids::NodeId;
use spine_proto::storage::v1::{ClusterPlan, Membership, NodeState, PlanShard, VoterSet};
use spine_services::{ErrorKind, SpineError};
use spine_storage::disk::Disk;
use spine_storage::ids::{LogId, Vote};
use spine_storage::replica::{ApplyPayload, ReplicaStore};
use spine_storage::snapshot::SnapshotInstaller;
use tokio::time::sleep;

use super::change::replica_on;
use super::rows;
use super::survivors::{Survivors, ends, next_incarnation, nobody_has, remove_hold};
use crate::dispatch::failure::not_initialised;
use crate::node::{Inner, NodeError};
use crate::repair::Opener;
use crate::shard::map::META_SHARD;
use crate::shard::proposals::txn_entry;
use crate::status::why_stopped;
use crate::twice;

const ORDER: &str = "RECOVER";
/// Replica ids hold the incarnation above the counter.
pub(super) const INCARNATION_SHIFT: u32 = 48;
/// The answer leaves before the process ends.
const END_AFTER: Duration = Duration::from_millis(500);

/// The incarnation in which a replica id was given.
#[must_use]
pub fn incarnation_of(replica: u64) -> u64 {
    replica >> INCARNATION_SHIFT
}

/// The plan of an order that was given and not yet carried out.
///
/// # Errors
/// What the disk says, or an order that is not one.
pub fn ordered(disk: &dyn Disk, dir: &Path) -> io::Result<Option<ClusterPlan>> {
    let content = twice::read(disk, &dir.join(ORDER))?;
    content
        .map(|content| ClusterPlan::decode(&content[..]).map_err(io::Error::other))
        .transpose()
}

/// Forgets an order that was carried out, and the hold before it.
///
/// # Errors
/// What the disk says.
pub fn remove_order(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    remove_hold(disk, dir)?;
    twice::remove(disk, &dir.join(ORDER))
}

pub(super) fn conflict(reason: &'static str, message: impl Into<String>) -> SpineError {
    SpineError::new(ErrorKind::Conflict, reason, message)
}

pub(super) fn check_consent(accept_data_loss: bool) -> Result<(), SpineError> {
    if accept_data_loss {
        return Ok(());
    }
    let why = "a new incarnation loses what only other nodes had; accept that";
    Err(conflict("DATA_LOSS_NOT_ACCEPTED", why))
}

impl Inner {
    /// Orders a new incarnation from what this node has; the process ends, and begins it when it is started again.
    ///
    /// # Errors
    /// No consent; another node is heard; a shard that is not here, or whose replica does not run.
    pub fn recover_cluster(
        self: &Arc<Self>,
        request: &pb::RecoverClusterRequest,
    ) -> Result<pb::RecoverClusterResponse, SpineError> {
        let running = self.running().ok_or_else(not_initialised)?;
        check_consent(request.accept_data_loss)?;
        let plan = running.plan();
        self.check_unheard(&plan, &[running.node_id])?;
        let mut here = self.host.all();
        here.retain(|shard| why_stopped(shard).is_none());
        let only = Survivors::from([(running.node_id, ends(&here))]);
        let (next, shards) = next_incarnation(&plan, &only).map_err(nobody_has)?;
        self.order_incarnation(&next)?;
        Ok(pb::RecoverClusterResponse {
            incarnation: next.incarnation,
            shards,
        })
    }

    /// Whether no other node than the survivors is heard.
    pub(super) fn check_unheard(&self, plan: &ClusterPlan, survivors: &[u64]) -> Result<(), SpineError> {
        let own = self.running().map_or(0, |running| running.node_id);
        let others = plan
            .nodes
            .iter()
            .filter(|node| node.state() != NodeState::Removed)
            .filter(|node| node.node_id != own && !survivors.contains(&node.node_id));
        for node in others {
            if !self.peers.is_gone(NodeId(node.node_id)) {
                let why = format!(
                    "node {} is heard: start the others again; or stop it, or go on from it, too (--endpoints A,B,C)",
                    node.node_id
                );
                return Err(conflict("QUORUM_POSSIBLE", why));
            }
        }
        Ok(())
    }

    /// Durable on return; the process ends a moment later.
    pub(super) fn order_incarnation(self: &Arc<Self>, next: &ClusterPlan) -> Result<(), SpineError> {
        let path = self.config.node.data_dir.join(ORDER);
        twice::write(self.parts.disk.as_ref(), &path, &next.encode_to_vec())
            .map_err(|error| SpineError::new(ErrorKind::Corrupt, "STORE_DAMAGED", error.to_string()))?;
        tracing::error!(
            incarnation = next.incarnation,
            "a new incarnation is ordered; this process ends"
        );
        self.end_soon("a new incarnation begins at the next start");
        Ok(())
    }

    pub(super) fn end_soon(self: &Arc<Self>, why: &'static str) {
        let fatal = self.fatal.clone();
        self.spawn(async move {
            sleep(END_AFTER).await;
            fatal.send_replace(Some(why.to_string()));
        });
    }
}

/// Makes every replica that the new incarnation gives to this node from that of the earlier one here.
///
/// # Errors
/// A replica whose state or log is damaged, or what the disk says. Done again at the next start.
pub async fn carry_out(opener: &Opener, before: &ClusterPlan, after: &ClusterPlan) -> Result<(), NodeError> {
    for new in &after.shards {
        if new.members.iter().all(|member| member.node_id != opener.node_id) {
            // It goes on from another survivor.
            continue;
        }
        let failed = |error: String| NodeError::open(format!("replica of shard {}", new.shard), error);
        let old = before.shards.iter().find(|planned| planned.shard == new.shard);
        let member = old.and_then(|old| replica_on(old, opener.node_id));
        let (Some(old), Some(member)) = (old, member) else {
            return Err(failed("there is no earlier one here".to_string()));
        };
        let old = PlanShard {
            members: vec![member],
            change: None,
            ..old.clone()
        };
        make_anew(opener, &old, new, after).await.map_err(failed)?;
        tracing::warn!(shard = new.shard, "a replica goes on alone in a new incarnation");
    }
    Ok(())
}

async fn make_anew(
    opener: &Opener,
    old: &PlanShard,
    new: &PlanShard,
    after: &ClusterPlan,
) -> Result<(), String> {
    let log = opener.log(new);
    if log.exists() && log.vote().is_some() {
        // The vote is the last that is written.
        return Ok(());
    }
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let store = opener.open(old).map_err(|error| text(&error))?;
    let old_log = opener.log(old);
    replay_all(&old_log, &store, &opener.checkpoints)
        .await
        .map_err(|error| text(&error))?;
    let end = found(opener, &store, &old_log, new, after)?;
    opener
        .checkpoints
        .checkpoint(&store)
        .await
        .map_err(|error| text(&error))?;

    opener.create_new(new).await.map_err(|error| text(&error))?;
    let target = opener.open_behind(new).map_err(|error| text(&error))?;
    let source = opener.checkpoints.snapshot(&store, new.shard).await;
    let mut source = source.map_err(|error| text(&error))?;
    let mut installer = SnapshotInstaller::begin(&target, source.header()).map_err(|error| text(&error))?;
    while let Some(chunk) = source.next_chunk().map_err(|error| text(&error))? {
        installer.chunk(chunk).map_err(|error| text(&error))?;
    }
    let sent = source.end().map_err(|error| text(&error))?;
    let installed = installer.finish(&sent).map_err(|error| text(&error))?;
    target.install(installed).map_err(|error| text(&error))?;
    log.purge(end).await.map_err(|error| text(&error))?;
    let vote = Vote {
        term: end.term,
        leader: end.leader,
        committed: false,
    };
    let (done, written) = tokio::sync::oneshot::channel();
    let done = Box::new(move |result| drop(done.send(result)));
    log.save_vote(vote, done).await.map_err(|error| text(&error))?;
    match written.await {
        Ok(written) => written.map_err(|error| text(&error)),
        Err(_) => Err("the log has ended".to_string()),
    }
}

/// Applies what begins the new incarnation behind everything else: the plan as rows, in the meta group, and the membership
/// of one. Where that ends.
fn found(
    opener: &Opener,
    store: &ReplicaStore,
    old_log: &spine_storage::wal::GroupLog,
    new: &PlanShard,
    after: &ClusterPlan,
) -> Result<LogId, String> {
    let replica = replica_on(new, opener.node_id)
        .ok_or("it has no new replica")?
        .replica_id;
    let applied = store.applied().unwrap_or_default();
    let membership = Membership {
        configs: vec![VoterSet {
            replica_ids: vec![replica],
        }],
        members: new.members.clone(),
    };
    if store.membership().1 == membership {
        return Ok(applied);
    }
    let promised = old_log.vote().map_or(0, |vote| vote.term);
    let mut id = LogId {
        term: applied.term.max(promised) + 1,
        leader: replica,
        index: applied.index,
    };
    let mut next = || {
        id.index += 1;
        id
    };
    let mut entries = Vec::new();
    if new.shard == META_SHARD {
        let stored = store
            .read(|view| rows::read(view))
            .map_err(|error| error.to_string())?;
        let stored = stored.map_err(|error| error.to_string())?;
        if let Some(stored) = stored {
            let sub = rows::recovered(&stored, after);
            entries.push((next(), ApplyPayload::Entry(txn_entry(vec![sub], 0))));
        }
    }
    entries.push((next(), ApplyPayload::Membership(membership)));
    store.apply(entries).map_err(|error| error.to_string())?;
    store.applied().ok_or_else(|| "nothing was applied".to_string())
}
