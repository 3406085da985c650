//! Reads everything that the engines hold, now and then, so that damage where nobody looks is found and mended while the
//! other replicas are whole. One replica at a time; it rests for longer than it works.

use std::sync::Arc;
use std::time::Duration;

use spine_consensus::repair::read_all;
use spine_storage::replica::ReplicaError;
use tokio::time::sleep;

use crate::node::Inner;
use crate::telemetry::metrics::Scrub;

/// A node that has just started has other things to do.
const FIRST_AFTER: Duration = Duration::from_secs(600);
/// Runs until the node stops.
pub async fn run(node: Arc<Inner>, every: Duration) {
    sleep(every.min(FIRST_AFTER)).await;
    loop {
        for shard in node.host.all() {
            let store = shard.group.store();
            let number = shard.group.identity().shard;
            let outcome = match read_all(store).await {
                Ok(()) => "sound",
                Err(ReplicaError::Damaged(why)) => {
                    tracing::error!(shard = number, why, "a scrub finds damage");
                    store.halt_as_damaged(&why);
                    "damaged"
                }
                // A checkpoint or a snapshot came first: the next round reads it again.
                Err(error) => {
                    tracing::debug!(shard = number, %error, "scrub");
                    "interrupted"
                }
            };
            node.metrics
                .storage
                .scrubs
                .get_or_create(&Scrub { outcome })
                .inc();
        }
        sleep(every).await;
    }
}
