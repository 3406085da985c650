//! A planned stop fails no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::http::{Connection, request};
use super::{MERGE, PLAIN, at, id, put, three};

const CALLERS: u32 = 4;
/// How long callers are at it before and after.
const WHILE: Duration = Duration::from_millis(300);

/// Asks again and again, and goes to the next address when the server says that this connection ends, or where nobody
/// listens any more. Returns how often it was told to go.
async fn caller(
    addresses: Vec<String>,
    path: String,
    number: u32,
    done: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
) -> u32 {
    let (mut at, mut turned, mut count) = (0, 0, 0);
    let mut connection = None;
    while !done.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = Connection::to(&addresses[at % addresses.len()]).await.ok();
            at += usize::from(connection.is_none());
            continue;
        };
        count += 1;
        let text = if count % 4 == 0 {
            let headers = [
                ("content-type", MERGE.1.to_owned()),
                id(number * 1_000_000 + count),
            ];
            let gender = ["male", "female", "unknown"][(count % 3) as usize];
            request(
                "PATCH",
                &path,
                &headers,
                json!({ "gender": gender }).to_string().as_bytes(),
            )
        } else {
            request("GET", &path, &[id(number * 1_000_000 + count)], b"")
        };
        let sent = open.send(&text).await;
        let reply = open.reply().await;
        let reply = reply.unwrap_or_else(|| panic!("a call got no answer ({sent:?})"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        calls.fetch_add(1, Ordering::Relaxed);
        if reply.header("connection") == Some("close") {
            turned += 1;
            at += 1;
            connection = None;
        }
    }
    turned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_node_that_stops_are_answered_and_told_to_go() {
    let mut nodes = three().await;
    let number = put(&nodes[0], 9).await;
    let path = format!("{PLAIN}/Patient/{number}");
    let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let addresses: Vec<String> = nodes.iter().map(|node| at(node).to_owned()).collect();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller_number| {
            let (done, calls) = (Arc::clone(&done), Arc::clone(&calls));
            tokio::spawn(caller(
                addresses.clone(),
                path.clone(),
                caller_number,
                done,
                calls,
            ))
        })
        .collect();
    sleep(WHILE).await;
    // One connection that waits between two requests just then.
    let mut idle = Connection::to(&addresses[0]).await.unwrap();
    idle.send(&request("GET", &path, &[id(1)], b"")).await.unwrap();
    assert_eq!(idle.reply().await.unwrap().status, 200);
    // And one that asks while the node stops.
    let mut late = Connection::to(&addresses[0]).await.unwrap();
    let (node, question) = (nodes[0].inner(), request("GET", &path, &[id(2)], b""));
    let asks = async {
        while !node.is_draining() {
            sleep(Duration::from_millis(1)).await;
        }
        late.send(&question).await.unwrap();
        let reply = late.reply().await.expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    };
    tokio::join!(nodes[0].stop(), asks);
    drop(node);
    let before = calls.load(Ordering::Relaxed);
    assert!(
        idle.reply().await.is_none(),
        "closed, without an answer to nothing"
    );
    sleep(WHILE).await;
    done.store(true, Ordering::Relaxed);
    let mut turned = 0;
    for caller in callers {
        turned += caller.await.unwrap();
    }
    assert_eq!(turned, CALLERS, "each was told once");
    assert!(calls.load(Ordering::Relaxed) > before, "and went on elsewhere");
}
