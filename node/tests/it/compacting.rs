//! A log goes as far as its owner was asked for, whoever leads meanwhile.

use std::sync::Arc;
use std::time::Duration;

use spine_consensus::group::RaftGroup;
use tokio::time::sleep;

use crate::dispatch::{PATIENCE, call, put};
use crate::nodes::{Machine, cluster, leader, until};

const SHARD: u32 = 1;
const ROUNDS: usize = 10;
/// The leader has begun to compact, and no failed call to the absent follower has yet let it purge.
const BEGUN: Duration = Duration::from_millis(15);

fn group(machine: &Machine) -> Arc<RaftGroup> {
    Arc::clone(&machine.inner().host.shard(SHARD).unwrap().group)
}

/// A leader puts a purge off while a follower may need what goes, and openraft forgets that with the leadership.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_purged_though_its_leader_moves_meanwhile() {
    let mut machines = cluster(3).await;
    let mut number = 0;
    call(&machines[0], "records.commit", put(number), PATIENCE)
        .await
        .unwrap();
    let absent = (leader(&machines).unwrap() + 1) % 3;
    machines[absent].stop().await;
    let mut others = machines;
    others.remove(absent);
    for _ in 0..ROUNDS {
        until("one of them leads", || {
            others.iter().any(|machine| group(machine).status().leading)
        })
        .await;
        let (old, new) = if group(&others[0]).status().leading {
            (&others[0], &others[1])
        } else {
            (&others[1], &others[0])
        };
        for _ in 0..20 {
            number += 1;
            call(old, "records.commit", put(number), PATIENCE).await.unwrap();
        }
        let node = old.inner();
        let compacting = tokio::spawn(async move { node.compact_replica(SHARD).await });
        sleep(BEGUN).await;
        // It may be refused, as the new leader is late; the round then proves nothing, as does a purge that was faster.
        let _ = group(old).transfer_to(group(new).identity().replica_id).await;
        while !compacting.is_finished() {
            number += 1;
            call(new, "records.commit", put(number), PATIENCE).await.unwrap();
        }
        let done = compacting.await.unwrap().unwrap();
        let (purged, wanted) = (done.purged_index, done.checkpoint_index);
        assert!(wanted > 0);
        assert!(purged >= wanted, "gone up to {purged} of {wanted}");
    }
}
