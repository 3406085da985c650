//! Finds the replica that shows a watch its changes: this node's own, or another node's, to which the caller is sent.
//!
//! Any replica may serve: it shows what it has applied, which is committed, if perhaps late.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;
use spine_proto::records::v1::{WatchRequest, WatchResponse};
use spine_services::operation::Operation as _;
use spine_services::records::watch::{self, Watch};
use spine_services::{ErrorKind, Principal, SpineError, authorise, catalogue};
use spine_storage::replica::FeedEntry;
use tokio::time::Instant;

use super::call::Dispatcher;
use super::failure::{no_leader, not_initialised};
use crate::shard::host::Shard;

/// A watch that this node's own replica can serve.
pub struct Opened {
    /// The replica.
    pub shard: Arc<Shard>,
    /// What the keys asked for begin with.
    pub prefix: Bytes,
    /// First index to show.
    pub from: u64,
    /// The caller does not know this index yet.
    pub from_now: bool,
}

impl Dispatcher {
    /// Begins a watch here.
    ///
    /// # Errors
    /// `WATCH_ELSEWHERE` where another node can show what is asked for and this one cannot, `COMPACTED` where no node
    /// can, and the errors of every call.
    pub async fn open_watch(
        &self,
        request: &WatchRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<Opened, SpineError> {
        authorise(principal, catalogue::find(Watch::NAME)?)?;
        let prefix = watch::prefix(&self.executor.subject_key, request)?;
        let slot = Watch::routing_key(request)?.slot();
        let map = self.host.map().ok_or_else(not_initialised)?;
        let shard = map.shard_of(slot).ok_or_else(not_initialised)?;
        let from_now = request.from_index == 0;
        let from = if from_now {
            self.now(request, principal, deadline).await?
        } else {
            request.from_index
        };
        match self.host.shard(shard) {
            Some(hosted) if can_show(&hosted, from) => Ok(Opened {
                shard: hosted,
                prefix,
                from,
                from_now,
            }),
            Some(_) | None => Err(self.elsewhere(shard, from).await),
        }
    }

    /// The index behind everything committed before the call: the shard's leader proves it, as for a read.
    async fn now(
        &self,
        request: &WatchRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<u64, SpineError> {
        let body = Bytes::from(request.encode_to_vec());
        let answer = self.call(Watch::NAME, body, principal, deadline).await?;
        let position = WatchResponse::decode(answer.body)
            .map_err(|_| SpineError::new(ErrorKind::Internal, "INTERNAL", "response of another kind"))?;
        Ok(position.index + 1)
    }

    /// Sends the caller to the node that reaches back furthest, if it reaches back far enough.
    async fn elsewhere(&self, shard: u32, from: u64) -> SpineError {
        let nodes = self.host.map().map(|map| map.nodes_of(shard)).unwrap_or_default();
        let others = nodes.into_iter().filter(|node| *node != self.node_id);
        let asked = others.map(|node| async move {
            let floor = self.forwarder.watch_floor(node, shard).await?;
            Some((floor, node))
        });
        let furthest = join_all(asked).await.into_iter().flatten().min();
        let own = self
            .host
            .shard(shard)
            .map(|hosted| hosted.group.store().feed_floor());
        match (furthest, own) {
            (Some((floor, node)), _) if floor <= from => self.sent_to(shard, node),
            (Some((floor, _)), own) => compacted(shard, own.map_or(floor, |own| own.min(floor))),
            (None, Some(own)) if own > from => compacted(shard, own),
            (None, _) => no_leader(shard),
        }
    }

    fn sent_to(&self, shard: u32, node: u64) -> SpineError {
        let address = self.grpc_addresses.load().get(&node).cloned().unwrap_or_default();
        let error = SpineError::new(
            ErrorKind::NotLeader,
            "WATCH_ELSEWHERE",
            "another node can show the changes from this index on",
        );
        error.with_leader(shard, address)
    }

    /// Whether a replica learns of new changes: it leads with a majority, or hears who leads.
    #[must_use]
    pub fn in_touch(&self, shard: &Shard) -> bool {
        let status = shard.group.status();
        let voters: Vec<u64> = shard.group.voters().iter().map(|m| m.1).collect();
        let alive = self.forwarder.alive(&voters);
        let is_heard = |node: &&u64| **node == self.node_id || alive.contains(*node);
        let heard = voters.iter().filter(is_heard).count();
        let leader = status.leader.map(|(_, node)| node);
        status.stopped.is_none()
            && heard > voters.len() / 2
            && leader.is_some_and(|node| node == self.node_id || alive.contains(&node))
    }

    /// One entry of a feed as the caller of a watch sees it.
    ///
    /// # Errors
    /// `STORE_DAMAGED`
    pub fn shown(&self, entry: &FeedEntry, prefix: &[u8]) -> Result<WatchResponse, SpineError> {
        let changes = entry.changes.iter();
        let changes = changes.map(|change| (&change.key, change.record.as_ref()));
        watch::event(&self.executor.subject_key, prefix, entry.index, changes)
    }
}

fn can_show(shard: &Shard, from: u64) -> bool {
    shard.group.status().stopped.is_none() && from >= shard.group.store().feed_floor()
}

pub(super) fn compacted(shard: u32, floor: u64) -> SpineError {
    let mut error = SpineError::new(
        ErrorKind::Conflict,
        "COMPACTED",
        format!("changes are kept from index {floor} on; list, then watch from there"),
    );
    error.shard = shard;
    error
}
