//! An operator who changes the cluster all the time, while everything else goes wrong as well.

use std::time::Duration;

use rand::RngExt as _;
use spine_client::SpineClient;
use spine_node::node::Inner;
use spine_proto::admin::v1::{NodeState, PlanClusterRequest};
use spine_proto::storage::v1::{ClusterPlan, NodeState as Planned, PlanNode};
use tokio::time::sleep;

use super::cluster::Nodes;
use super::faults::Order;
use super::operator::{Addresses, admin};
use crate::workload::seeded;

/// Between two orders, ms.
const REST_MS: std::ops::Range<u64> = 50..900;
/// An order that nobody carries out is asked for so often.
const TRIES: usize = 12;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Only who is not heard is given up: it may be cut off a moment later.
const HEARD_PAUSE: Duration = Duration::from_millis(200);
/// So many nodes always stay, as every shard has so many replicas; who stays differs from seed to seed.
const NODES_MIN: usize = 3;

/// One order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MembersOrder {
    /// Let time pass.
    Rest(Duration),
    /// Make a node, by its id, this.
    Set(u64, NodeState),
    /// Make the load even.
    Balance,
}

/// The orders of a seed.
pub(super) fn draw(seed: u64, nodes: usize, time: Duration) -> Vec<Order> {
    let mut random = seeded(seed, "members");
    let mut movable: Vec<u64> = (1..=nodes as u64).collect();
    while movable.len() > nodes.saturating_sub(NODES_MIN).max(1) {
        movable.swap_remove(random.random_range(0..movable.len()));
    }
    let mut orders = Vec::new();
    let mut at = Duration::ZERO;
    while at < time {
        let rest = Duration::from_millis(random.random_range(REST_MS));
        at += rest;
        orders.push(MembersOrder::Rest(rest));
        let node = movable[random.random_range(0..movable.len())];
        orders.push(match random.random_range(0..10) {
            0..4 => MembersOrder::Set(node, NodeState::Leaving),
            4..6 => MembersOrder::Set(node, NodeState::Serving),
            6 => MembersOrder::Set(node, NodeState::Removed),
            _ => MembersOrder::Balance,
        });
    }
    // Nobody is left half gone: a node that leaves may have nowhere to go.
    // Nor is one that was to be given up while it was heard, which is refused.
    orders.extend((1..=nodes as u64).map(|node| MembersOrder::Set(node, NodeState::Serving)));
    orders.into_iter().map(Order::Members).collect()
}

impl MembersOrder {
    /// Whether it leaves a node where replicas may live.
    pub(super) fn puts_right(self) -> bool {
        matches!(self, Self::Set(_, NodeState::Serving))
    }

    /// Asks one node after the other, that one first which answered last. A refusal is an answer: what would leave too few
    /// replicas is refused.
    pub(super) async fn carry_out(
        self,
        client: &SpineClient,
        addresses: &Addresses,
        answers: &mut usize,
    ) -> Result<(), spine_client::Error> {
        if let Self::Rest(rest) = self {
            sleep(rest).await;
            return Ok(());
        }
        for _ in 0..TRIES {
            let admin = admin(client, addresses, *answers)?;
            let done = match self {
                Self::Rest(_) => return Ok(()),
                Self::Set(node, state) => admin.set_node_state(node, state).await,
                Self::Balance => admin.balance().await,
            };
            match done {
                Ok(_) => return Ok(()),
                Err(error) if error.reason == "NODE_HEARD" => sleep(HEARD_PAUSE).await,
                Err(error) if !error.is_retryable() => return Ok(()),
                Err(_) => {
                    *answers = (*answers + 1) % addresses.grpc.len();
                    sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }
}

/// The plan that no other one is newer than.
fn newest_plan(machines: &Nodes) -> Option<std::sync::Arc<ClusterPlan>> {
    let plans = machines
        .running()
        .filter_map(|inner| Some(inner.running()?.plan()));
    plans.max_by_key(|plan| plan.epoch)
}

/// Whether a node was given up: nobody talks to it, so it may know nothing of that and keep what it had.
pub(super) fn is_removed(machines: &Nodes, node: usize) -> bool {
    let plan = newest_plan(machines);
    let known = plan.as_ref().and_then(|plan| plan.nodes.get(node));
    known.is_some_and(|node| node.state() == Planned::Removed)
}

/// Whether nothing is left to do, in the eyes of every node that was not given up.
pub(super) fn is_settled(machines: &Nodes) -> bool {
    let Some(plan) = newest_plan(machines) else {
        return false;
    };
    let stands = |inner: &Inner| {
        let moves = inner.plan_cluster(&PlanClusterRequest::default());
        moves.is_ok_and(|moves| {
            moves.plan_epoch == plan.epoch
                && moves.moving.is_empty()
                && moves.next.is_empty()
                && !moves.balancing
        })
    };
    let stays = |node: &&PlanNode| node.state() != Planned::Removed;
    plan.nodes.iter().filter(stays).all(|node| {
        let mut running = machines.running();
        let id = |inner: &Inner| inner.running().map_or(0, |running| running.node_id);
        running.any(|inner| id(&inner) == node.node_id && stands(&inner))
    })
}
