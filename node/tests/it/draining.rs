//! A node that is to rest, and a shard that is handed to it meanwhile.

use std::sync::Arc;

use crate::nodes::{Machine, cluster, leader, until};

/// A node that leads nothing yet may be handed the shard before its drain has ended; how soon is up to the machine.
const TRIES_MAX: u32 = 20;

/// Hands shard 1 to `to` and drains that node at the same time. Whether it led while it drained.
async fn drained_while_it_was_given_a_shard(machines: &[Machine], to: usize) -> bool {
    let resting = machines[to].inner();
    let shard = resting.host.shard(1).unwrap();
    let from = machines[leader(machines).unwrap()].inner();
    let drain = tokio::spawn({
        let resting = Arc::clone(&resting);
        async move { resting.drain().await }
    });
    // A peer that has not heard of the drain: it would not ask who is fit.
    let leading = from.host.shard(1).unwrap();
    let replica = shard.group.identity().replica_id;
    leading.group.transfer_to(replica).await.unwrap();
    let mut led = false;
    while !drain.is_finished() {
        led |= shard.group.status().leading;
        tokio::task::yield_now().await;
    }
    assert_eq!(drain.await.unwrap(), 0, "somebody takes what it has");
    assert!(
        !led || !shard.group.status().leading,
        "a drain does not end while the node leads what came meanwhile"
    );
    resting.undrain();
    led
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_hands_on_what_comes_to_the_node_meanwhile() {
    let mut machines = cluster(3).await;
    let mut met = false;
    for _ in 0..TRIES_MAX {
        until("one leads in the eyes of all", || leader(&machines).is_some()).await;
        let to = (leader(&machines).unwrap() + 1) % machines.len();
        met = drained_while_it_was_given_a_shard(&machines, to).await;
        if met {
            break;
        }
    }
    assert!(met, "no drain was still going on when the shard came");
    for machine in &mut machines {
        machine.stop().await;
    }
}
