//! Changes as calls of a session, against nodes that fail by script, under a paused clock.

mod fake;

use fake::{Fake, Reply};
use spine_client::{Commit, ErrorKind, Key, SpineClient};
use std::time::Duration;

const NODES: [&str; 3] = ["a:1", "b:1", "c:1"];

fn key() -> Key {
    Key::new("SESSION-TEST", "s")
}

fn with_sessions() -> Fake {
    let fake = Fake::new(&NODES);
    fake.store.lock().knows_sessions = true;
    fake
}

/// A client that has a session: it is opened beside the first change, which carries a request id.
async fn connected(fake: &Fake) -> SpineClient {
    let client = fake.builder().connect().expect("served");
    client
        .records()
        .put(&Key::new("FIRST", "s"), "v")
        .await
        .expect("served");
    tokio::time::sleep(Duration::from_millis(10)).await;
    for name in NODES {
        let mut nodes = fake.nodes.lock();
        let calls = &mut nodes.get_mut(name).expect("served").calls;
        assert!(calls.iter().all(|id| id.len() == 32), "{calls:?}");
        calls.clear();
    }
    fake.store.lock().done.clear();
    client
}

fn calls(fake: &Fake) -> Vec<String> {
    NODES.iter().flat_map(|name| fake.calls(name)).collect()
}

fn everywhere(fake: &Fake, reply: &Reply) {
    for name in NODES {
        fake.script(name, [reply.clone()]);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_numbered_in_one_session() {
    let fake = with_sessions();
    let client = connected(&fake).await;
    for _ in 0..3 {
        client.records().put(&key(), "v").await.unwrap();
    }
    assert_eq!(calls(&fake), ["1/1/1", "1/2/2", "1/3/3"]);
    let own = Commit::new("SESSION-TEST").put("s", "v").request_id("mine");
    client.records().commit(own).await.unwrap();
    assert_eq!(calls(&fake).last().unwrap(), "mine", "a caller's own id stays");
    assert_eq!(fake.store.lock().sessions_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_try_without_an_answer_is_repeated_under_its_number() {
    let fake = with_sessions();
    let client = connected(&fake).await;
    everywhere(&fake, &Reply::ServeThenDrop);
    let committed = client.records().put(&key(), "v").await.unwrap();
    assert!(committed.replayed);
    let ids = calls(&fake);
    assert!(ids.len() > 1 && ids.iter().all(|id| id == "1/1/1"), "{ids:?}");
    assert_eq!(fake.store.lock().done.len(), 1, "one effect");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_forgotten_is_replaced() {
    let fake = with_sessions();
    let client = connected(&fake).await;
    client.records().put(&key(), "v").await.unwrap();
    fake.store.lock().forgotten.push(1);
    client.records().put(&key(), "w").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    client.records().put(&key(), "x").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    client.records().put(&key(), "y").await.unwrap();
    let ids = calls(&fake);
    assert_eq!(ids[..2], ["1/1/1", "1/2/2"]);
    assert_eq!(ids[2].len(), 32, "at once under a request id");
    assert_eq!(ids.last().unwrap(), "2/1/1");
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_answer_a_forgotten_session_leaves_a_doubt() {
    let fake = with_sessions();
    let client = connected(&fake).await;
    // The work is done, its answer is lost, and the next try finds the session forgotten.
    everywhere(&fake, &Reply::ServeThenForget);
    let error = client.records().put(&key(), "w").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutcomeUnknown, "{error:?}");
    assert_eq!(fake.store.lock().done.len(), 1, "it had happened, and once");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_sessions_gets_request_ids() {
    let fake = Fake::new(&NODES);
    let client = fake.builder().connect().unwrap();
    for _ in 0..2 {
        client.records().put(&key(), "v").await.unwrap();
    }
    let ids = calls(&fake);
    assert!(ids.iter().all(|id| id.len() == 32) && ids[0] != ids[1], "{ids:?}");
}
