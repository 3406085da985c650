//! How a node follows the cluster's plan: whoever has a newer one says so in every watch frame, and is asked for it.
//!
//! Order of following: log and state of every replica that is new here, then the plan on disk, then the plan in force.
//! So, as after `cluster init`, the stored plan says that every replica it gives to this node was once complete here;
//! one that is missing later was lost, and may not vote.

use std::sync::Arc;
use std::time::Duration;

use spine_consensus::runtime::blocking;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{Lane, PlanRequest};
use spine_proto::storage::v1::{ClusterPlan, NodeState, PlanNode};
use tokio::sync::watch;
use tokio::time::sleep;

use super::bootstrap::BootstrapError;
use super::change::{is_new, replica_on};
use crate::node::{Inner, NodeError, Running, grpc_addresses};
use crate::shard::map::ShardMap;

/// A node that is asked for its plan answers within this.
const PLAN_DEADLINE: Duration = Duration::from_secs(2);
/// A node that was given up can fetch the plan that says so for so long.
const GOODBYE_TIME: Duration = Duration::from_secs(2);
/// Before a plan that could not be had, or followed, is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The newest plan heard of: its epoch, and a node that follows it.
pub struct PlanNews(watch::Sender<(u64, u64)>);

impl Default for PlanNews {
    fn default() -> Self {
        Self(watch::Sender::new((0, 0)))
    }
}

impl PlanNews {
    /// A peer says that it follows the plan of this epoch.
    pub fn heard(&self, peer: u64, epoch: u64) {
        self.0.send_if_modified(|newest| {
            let is_news = epoch > newest.0;
            if is_news {
                *newest = (epoch, peer);
            }
            is_news
        });
    }
}

/// Fetches and follows newer plans until the node stops.
pub async fn run(node: Arc<Inner>) {
    let mut news = node.plan_news.0.subscribe();
    let mut said = String::new();
    loop {
        let (epoch, peer) = *news.borrow_and_update();
        let known = node.running().map_or(0, |running| running.plan().epoch);
        if epoch > known {
            if let Err(error) = fetch(&node, peer).await {
                let error = error.to_string();
                if error != said {
                    tracing::warn!(peer, epoch, error, "the cluster's plan cannot be followed yet");
                    said = error;
                }
                // A newer frame of that peer, or of another one, names it again.
                node.plan_news.0.send_modify(|newest| newest.0 = known);
                sleep(AGAIN_AFTER).await;
            }
        } else if news.changed().await.is_err() {
            return;
        }
    }
}

async fn fetch(node: &Arc<Inner>, peer: u64) -> Result<(), NodeError> {
    let links = node.peers.links();
    let asked = links.call(NodeId(peer), Lane::Log, Body::Plan(PlanRequest {}), PLAN_DEADLINE);
    match asked.await {
        Ok(Body::PlanIs(answer)) => match answer.plan {
            Some(plan) => node.follow(plan).await,
            None => Err(BootstrapError::Format.into()),
        },
        Ok(_) => Err(BootstrapError::Format.into()),
        Err(error) => Err(NodeError::open("the plan of a peer", error)),
    }
}

impl Inner {
    /// Follows a plan from now on, if it is newer than the present one.
    ///
    /// # Errors
    /// A plan of another cluster; a disk that does not take what is new. The present plan then stays in force.
    pub async fn follow(&self, plan: ClusterPlan) -> Result<(), NodeError> {
        let _one_at_a_time = self.adopting.lock().await;
        let Some(running) = self.running() else {
            return Ok(());
        };
        let known = running.plan();
        if plan.cluster_id != known.cluster_id || plan.incarnation != known.incarnation {
            return Err(BootstrapError::AnotherCluster.into());
        }
        if plan.epoch <= known.epoch {
            return Ok(());
        }
        self.begin_new_replicas(&running, &plan).await?;
        blocking(|| self.plan_files().store_plan(&plan))?;
        tracing::info!(epoch = plan.epoch, "follow the cluster's plan");
        self.put_in_force(&running, plan);
        Ok(())
    }

    /// Begins every replica that the plan gives to this node anew. One that was begun under an earlier plan is either
    /// here or lost.
    async fn begin_new_replicas(&self, running: &Running, plan: &ClusterPlan) -> Result<(), NodeError> {
        let before = running.plan();
        for shard in &plan.shards {
            let Some(here) = replica_on(shard, running.node_id) else {
                continue;
            };
            let known = before.shards.iter().find(|planned| planned.shard == shard.shard);
            let was_here = known.and_then(|known| replica_on(known, running.node_id)) == Some(here);
            if was_here || !is_new(shard, here.replica_id) {
                continue;
            }
            let begun = running.opener.create_new(shard).await;
            begun.map_err(|fault| NodeError::open(format!("replica of shard {}", shard.shard), fault))?;
        }
        Ok(())
    }

    /// A node that was given up is talked to for a moment longer, so that it hears of it.
    fn let_go_later(&self) {
        let (peers, running) = (Arc::clone(&self.peers), self.running());
        self.spawn(async move {
            sleep(GOODBYE_TIME).await;
            if let Some(running) = running {
                peers.set_plan(&running.plan(), &[]);
            }
        });
    }

    fn put_in_force(&self, running: &Running, plan: ClusterPlan) {
        let plan = Arc::new(plan);
        let before = running.plan();
        let was_there = |node: &&PlanNode| {
            before
                .nodes
                .iter()
                .any(|known| known.node_id == node.node_id && known.state() != NodeState::Removed)
        };
        let removed = plan
            .nodes
            .iter()
            .filter(|node| node.state() == NodeState::Removed);
        let leaving: Vec<u64> = removed.filter(was_there).map(|node| node.node_id).collect();
        self.peers.set_plan(&plan, &leaving);
        if !leaving.is_empty() {
            self.let_go_later();
        }
        self.host.set_map(ShardMap::of(&plan));
        running.dispatcher.set_grpc_addresses(grpc_addresses(&plan));
        running.time.set_nodes(plan.nodes.len());
        running.set_plan(plan);
    }
}
