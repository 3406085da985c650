//! `X-Sync-Wait` is kept: nobody waits longer for an answer than they said.

use std::time::{Duration, Instant};

use serde_json::json;

use super::http::{Reply, ask};
use super::people::newcomer;
use super::{FHIR, LIST, PDS, at, code, id, patches, put, three};
use crate::nodes::Machine;

const WAIT: (&str, &str) = ("x-sync-wait", "0.5");
/// Half a second, and what an answer needs on its way.
const SOON: Duration = Duration::from_millis(1_500);

/// Three nodes, two of which have stopped, and the number of a patient.
async fn without_a_quorum() -> (Vec<Machine>, String) {
    let mut machines = three().await;
    let number = put(&machines[0], 1).await;
    for machine in &mut machines[1..] {
        machine.stop().await;
    }
    (machines, number)
}

/// An answer that says in time that there is none, and when to ask again.
async fn told(node: &str, method: &str, path: &str, headers: &[(&'static str, String)], body: &str) {
    let began = Instant::now();
    let reply = ask(node, method, path, headers, body).await;
    let took = began.elapsed();
    assert_eq!(code(&reply), "503 SERVICE_UNAVAILABLE", "{method} {path}");
    assert!(reply.header("retry-after").is_some());
    assert!(took < SOON, "{method} {path}: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_without_a_quorum_is_told_in_time_and_may_be_sent_again() {
    let (mut machines, number) = without_a_quorum().await;
    let node = at(&machines[0]).to_owned();
    let path = format!("{PDS}/Patient/{number}");
    let gender = patches(&json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]));
    let headers = |wait: &str| {
        [
            id(1),
            (LIST.0, LIST.1.to_owned()),
            ("if-match", "W/\"1\"".to_owned()),
            (WAIT.0, wait.to_owned()),
        ]
    };
    told(&node, "PATCH", &path, &headers(WAIT.1), &gender).await;
    for machine in &mut machines[1..] {
        machine.start().await.unwrap();
    }
    let again = ask(&node, "PATCH", &path, &headers("20"), &gender).await;
    assert_eq!(
        (again.status, again.header("etag")),
        (200, Some("W/\"2\"")),
        "{}",
        again.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_others_of_the_same_day_waits_no_longer_than_they_said() {
    let (machines, _) = without_a_quorum().await;
    let node = at(&machines[0]).to_owned();
    let path = format!("{PDS}/Patient");
    let headers =
        |number: u32, wait: &str| [id(number), (FHIR.0, FHIR.1.to_owned()), (WAIT.0, wait.to_owned())];
    let first: tokio::task::JoinHandle<Reply> = tokio::spawn({
        let (node, path, headers) = (node.clone(), path.clone(), headers(1, "2.5"));
        async move { ask(&node, "POST", &path, &headers, newcomer("Jane").to_string()).await }
    });
    // By then it is its turn, and it waits for a leader.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = newcomer("Ophelia").to_string();
    told(&node, "POST", &path, &headers(2, WAIT.1), &second).await;
    assert_eq!(code(&first.await.unwrap()), "503 SERVICE_UNAVAILABLE");
}
