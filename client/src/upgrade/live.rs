//! A cluster that runs, seen through its administration.

use std::path::Path;
use std::time::Duration;

use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse, NodeSummary};

use super::canary;
use super::roll::Fleet;
use crate::admin::Admin;
use crate::client::SpineClient;
use crate::error::{Error, Result};

/// One look at a node: one that is down must not hold up the rest.
const LOOK_DEADLINE: Duration = Duration::from_secs(3);
/// A drain takes as long as the slowest of the node's shards.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
/// A shard asks all nodes, then commits one entry.
const RAISE_DEADLINE: Duration = Duration::from_secs(5);

/// Stops and starts processes.
pub trait Restart {
    /// Stops a node and starts it again with this program; need not wait until it serves.
    fn restart(
        &mut self,
        node: &NodeSummary,
        program: &Path,
    ) -> impl Future<Output = std::result::Result<(), String>>;
}

/// The nodes that a client knows, and a way to restart them.
pub struct LiveFleet<R, C> {
    client: SpineClient,
    /// A client that begins at this one node.
    client_of: C,
    restart: R,
}

impl<R: Restart, C: Fn(&str) -> Result<SpineClient>> LiveFleet<R, C> {
    /// A fleet; `client_of` makes a client that knows one node only.
    #[must_use]
    pub fn new(client: SpineClient, client_of: C, restart: R) -> Self {
        Self {
            client,
            client_of,
            restart,
        }
    }

    fn admin(&self, address: &str, deadline: Duration) -> Result<Admin> {
        Ok(self.client.admin(address)?.with_deadline(deadline))
    }
}

/// Whether the node that told this reaches most of the nodes, itself among them.
fn hears_a_majority(status: &GetClusterStatusResponse) -> bool {
    let heard = status.nodes.iter().filter(|node| node.reachable).count();
    2 * heard > status.nodes.len()
}

impl<R: Restart, C: Fn(&str) -> Result<SpineClient>> Fleet for LiveFleet<R, C> {
    async fn cluster(&mut self) -> Result<GetClusterStatusResponse> {
        let (mut last, mut cut_off) = (None, None);
        for address in self.client.endpoints().to_vec() {
            let admin = self.admin(address.as_str(), LOOK_DEADLINE)?;
            match admin.cluster_status().await {
                // One that has just started does not know yet that it is part of a cluster.
                Ok(status) if status.cluster_id.is_empty() => {}
                Ok(status) if hears_a_majority(&status) => return Ok(status),
                // To one that is cut off no shard has anything to lose.
                Ok(status) => cut_off = cut_off.or(Some(status)),
                Err(error) => last = Some(error),
            }
        }
        cut_off.ok_or_else(|| last.unwrap_or_else(|| Error::malformed_answer("a cluster")))
    }

    async fn node(&mut self, address: &str) -> Result<GetNodeStatusResponse> {
        self.admin(address, LOOK_DEADLINE)?.node_status().await
    }

    async fn drain(&mut self, address: &str, undo: bool) -> Result<u32> {
        self.admin(address, DRAIN_DEADLINE)?.drain_node(undo).await
    }

    async fn raise_level(&mut self, address: &str, shard: u32, level: u32) -> Result<u32> {
        let admin = self.admin(address, RAISE_DEADLINE)?;
        admin.raise_level(shard, level).await
    }

    async fn restart(&mut self, node: &NodeSummary, program: &Path) -> std::result::Result<(), String> {
        self.restart.restart(node, program).await
    }

    async fn canary(&mut self, address: &str, led_only: bool) -> Result<()> {
        let mut shards = self.cluster().await?.shards;
        shards.retain(|shard| !led_only || shard.leader_node_id != 0);
        let client = (self.client_of)(address)?;
        canary::run(&client, &shards).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_nodes(reachable: &[bool]) -> GetClusterStatusResponse {
        let node = |reachable: &bool| NodeSummary {
            reachable: *reachable,
            ..NodeSummary::default()
        };
        GetClusterStatusResponse {
            nodes: reachable.iter().map(node).collect(),
            ..GetClusterStatusResponse::default()
        }
    }

    #[test]
    fn a_node_that_is_cut_off_is_believed_only_where_nobody_else_answers() {
        assert!(hears_a_majority(&of_nodes(&[true, true, false])));
        assert!(!hears_a_majority(&of_nodes(&[true, false, false])));
        assert!(
            !hears_a_majority(&of_nodes(&[true, true, false, false])),
            "a half is none"
        );
    }
}
