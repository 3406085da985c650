//! A search is complete from all shards, or an error.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spine_proto::admin::v1::InitClusterRequest;
use spine_proto::ids::NhsNumber;

use super::http::ask;
use super::search_plain::{alike, ids};
use super::{PDS, PLAIN, at, code, id};
use crate::nodes::{Machine, peers, until};

const QUERY: &str = "Patient?family=Zimmer&birthdate=1980-02-03";

/// Five nodes with two shards of three replicas each: the last two nodes have one of shard 1 and two of shard 2.
async fn five() -> Vec<Machine> {
    let mut machines = Machine::several(5);
    for machine in &mut machines {
        machine.config.cluster.replace_after_ms = 0;
        machine.start().await.unwrap();
    }
    let request = InitClusterRequest {
        peer_addresses: peers(&machines),
        shards: 2,
        ..InitClusterRequest::default()
    };
    machines[0].inner().init_cluster(request).await.unwrap();
    until("all are part of it", || {
        machines.iter().all(|machine| machine.inner().running().is_some())
    })
    .await;
    machines
}

fn shard_of(machine: &Machine, number: &str) -> u32 {
    let slot = u32::from(NhsNumber::parse(number).unwrap().routing_key().slot().get());
    let plan = machine.inner().running().unwrap().plan();
    let holds =
        |shard: &&spine_proto::storage::v1::PlanShard| (shard.slot_first..=shard.slot_last).contains(&slot);
    let shards = plan.shards.iter().filter(|shard| shard.shard != 0);
    shards.clone().find(holds).unwrap().shard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_of_one_shard_a_search_is_an_error_and_no_partial_list() {
    let mut machines = five().await;
    let node = at(&machines[0]).to_owned();
    let numbers = alike(&node, 50..60).await;
    let shards: BTreeSet<u32> = numbers
        .iter()
        .map(|number| shard_of(&machines[0], number))
        .collect();
    assert_eq!(shards, [1, 2].into(), "some stand in either");
    // Somebody searches all the while: all of them, or an error.
    let (ended, complete, failed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicU32::new(0)),
    );
    let searching = tokio::spawn({
        let (node, numbers) = (node.clone(), numbers.clone());
        let (ended, complete, failed) = (Arc::clone(&ended), Arc::clone(&complete), Arc::clone(&failed));
        async move {
            while !ended.load(Ordering::Relaxed) {
                let wait = [("x-sync-wait", "0.5")];
                let reply = ask(&node, "GET", &format!("{PLAIN}/{QUERY}"), &wait, "").await;
                if reply.status == 200 {
                    assert_eq!(ids(&reply.json()).into_iter().collect::<BTreeSet<_>>(), numbers);
                    complete.fetch_add(1, Ordering::Relaxed);
                } else {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let more_than = |counter: &AtomicU32, count: u32| counter.load(Ordering::Relaxed) > count;
    until("it is complete", || more_than(&complete, 0)).await;
    let failed_before = failed.load(Ordering::Relaxed);
    for machine in &mut machines[3..] {
        machine.stop().await;
    }
    until("it fails", || more_than(&failed, failed_before + 2)).await;
    let before = complete.load(Ordering::Relaxed);
    for base in [PLAIN, PDS] {
        let head = [id(1), ("x-sync-wait", "1".to_owned())];
        let reply = ask(&node, "GET", &format!("{base}/{QUERY}"), &head, "").await;
        let told = code(&reply);
        assert!(
            told == "503 SERVICE_UNAVAILABLE" || told == "408 UNABLE_TO_CALL_SERVICE",
            "{told}"
        );
        assert_eq!(reply.status == 503, reply.header("retry-after").is_some());
        let issue = &reply.json()["issue"][0];
        assert!(
            ["transient", "timeout"].contains(&issue["code"].as_str().unwrap()),
            "{issue}"
        );
        assert_eq!(issue["severity"], "error");
    }
    // The shard that has its quorum goes on.
    let there = numbers
        .iter()
        .find(|number| shard_of(&machines[0], number) == 1)
        .unwrap();
    let read = ask(&node, "GET", &format!("{PLAIN}/Patient/{there}"), &[id(2)], "").await;
    assert_eq!(read.status, 200);
    assert_eq!(
        complete.load(Ordering::Relaxed),
        before,
        "none is complete meanwhile"
    );
    for machine in &mut machines[3..] {
        machine.start().await.unwrap();
    }
    until("it is complete again", || more_than(&complete, before)).await;
    ended.store(true, Ordering::Relaxed);
    searching.await.unwrap();
}
