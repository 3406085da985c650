//! Who leads how many shards, as another node sees it.

use std::time::Duration;

use spine_proto::admin::v1::GetClusterStatusResponse;
use tokio::time::{Instant, sleep};

use crate::processes::{Cluster, ClusterError};

const POLL: Duration = Duration::from_millis(20);

fn led(status: &GetClusterStatusResponse, address: &str) -> usize {
    let node = status.nodes.iter().find(|node| node.grpc_address == address);
    let led = |id: u64| {
        status
            .shards
            .iter()
            .filter(|shard| shard.leader_node_id == id)
            .count()
    };
    node.map_or(0, |node| led(node.node_id))
}

/// How many shards a node leads, the meta group too, as `ask` sees it.
pub(super) async fn led_by(cluster: &Cluster, node: usize, ask: usize) -> Result<usize, ClusterError> {
    Ok(led(&cluster.status(ask).await?, cluster.grpc(node)))
}

/// The node that leads most.
pub(super) async fn leads_most(cluster: &Cluster) -> Result<usize, ClusterError> {
    let status = cluster.status(0).await?;
    let leads = |node: &usize| led(&status, cluster.grpc(*node));
    Ok((0..cluster.nodes()).max_by_key(leads).unwrap_or(0))
}

/// Waits until a node leads nothing, and says how long that took; none if it still leads after `limit`.
pub(super) async fn wait_leads_nothing(
    cluster: &Cluster,
    node: usize,
    limit: Duration,
) -> Result<Option<Duration>, ClusterError> {
    let (began, ask) = (Instant::now(), (node + 1) % cluster.nodes());
    while began.elapsed() < limit {
        // A shard between two leaders has none for a moment; it must have one again.
        let status = cluster.status(ask).await?;
        let all_led = status.shards.iter().all(|shard| shard.leader_node_id != 0);
        if all_led && led(&status, cluster.grpc(node)) == 0 {
            return Ok(Some(began.elapsed()));
        }
        sleep(POLL).await;
    }
    Ok(None)
}
