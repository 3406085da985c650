//! Liveness over real sockets, with the watch lane on its own thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spine_consensus::transport::liveness::{LivenessSnapshot, Proof};
use spine_consensus::transport::{Links, WatchDriver};
use spine_proto::ids::NodeId;
use tokio::time::{sleep, timeout};

use crate::support::nodes;

const ALL: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// Waits until the snapshot says so; gives the time that took.
async fn until(links: &Links, says: impl Fn(&LivenessSnapshot) -> bool) -> Duration {
    let began = Instant::now();
    let mut liveness = links.liveness();
    let wait = liveness.wait_for(|snapshot: &Arc<LivenessSnapshot>| says(snapshot));
    timeout(Duration::from_secs(5), wait).await.unwrap().unwrap();
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_is_known_by_evidence() {
    let nodes = nodes(3, WatchDriver::Thread).await;
    sleep(Duration::from_millis(400)).await;
    for node in &nodes {
        let seen = node.links.liveness().borrow().clone();
        assert!(!seen.any_suspected() && seen.peers.len() == 2, "{seen:?}");
    }
    nodes[2].links.shutdown();
    let took = until(&nodes[0].links, |s| {
        matches!(s.dead(NodeId(3), &ALL), Some(Proof::Evidence(_)))
    })
    .await;
    // 60 ms alone; the rest is for a machine with other work.
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_main_runtime_is_still_heard() {
    let nodes = nodes(2, WatchDriver::Thread).await;
    sleep(Duration::from_millis(300)).await;
    let returns = |links: &Links| links.liveness().borrow().peers[&NodeId(2)].returns;
    let before = returns(&nodes[0].links);
    // Both threads of the main runtime are held for longer than the silence limit.
    let other = tokio::spawn(async { std::thread::sleep(Duration::from_millis(600)) });
    std::thread::sleep(Duration::from_millis(600));
    other.await.unwrap();
    let seen = nodes[0].links.liveness().borrow().clone();
    assert!(!seen.any_suspected(), "{seen:?}");
    assert_eq!(returns(&nodes[0].links), before);
}
