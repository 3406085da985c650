//! Callers who want to break something, or just hang: an answer or a closed connection, in bounded time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use spine_node::admin::Plain;
use spine_node::gateway::http::{Http, HttpLimits, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::{Connection, ask, get, request};
use super::{FHIR, LIST, MERGE, PLAIN, code, patient, put};
use crate::nodes::{Machine, cluster};

/// Nothing here takes longer.
const SOON: Duration = Duration::from_secs(5);

const QUICK: HttpLimits = HttpLimits {
    connections_max: 4,
    head_timeout: Duration::from_millis(300),
    body_timeout: Duration::from_millis(300),
    write_timeout: Duration::from_millis(300),
    body_bytes_max: 2 * 1_024 * 1_024,
    bodies_bytes_max: 3 * 1_024 * 1_024,
    linger: Duration::from_millis(50),
};

/// A listener with little patience, on a node that has much.
async fn impatient() -> (Machine, String, CancellationToken) {
    let mut machines = cluster(1).await;
    let machine = machines.remove(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let closing = CancellationToken::new();
    let http = Http {
        node: machine.inner(),
        edge: machine.node.as_ref().unwrap().edge(),
        closing: closing.clone(),
    };
    tokio::spawn(serve(Box::new(Plain(listener)), http, QUICK));
    (machine, address, closing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_have_bounds_in_bytes_and_time() {
    let (machine, at, _closing) = impatient().await;
    let number = put(&machine, 1).await;
    let path = format!("{PLAIN}/Patient/{number}");
    let started = Instant::now();

    // A head that never ends, and one that is too large.
    let mut slow = Connection::to(&at).await.unwrap();
    slow.send(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    assert!(slow.reply().await.is_none_or(|reply| reply.status == 408));
    let large = ask(&at, "GET", &path, &[("x-large", "x".repeat(64 << 10))], "").await;
    assert_eq!(large.status, 431);

    // A body that does not come, one that is too large, and one whose length nobody tells.
    let mut slow = Connection::to(&at).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\n{}: {}\r\ncontent-length: 100\r\n\r\n[",
        LIST.0, LIST.1
    );
    slow.send(head.as_bytes()).await.unwrap();
    assert_eq!(code(&slow.reply().await.unwrap()), "408 UNABLE_TO_CALL_SERVICE");
    let mut told = Connection::to(&at).await.unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\n{}: {}\r\ncontent-length: 99999999999\r\n\r\n",
        FHIR.0, FHIR.1
    );
    told.send(head.as_bytes()).await.unwrap();
    assert_eq!(code(&told.reply().await.unwrap()), "413 VALIDATION_ERROR");
    let mut endless = Connection::to(&at).await.unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\n{}: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        FHIR.0, FHIR.1
    );
    endless.send(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
    for _ in 0..40 {
        if endless.send(&chunk).await.is_err() {
            break;
        }
    }
    assert_eq!(
        endless.reply().await.map(|reply| code(&reply)).as_deref(),
        Some("413 VALIDATION_ERROR")
    );

    // More bodies at once than there is memory for.
    let mut holds = Connection::to(&at).await.unwrap();
    holds.send(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut refused = Connection::to(&at).await.unwrap();
    refused.send(head.as_bytes()).await.unwrap();
    let reply = refused.reply().await.unwrap();
    assert_eq!(
        (code(&reply).as_str(), reply.header("retry-after")),
        ("429 TOO_MANY_REQUESTS", Some("1"))
    );

    // What is no HTTP gets no more than a closed connection, and everybody else goes on.
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut odd = Connection::to(&at).await.unwrap();
        odd.send(garbage).await.unwrap();
        assert!(odd.reply().await.is_none_or(|reply| reply.status >= 400));
    }
    assert_eq!(get(&at, &path).await.status, 200);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_given_up_and_idle_ones_make_room() {
    let (machine, at, closing) = impatient().await;
    // So large that a few answers fill what lies between two programs.
    let (number, mut resource) = patient(2);
    resource["extension"] = json!([{ "url": "urn:large", "valueString": "x".repeat(500_000) }]);
    let path = format!("{PLAIN}/Patient/{number}");
    assert_eq!(
        ask(&at, "PUT", &path, &[FHIR], resource.to_string()).await.status,
        201
    );
    let started = Instant::now();
    // Many answers that nobody takes.
    let mut deaf = Connection::to(&at).await.unwrap();
    let many = request("GET", &path, &[("x", "y")], b"").repeat(400);
    let deaf = tokio::spawn(async move { while deaf.send(&many).await.is_ok() {} });
    tokio::time::timeout(SOON, deaf)
        .await
        .expect("the server closes")
        .unwrap();
    // As many idle connections as there may be: the next one waits until they are closed.
    let mut idle = Vec::new();
    for _ in 0..QUICK.connections_max {
        idle.push(Connection::to(&at).await.unwrap());
    }
    assert_eq!(get(&at, &path).await.status, 200);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    closing.cancel();
    let metrics = Arc::clone(&machine.inner().metrics);
    crate::nodes::until("all connections are closed", || {
        metrics.http.connections_open.get() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies_are_refused_by_name() {
    let (machine, at, _closing) = impatient().await;
    let number = put(&machine, 3).await;
    let path = format!("{PLAIN}/Patient/{number}");
    let deep = "[".repeat(1_000_000);
    let patches = format!(
        "[{}]",
        vec![r#"{"op":"test","path":"/gender","value":"x"}"#; 5_000].join(",")
    );
    for (header, body, expected) in [
        (LIST, deep.as_bytes(), "400 VALIDATION_ERROR"),
        (FHIR, deep.as_bytes(), "400 VALIDATION_ERROR"),
        (LIST, patches.as_bytes(), "422 INVALID_UPDATE"),
        (FHIR, b"\xff\xfe", "400 VALIDATION_ERROR"),
        (
            MERGE,
            br#"{"gender":"male","gender":"female"}"#,
            "400 VALIDATION_ERROR",
        ),
        (MERGE, br#"{"name":"x"}"#, "400 INVALID_VALUE"),
        (FHIR, b"", "400 VALIDATION_ERROR"),
    ] {
        let method = if header == FHIR { "PUT" } else { "PATCH" };
        let reply = ask(&at, method, &path, &[header], body).await;
        assert_eq!(code(&reply), expected, "{}", reply.text());
    }
    assert_eq!(get(&at, &path).await.header("etag"), Some("W/\"1\""));
}
