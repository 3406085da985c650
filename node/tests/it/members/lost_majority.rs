//! Clusters that lost their majority for good, and go on from the nodes that are left.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use prost::Message as _;
use spine_proto::admin::v1::recover_step_request::Step;
use spine_proto::admin::v1::{
    InitClusterRequest, ReadReplicaRequest, RecoverClusterRequest, RecoverDecision, RecoverLook,
    RecoverStepRequest, RecoverStepResponse, RecoverSurvivor,
};
use spine_proto::ids::NodeId;
use spine_proto::records::v1::mutation::{Kind, Put};
use spine_proto::records::v1::{CommitRequest, Mutation};
use spine_proto::storage::v1::ClusterPlan;
use spine_services::SpineError;
use tokio::time::Instant;

use super::{PATIENCE, Writer, hosts, is_settled, three_of};
use crate::nodes::{Machine, peers, principal, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_two_of_five_goes_on_from_the_other_three() {
    let mut machines = five_with_shards(6).await;
    let dispatcher = Arc::clone(&machines[0].inner().running().unwrap().dispatcher);
    for number in 1..=WRITES {
        let deadline = Instant::now() + PATIENCE;
        let caller = principal().into();
        let written = dispatcher
            .call("records.commit", spread(number), &caller, deadline)
            .await;
        assert!(written.is_ok(), "write {number}");
    }
    drop(dispatcher);
    // Followers hear of the last commits with the next look.
    tokio::time::sleep(Duration::from_secs(1)).await;
    machines[3].stop().await;
    machines[4].stop().await;
    lost_are_missed(&machines[..3]).await;
    let alone = RecoverClusterRequest {
        accept_data_loss: true,
    };
    let refused = machines[0].inner().recover_cluster(&alone).err().unwrap();
    assert_eq!(refused.reason, "QUORUM_POSSIBLE");

    let looked = look_at(&machines[..3], false).await;
    let decided = decide(&machines[0], &looked).await;
    assert!(decided.shards.iter().any(|shard| !shard.complete));
    let held = look_at(&machines[..3], true).await;
    assert!(
        machines[..3]
            .iter()
            .all(|machine| machine.inner().host.all().is_empty())
    );
    let next = decide(&machines[0], &held).await;
    // The tool dies after the first of them.
    step(&machines[0], Step::Begin(next.plan)).await.unwrap();
    for machine in &mut machines[..3] {
        machine.stop().await;
        machine.start().await.unwrap();
    }
    let late = look_at(&machines[1..3], false).await;
    for (machine, looked) in machines[1..3].iter().zip(&late) {
        assert!(machine.inner().host.all().is_empty(), "held over restarts");
        assert_eq!(looked.replicas.len(), held[1].replicas.len());
    }
    let plan = machines[0].inner().running().unwrap().plan();
    assert_eq!(plan.incarnation, 2);
    let begun = look_at(&machines[..1], false).await.remove(0);
    lost_are_missed(&machines[1..3]).await;
    for machine in &mut machines[1..3] {
        assert_eq!(
            machine.inner().running().unwrap().plan().incarnation,
            1,
            "as before"
        );
        step(machine, Step::Begin(begun.plan.clone())).await.unwrap();
        machine.stop().await;
        machine.start().await.unwrap();
    }
    assert!(!machines[1].inner().is_held());
    let again = step(&machines[1], Step::Begin(begun.plan)).await.err().unwrap();
    assert_eq!(again.reason, "INCARNATION_BEGUN");

    until("three replicas of each shard serve", || {
        is_settled(&machines[0])
            && (0..=6).all(|shard| {
                let mut hosts = hosts(&machines[0], shard);
                hosts.sort_unstable();
                hosts == [1, 2, 3]
            })
    })
    .await;
    for number in 1..=WRITES {
        let request = ReadReplicaRequest {
            routing_key: format!("key-{number}"),
            suffix: Bytes::new(),
        };
        for machine in &machines[..3] {
            let node = machine.inner();
            until("every replica has it", || {
                node.read_replica(&request).is_ok_and(|answer| answer.found)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_taken_back_as_long_as_nobody_has_begun() {
    let mut machines = three_of(3).await;
    let looked = look_at(&machines, false).await;
    let survivors = looked.iter().map(|node| RecoverSurvivor {
        node_id: node.node_id,
        replicas: node.replicas.clone(),
    });
    let decision = RecoverDecision {
        survivors: survivors.collect(),
    };
    let needless = step(&machines[0], Step::Decide(decision)).await.err().unwrap();
    assert_eq!(needless.reason, "QUORUM_POSSIBLE", "all are there");
    let plan = machines[0].inner().running().unwrap().plan();
    let mut next = ClusterPlan::clone(&plan);
    next.incarnation += 1;
    let begin = Step::Begin(next.encode_to_vec().into());
    for early in [begin, Step::Release(true)] {
        let unheld = step(&machines[0], early).await.err().unwrap();
        assert_eq!(unheld.reason, "NOT_HELD");
    }
    look_at(&machines, true).await;
    machines[0].stop().await;
    machines[0].start().await.unwrap();
    assert!(machines[0].inner().is_held());
    for machine in &mut machines {
        step(machine, Step::Release(true)).await.unwrap();
        machine.stop().await;
        machine.start().await.unwrap();
    }
    let writer = Writer::through(&machines[0]);
    writer.some().await;
    writer.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_nobody_waits_for_any_more_is_carried_through() {
    let mut machines = three_of(3).await;
    let looked = look_at(&machines[..1], false).await.remove(0);
    assert_eq!(looked.replicas.len(), 2);
    // The tool is killed as soon as it has asked. Nearly always that is long before the answer.
    let asked = step(&machines[0], Step::Look(RecoverLook { hold: true }));
    let _ = asked.now_or_never();
    // While they are being closed, and afterwards, it says what it has.
    for hold in [false, true, false] {
        let again = look_at(&machines[..1], hold).await.remove(0);
        assert_eq!(again.replicas.len(), 2, "hold: {hold}");
    }
    machines[0].stop().await;
    machines[0].start().await.unwrap();
    assert!(machines[0].inner().is_held(), "durably");
}

/// Nodes 2 and 3 are a majority of the old cluster. Whoever comes back must not have two clusters take writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_majority_that_comes_back_serves_nobody() {
    let mut machines = three_of(3).await;
    machines[1].stop().await;
    machines[2].stop().await;
    until("the lost ones are missed", || {
        let peers = &machines[0].inner().peers;
        peers.is_gone(NodeId(2)) && peers.is_gone(NodeId(3))
    })
    .await;
    let alone = RecoverClusterRequest {
        accept_data_loss: true,
    };
    machines[0].inner().recover_cluster(&alone).unwrap();
    machines[0].stop().await;
    machines[0].start().await.unwrap();
    assert_eq!(machines[0].inner().running().unwrap().plan().incarnation, 2);

    let is_closed = |machine: &Machine| {
        let node = machine.inner();
        let told = node.host.absent().into_values();
        let known = told.filter(|absent| absent.reason.contains("incarnation 2"));
        node.host.all().is_empty() && known.count() == 2
    };
    for machine in &mut machines[1..] {
        machine.start().await.unwrap();
    }
    until("both have heard of the new cluster", || {
        machines[1..].iter().all(is_closed)
    })
    .await;
    // Nor do they begin again where nobody can tell them.
    for machine in &mut machines {
        machine.stop().await;
    }
    for machine in &mut machines[1..] {
        machine.start().await.unwrap();
        assert!(is_closed(machine));
    }
    let dispatcher = Arc::clone(&machines[1].inner().running().unwrap().dispatcher);
    let deadline = Instant::now() + Duration::from_secs(2);
    let written = dispatcher
        .call("records.commit", spread(1), &principal().into(), deadline)
        .await;
    assert!(written.is_err());
    // What they have is there for whoever needs it.
    machines[0].start().await.unwrap();
    let writer = Writer::through(&machines[0]);
    writer.some().await;
    writer.end().await;
}

const WRITES: u64 = 40;

/// One that every shard gets some of.
fn spread(number: u64) -> Bytes {
    let put = Put {
        suffix: Bytes::new(),
        value: number.to_be_bytes().to_vec().into(),
    };
    let request = CommitRequest {
        routing_key: format!("key-{number}"),
        mutations: vec![Mutation {
            kind: Some(Kind::Put(put)),
        }],
        request_id: format!("{number:032x}"),
        ..CommitRequest::default()
    };
    request.encode_to_vec().into()
}

/// Nodes 4 and 5, by each of these.
async fn lost_are_missed(machines: &[Machine]) {
    until("the lost ones are missed", || {
        let gone = |machine: &Machine| {
            [4, 5]
                .iter()
                .all(|node| machine.inner().peers.is_gone(NodeId(*node)))
        };
        machines.iter().all(gone)
    })
    .await;
}

async fn five_with_shards(shards: u32) -> Vec<Machine> {
    let mut machines = Machine::several(5);
    for machine in &mut machines {
        machine.config.cluster.replace_after_ms = 0;
        machine.start().await.unwrap();
    }
    let request = InitClusterRequest {
        peer_addresses: peers(&machines),
        shards,
        replicas: 3,
    };
    machines[0].inner().init_cluster(request).await.unwrap();
    until("all belong to it", || {
        machines.iter().all(|machine| machine.inner().running().is_some())
    })
    .await;
    machines
}

async fn step(machine: &Machine, step: Step) -> Result<RecoverStepResponse, SpineError> {
    let request = RecoverStepRequest {
        accept_data_loss: true,
        survivors: vec![1, 2, 3],
        step: Some(step),
    };
    machine.inner().recover_step(request).await
}

async fn look_at(machines: &[Machine], hold: bool) -> Vec<RecoverStepResponse> {
    let mut seen = Vec::new();
    for machine in machines {
        seen.push(step(machine, Step::Look(RecoverLook { hold })).await.unwrap());
    }
    seen
}

async fn decide(machine: &Machine, seen: &[RecoverStepResponse]) -> RecoverStepResponse {
    let survivor = |node: &RecoverStepResponse| RecoverSurvivor {
        node_id: node.node_id,
        replicas: node.replicas.clone(),
    };
    let survivors = seen.iter().map(survivor).collect();
    step(machine, Step::Decide(RecoverDecision { survivors }))
        .await
        .unwrap()
}
