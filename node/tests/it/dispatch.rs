//! Any node takes any call: here, or one hop to the leader, again with a new hint inside the deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_client::population::Population;
use spine_consensus::group::Reign;
use spine_node::dispatch::call::{Answer, Dispatcher};
use spine_node::dispatch::failure::ExecuteError;
use spine_node::dispatch::forward;
use spine_proto::common::v1::SessionCall;
use spine_proto::internal::shard::v1::execute_response::Outcome;
use spine_proto::pds::v1::{LoadLine, RetrieveRequest};
use spine_proto::records::v1::guard::Condition;
use spine_proto::records::v1::mutation::{Kind, Put};
use spine_proto::records::v1::{
    CommitRequest, CommitResponse, GetRequest, GetResponse, Guard, Mutation, RecordKey,
};
use spine_services::SpineError;
use tokio::time::Instant;

use crate::nodes::{Machine, cluster, leader, principal, until};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Between the end of a deadline and the answer.
const SLACK: Duration = Duration::from_millis(500);

fn dispatcher(machine: &Machine) -> Arc<Dispatcher> {
    Arc::clone(&machine.inner().running().unwrap().dispatcher)
}

pub(crate) async fn call(
    machine: &Machine,
    operation: &str,
    body: Bytes,
    within: Duration,
) -> Result<Answer, SpineError> {
    let deadline = Instant::now() + within;
    dispatcher(machine)
        .call(operation, body, &principal().into(), deadline)
        .await
}

pub(crate) fn put(number: u64) -> Bytes {
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
        session: None,
        ..CommitRequest::default()
    };
    request.encode_to_vec().into()
}

/// The same record, if it is what `guard` says.
fn guarded(number: u64, guard: u64, request_id: &str) -> Bytes {
    let mut request = CommitRequest::decode(put(number)).unwrap();
    request_id.clone_into(&mut request.request_id);
    request.guards = vec![Guard {
        suffix: Bytes::from_static(b"s"),
        condition: Some(Condition::RevisionIs(guard)),
    }];
    request.encode_to_vec().into()
}

fn revision(answer: &Answer) -> u64 {
    CommitResponse::decode(answer.body.clone()).unwrap().revision
}

pub(crate) fn get() -> Bytes {
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

/// Asks the node itself: what it does not lead it refuses.
async fn ask(machine: &Machine, operation: &str, body: Bytes) -> Result<Bytes, ExecuteError> {
    let deadline = Instant::now() + Duration::from_millis(1_500);
    let wire = forward::request(operation, 1, body, Vec::new(), &principal(), deadline);
    forward::outcome(dispatcher(machine).forwarded(wire).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_answers_with_nothing_old_neither_reads_nor_rejections() {
    let machines = cluster(3).await;
    call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    let led = leader(&machines).unwrap();
    machines[led].cut.whole();
    let other = &machines[(led + 1) % 3];
    let newest = call(other, "records.commit", put(2), PATIENCE).await.unwrap();
    let change = guarded(3, revision(&newest), "guarded");
    let old_leader = &machines[led];
    assert!(
        old_leader.inner().host.shard(1).unwrap().group.status().leading,
        "it does not know"
    );
    let asked = tokio::join!(
        ask(old_leader, "records.get", get()),
        ask(old_leader, "records.commit", change)
    );
    for answer in [asked.0, asked.1] {
        match answer {
            Err(ExecuteError::Final(error)) => assert_eq!(error.reason, "DEADLINE_EXCEEDED"),
            Err(_) => {}
            Ok(_) => panic!("it answers"),
        }
    }
}

/// Three nodes with a record of value 1, and which of them leads. The next one has a connection to the leader.
async fn leader_with_an_open_way() -> (Vec<Machine>, usize) {
    let machines = cluster(3).await;
    call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    let led = leader(&machines).unwrap();
    let next = &machines[(led + 1) % 3];
    call(next, "records.get", get(), PATIENCE).await.unwrap();
    (machines, led)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_was_lost_is_of_unknown_outcome() {
    let (machines, led) = leader_with_an_open_way().await;
    let asker = &machines[(led + 1) % 3];
    // It sends, and hears nothing.
    asker.cut.deaf.store(true, Ordering::Release);
    let error = call(asker, "records.commit", put(9), Duration::from_secs(2)).await;
    assert_eq!(error.err().unwrap().reason, "OUTCOME_UNKNOWN");
    let answer = call(&machines[led], "records.get", get(), PATIENCE)
        .await
        .unwrap();
    assert_eq!(value(&answer), 9, "it had taken effect");
}

async fn settle(machine: &Machine, body: Bytes) -> Result<Answer, SpineError> {
    let deadline = Instant::now() + PATIENCE;
    dispatcher(machine)
        .settle("records.commit", body, &principal().into(), deadline)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_settled_is_answered_as_it_was_or_never_takes_effect() {
    let machines = cluster(3).await;
    let first = call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    for machine in &machines {
        let settled = settle(machine, put(1)).await.unwrap();
        assert_eq!(revision(&settled), revision(&first), "it had taken effect");
        let none = settle(machine, put(2)).await;
        assert_eq!(none.err().unwrap().reason, "NOT_EXECUTED");
        let late = call(machine, "records.commit", put(2), PATIENCE).await;
        assert_eq!(late.err().unwrap().reason, "NOT_EXECUTED", "a late try");
        let found = call(machine, "records.get", get(), PATIENCE).await.unwrap();
        assert_eq!(value(&found), 1);
    }
    let other = guarded(3, 0, &format!("{:032x}", 2));
    let reused = call(&machines[0], "records.commit", other, PATIENCE).await;
    assert_eq!(reused.err().unwrap().reason, "REQUEST_ID_REUSED");
}

/// Nobody can say what became of a line of a load: it has no id to be known by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_without_an_id_is_not_settled_and_not_made() {
    let machines = cluster(3).await;
    let patient = Population::new(3).patient(0);
    let line = LoadLine {
        line: 1,
        fhir_json: patient.json.into(),
    };
    let deadline = Instant::now() + PATIENCE;
    let settled = dispatcher(&machines[0])
        .settle(
            "pds.load",
            line.encode_to_vec().into(),
            &principal().into(),
            deadline,
        )
        .await;
    assert_eq!(settled.err().unwrap().reason, "INVALID_REQUEST_ID");
    let request = RetrieveRequest {
        nhs_number: patient.nhs_number,
    };
    let found = call(
        &machines[0],
        "pds.retrieve",
        request.encode_to_vec().into(),
        PATIENCE,
    )
    .await;
    assert_eq!(found.err().unwrap().reason, "PATIENT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_after_a_lost_try_counts_once_that_try_is_given_up() {
    let (machines, led) = leader_with_an_open_way().await;
    let asker = &machines[(led + 1) % 3];
    machines[led].cut.whole();
    for reason in ["GUARD_FAILED", "NOT_EXECUTED"] {
        let body = guarded(3, 0, "guarded");
        let refused = call(asker, "records.commit", body, PATIENCE).await;
        assert_eq!(refused.err().unwrap().reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_with_another_body_is_refused() {
    let machines = cluster(1).await;
    let first = call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    let again = call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    assert_eq!(revision(&first), revision(&again));
    let other = guarded(2, revision(&first), &format!("{:032x}", 1));
    let error = call(&machines[0], "records.commit", other, PATIENCE).await;
    assert_eq!(error.err().unwrap().reason, "REQUEST_ID_REUSED");
    let found = call(&machines[0], "records.get", get(), PATIENCE).await.unwrap();
    assert_eq!(value(&found), 1);
}

/// The same request as a call of a session.
fn numbered(machine: &Machine, body: &Bytes) -> impl Fn(u64) -> Bytes + use<> {
    let opened = dispatcher(machine).open_session(&principal()).unwrap();
    let request = CommitRequest::decode(body.clone()).unwrap();
    move |sequence| {
        let mut request = request.clone();
        request.request_id.clear();
        request.session = Some(SessionCall {
            session_id: opened.session_id.clone(),
            opened_ms: opened.opened_ms,
            seal: opened.seal.clone(),
            sequence,
            floor: 1,
        });
        request.encode_to_vec().into()
    }
}

/// What such a call did is looked up where it is applied, or once its plan has nothing to propose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_of_a_session_is_answered_as_the_first_time() {
    let machines = cluster(1).await;
    let node = &machines[0];
    let commit = |body| call(node, "records.commit", body, PATIENCE);
    let first = commit(put(1)).await.unwrap();
    let put_two = numbered(node, &put(2));
    let done = commit(put_two(1)).await.unwrap();
    let again = commit(put_two(1)).await.unwrap();
    assert_eq!(
        revision(&done),
        revision(&again),
        "its plan would change something"
    );
    // A guard that held the first time and does not any more.
    let from_two = numbered(node, &guarded(3, revision(&done), ""));
    let done = commit(from_two(1)).await.unwrap();
    let again = commit(from_two(1)).await.unwrap();
    assert_eq!(revision(&done), revision(&again), "its plan would refuse");
    let from_one = numbered(node, &guarded(4, revision(&first), ""));
    let stale = commit(from_one(1)).await;
    assert_eq!(stale.err().unwrap().reason, "GUARD_FAILED", "never done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_session_that_was_given_up_or_reused_never_takes_effect() {
    let machines = cluster(1).await;
    let node = &machines[0];
    let put_one = numbered(node, &put(1));
    let none = settle(node, put_one(1)).await;
    assert_eq!(none.err().unwrap().reason, "NOT_EXECUTED");
    let late = call(node, "records.commit", put_one(1), PATIENCE).await;
    assert_eq!(late.err().unwrap().reason, "NOT_EXECUTED", "a late try");
    call(node, "records.commit", put_one(2), PATIENCE).await.unwrap();
    let mut other = CommitRequest::decode(put_one(2)).unwrap();
    other
        .mutations
        .extend(CommitRequest::decode(put(9)).unwrap().mutations);
    let other = other.encode_to_vec().into();
    let reused = call(node, "records.commit", other, PATIENCE).await;
    assert_eq!(reused.err().unwrap().reason, "REQUEST_ID_REUSED");
    let found = call(node, "records.get", get(), PATIENCE).await.unwrap();
    assert_eq!(value(&found), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_news_where_the_term_is_even_if_the_node_is_not() {
    let machines = cluster(3).await;
    let led = leader(&machines).unwrap();
    let group = |at: usize| Arc::clone(&machines[at].inner().host.shard(1).unwrap().group);
    let (old, new) = (group(led), group((led + 1) % 3));
    let before = old.reign();
    let moved = old.transfer_to(new.identity().replica_id);
    let news = tokio::time::timeout(PATIENCE, old.leader_since(before));
    let (moved, node) = tokio::join!(moved, news);
    moved.unwrap();
    let after = old.reign();
    assert!(after.term > before.term && after.node != before.node);
    assert_eq!(Some(node.unwrap()), after.node);
    // A vote for it was known, its victory not; and it had led before.
    let (node, term) = (None, after.term - 1);
    for known in [Reign { node, ..after }, Reign { term, ..after }] {
        let news = tokio::time::timeout(PATIENCE, old.leader_since(known));
        assert_eq!(news.await.ok(), after.node, "{known:?}");
    }
    let nothing_new = tokio::time::timeout(Duration::from_millis(50), old.leader_since(after));
    assert!(nothing_new.await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_that_is_behind_a_readers_place_shows_the_list() {
    let machines = cluster(3).await;
    call(&machines[0], "records.commit", put(1), PATIENCE)
        .await
        .unwrap();
    for machine in &machines {
        let listed = |index| {
            let dispatcher = dispatcher(machine);
            async move { dispatcher.patients_listed(1, index, None, &principal()).await }
        };
        assert!(listed(1).await.is_ok());
        let not_yet = listed(1_000_000).await.err().unwrap();
        assert_eq!((&*not_yet.error.reason, not_yet.for_good), ("NO_LEADER", false));
    }
}
