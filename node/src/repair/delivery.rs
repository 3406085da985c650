//! How a replica without state gets one: it asks a peer, and the peer streams a snapshot back on the bulk lane.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use spine_consensus::repair::offer;
use spine_consensus::transport::SnapshotReceiver;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1 as pb;
use tokio::sync::oneshot;

use crate::node::Inner;
use crate::peers::unavailable;

/// A snapshot that arrived, and whom to tell what became of it.
pub(super) struct Delivery {
    pub(super) start: pb::SnapshotStart,
    pub(super) parts: SnapshotReceiver,
    pub(super) done: oneshot::Sender<Result<(), String>>,
}

/// Replicas of this node that wait for a snapshot, by shard.
#[derive(Default)]
pub struct Deliveries {
    waiting: Mutex<BTreeMap<u32, (u64, oneshot::Sender<Delivery>)>>,
}

impl Deliveries {
    /// From now on the next snapshot for this replica goes to the receiver.
    pub(super) fn expect(&self, shard: u32, replica_id: u64) -> oneshot::Receiver<Delivery> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(shard, (replica_id, sender));
        receiver
    }

    /// Nothing is expected any more.
    pub(super) fn forget(&self, shard: u32) {
        self.waiting.lock().remove(&shard);
    }

    /// A snapshot arrives for a shard that does not run here.
    pub(crate) async fn take(&self, start: pb::SnapshotStart, parts: SnapshotReceiver) -> pb::GroupResponse {
        let waiting = {
            let mut waiting = self.waiting.lock();
            match waiting.get(&start.shard) {
                Some((replica_id, _)) if *replica_id == start.target_replica => waiting.remove(&start.shard),
                _ => None,
            }
        };
        let Some((_, sender)) = waiting else {
            return unavailable("no replica of this shard here");
        };
        let (done, outcome) = oneshot::channel();
        if sender.send(Delivery { start, parts, done }).is_err() {
            return unavailable("nobody waits for it any more");
        }
        match outcome.await {
            Ok(Ok(())) => pb::GroupResponse {
                kind: Some(pb::group_response::Kind::Snapshot(pb::SnapshotResponse::default())),
            },
            Ok(Err(reason)) => unavailable(&reason),
            Err(_) => unavailable("stopped"),
        }
    }
}

/// Answers a replica that asks for this node's state; what it asked for follows by itself.
pub async fn offered(
    node: &Arc<Inner>,
    from: NodeId,
    shard: u32,
    request: pb::PullSnapshotRequest,
) -> pb::GroupResponse {
    let (Some(running), Some(shard)) = (node.running(), node.host.shard(shard)) else {
        return unavailable("no replica of this shard here");
    };
    let roster = shard.group.roster();
    let asks = (request.for_replica, from.0);
    if !roster.voters.contains(&asks) && !roster.learners.contains(&asks) {
        return unavailable("not a replica of this shard");
    }
    match offer(&shard.group, &running.checkpoints, &request).await {
        Ok((start, feed)) => {
            let node_ref = Arc::clone(node);
            node.spawn(async move {
                let sent = spine_consensus::peers::Peers::send_snapshot(
                    node_ref.peers.as_ref(),
                    from.0,
                    start,
                    feed,
                )
                .await;
                if let Err(error) = sent {
                    tracing::warn!(peer = from.0, %error, "send state to a replica that lost its own");
                }
            });
            pb::GroupResponse {
                kind: Some(pb::group_response::Kind::PullSnapshot(
                    pb::PullSnapshotResponse {},
                )),
            }
        }
        Err(reason) => unavailable(&reason),
    }
}
