//! Any node takes any call: here, or one hop to the leader, again with a new hint inside the deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_node::dispatch::call::{Answer, Dispatcher};
use spine_node::dispatch::forward;
use spine_proto::internal::shard::v1::execute_response::Outcome;
use spine_proto::records::v1::mutation::{Kind, Put};
use spine_proto::records::v1::{CommitRequest, CommitResponse, GetRequest, GetResponse, Mutation, RecordKey};
use spine_services::SpineError;
use tokio::time::Instant;

use crate::nodes::{Machine, cluster, leader, principal, until};

const PATIENCE: Duration = Duration::from_secs(10);
/// Between the end of a deadline and the answer.
const SLACK: Duration = Duration::from_millis(500);

fn dispatcher(machine: &Machine) -> Arc<Dispatcher> {
    Arc::clone(&machine.inner().running().unwrap().dispatcher)
}

async fn call(
    machine: &Machine,
    operation: &str,
    body: Bytes,
    within: Duration,
) -> Result<Answer, SpineError> {
    let deadline = Instant::now() + within;
    dispatcher(machine)
        .call(operation, body, &principal(), deadline)
        .await
}

fn put(number: u64) -> Bytes {
    let put = Put {
        suffix: Bytes::from_static(b"s"),
        value: number.to_be_bytes().to_vec().into(),
    };
    let request = CommitRequest {
        routing_key: "key".to_owned(),
        mutations: vec![Mutation {
            kind: Some(Kind::Put(put)),
        }],
        request_id: format!("{number:032x}"),
        ..CommitRequest::default()
    };
    request.encode_to_vec().into()
}

fn get() -> Bytes {
    let key = RecordKey {
        routing_key: "key".to_owned(),
        suffix: Bytes::from_static(b"s"),
    };
    GetRequest { key: Some(key) }.encode_to_vec().into()
}

fn value(answer: &Answer) -> u64 {
    let record = GetResponse::decode(answer.body.clone()).unwrap().record.unwrap();
    u64::from_be_bytes(record.value[..].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_a_call_and_names_the_leader() {
    let machines = cluster(3).await;
    for (number, machine) in (1..).zip(&machines) {
        let answer = call(machine, "records.commit", put(number), PATIENCE)
            .await
            .unwrap();
        assert!(CommitResponse::decode(answer.body).unwrap().revision > 0);
        let led_at = leader(&machines).map(|at| machines[at].config.listen.grpc.clone());
        assert_eq!(answer.leader_address, led_at);
        for machine in &machines {
            let answer = call(machine, "records.get", get(), PATIENCE).await.unwrap();
            assert_eq!(
                value(&answer),
                number,
                "an acknowledged write is seen everywhere at once"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_call_is_executed_or_refused_and_never_forwarded_again() {
    let machines = cluster(3).await;
    // By then the shard knows its slots.
    call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    let led = leader(&machines).unwrap();
    for (at, machine) in machines.iter().enumerate() {
        for (operation, body) in [("records.commit", put(7)), ("records.get", get())] {
            let deadline = Instant::now() + PATIENCE;
            let wire = forward::request(operation, 1, body, Vec::new(), &principal(), deadline);
            let answer = dispatcher(machine).forwarded(wire).await;
            let executed = matches!(answer.outcome, Some(Outcome::Response(_)));
            assert_eq!(executed, at == led, "{operation} at node {at}, led by {led}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_follow_a_leadership_that_moves_under_them() {
    let machines = cluster(3).await;
    for number in 1..=20 {
        let led = leader(&machines).unwrap();
        let target = (led + 1) % 3;
        let group = Arc::clone(&machines[led].inner().host.shard(1).unwrap().group);
        let replica = machines[target]
            .inner()
            .host
            .shard(1)
            .unwrap()
            .group
            .identity()
            .replica_id;
        let moved = tokio::spawn(async move { group.transfer_to(replica).await });
        // The third node still believes in the old leader.
        let answer = call(&machines[(led + 2) % 3], "records.commit", put(number), PATIENCE);
        answer.await.unwrap();
        moved.await.unwrap().unwrap();
        until("all agree", || leader(&machines).is_some()).await;
    }
    let answer = call(&machines[0], "records.get", get(), PATIENCE).await.unwrap();
    assert_eq!(value(&answer), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_a_call_ends_by_its_deadline_with_the_reason() {
    let mut machines = cluster(3).await;
    let (gone, rest) = machines.split_at_mut(2);
    for machine in gone {
        machine.stop().await;
    }
    let within = Duration::from_millis(1_500);
    for (operation, body) in [("records.get", get()), ("records.commit", put(1))] {
        let began = Instant::now();
        let error = call(&rest[0], operation, body, within).await.err().unwrap();
        assert!(began.elapsed() < within + SLACK, "{:?}", began.elapsed());
        assert!(
            ["NO_LEADER", "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN"].contains(&&*error.reason),
            "{}",
            error.reason
        );
    }
}
