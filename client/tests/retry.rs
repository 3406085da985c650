//! Every rule of retrying, against nodes that fail by script, under a paused clock.

mod fake;

use std::collections::BTreeSet;
use std::time::Duration;

use fake::{Fake, Port, Reply};
use spine_client::{Commit, Committed, Error, ErrorKind, Key};
use spine_proto::common::v1::Advice;
use tokio::time::Instant;
use tonic::Code;

const NODES: [&str; 3] = ["a:1", "b:1", "c:1"];

fn key() -> Key {
    Key::new("RETRY-TEST", "s")
}

/// The nodes in the order in which an unprejudiced client asks them for `key()`.
async fn order(fake: &Fake) -> Vec<String> {
    let client = fake.builder().connect().expect("a client");
    let mut order = Vec::new();
    for _ in 0..NODES.len() {
        client.records().get(&key()).await.expect("some node serves");
        let asked = NODES
            .iter()
            .find(|name| !fake.calls(name).is_empty())
            .expect("one was asked");
        order.push((*asked).to_owned());
        fake.kill(asked);
        fake.nodes.lock().get_mut(*asked).expect("a node").calls.clear();
    }
    for name in NODES {
        fake.port(name, Port::Open);
        fake.nodes.lock().get_mut(name).expect("a node").connects = 0;
    }
    order
}

fn done(fake: &Fake) -> usize {
    fake.store.lock().done.len()
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_after_the_commit_is_asked_for_again_and_counted_once() {
    for lost in [Reply::ServeThenHang, Reply::ServeThenDrop] {
        let fake = Fake::new(&NODES);
        let order = order(&fake).await;
        fake.script(&order[0], [lost]);
        let client = fake.builder().connect().unwrap();
        let committed = client.records().put(&key(), "v").await.unwrap();
        assert!(committed.replayed);
        assert_eq!(committed.revision, 1);
        assert_eq!(done(&fake), 1, "one effect");
        let ids: Vec<String> = NODES.iter().flat_map(|name| fake.calls(name)).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], ids[1], "the same request id");
    }
}

#[tokio::test(start_paused = true)]
async fn the_hint_is_followed_and_remembered() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.always(&order[0], Reply::not_leader(&order[2]));
    fake.always(&order[1], Reply::not_leader(&order[2]));
    let client = fake.builder().connect().unwrap();
    for _ in 0..5 {
        client.records().put(&key(), "v").await.unwrap();
    }
    assert_eq!(fake.calls(&order[0]).len(), 1);
    assert_eq!(fake.calls(&order[1]).len(), 0);
    assert_eq!(fake.calls(&order[2]).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_leader_named_in_a_header_gets_the_calls_once_it_is_connected() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.always(&order[0], Reply::ServeNaming(order[1].clone()));
    let client = fake.builder().connect().unwrap();
    // The first learns of the leader, the second begins the dial.
    for _ in 0..2 {
        client.records().put(&key(), "v").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = fake.calls(&order[0]).len();
    for _ in 0..3 {
        client.records().put(&key(), "v").await.unwrap();
    }
    assert!(before <= 2);
    assert_eq!(fake.calls(&order[0]).len(), before);
    assert!(fake.calls(&order[1]).len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_for_the_connection_to_a_new_leader() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.always(&order[0], Reply::ServeNaming(order[1].clone()));
    fake.port(&order[1], Port::BlackHole);
    let builder = fake.builder().connect_hedge(Duration::from_secs(10));
    let client = builder.connect().unwrap();
    let start = Instant::now();
    for _ in 0..5 {
        client.records().put(&key(), "v").await.unwrap();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2), "{took:?}");
    assert_eq!(fake.calls(&order[0]).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_is_made_again_before_it_is_needed() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    let connects = || fake.nodes.lock()[&order[0]].connects;
    let client = fake.builder().connect().unwrap();
    client.records().get(&key()).await.unwrap();
    fake.kill(&order[0]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let in_vain = connects();
    assert!(
        (3..30).contains(&in_vain),
        "{in_vain} dials of a dead node in a second"
    );
    fake.port(&order[0], Port::Open);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(connects(), in_vain + 1, "once it answers, one is enough");
    drop(client);
    fake.kill(&order[0]);
    fake.port(&order[0], Port::Open);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(connects(), in_vain + 1, "nobody dials for a client that is gone");
}

#[tokio::test(start_paused = true)]
async fn a_hint_may_name_a_node_that_was_not_given() {
    let fake = Fake::new(&NODES);
    fake.always("a:1", Reply::not_leader("c:1"));
    let client = fake.builder_of(["a:1"]).connect().unwrap();
    client.records().put(&key(), "v").await.unwrap();
    assert_eq!(fake.calls("c:1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_election_is_waited_out_with_pauses() {
    let fake = Fake::new(&NODES);
    // Each names another, as nodes do that have not heard of the new leader yet.
    for (name, hint) in [("a:1", "b:1"), ("b:1", "c:1"), ("c:1", "a:1")] {
        fake.script(name, std::iter::repeat_n(Reply::not_leader(hint), 4));
    }
    let client = fake.builder().connect().unwrap();
    let start = Instant::now();
    client.records().put(&key(), "v").await.unwrap();
    let took = start.elapsed().as_millis();
    assert!((15..1_000).contains(&took), "{took} ms");
    assert!(fake.all_calls() <= 13);
}

#[tokio::test(start_paused = true)]
async fn refused_and_cut_connections_cost_no_time() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.port(&order[0], Port::Refused);
    fake.script(&order[1], [Reply::Drop]);
    let client = fake.builder().connect().unwrap();
    let start = Instant::now();
    client.records().put(&key(), "v").await.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(fake.calls(&order[2]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_killed_between_calls_is_left_at_once() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    let client = fake.builder().connect().unwrap();
    client.records().put(&key(), "v").await.unwrap();
    fake.kill(&order[0]);
    let start = Instant::now();
    client.records().put(&key(), "w").await.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_never_left_leaves_no_doubt() {
    let fake = Fake::new(&NODES);
    let client = fake.builder().deadline(Duration::from_secs(1)).connect().unwrap();
    client.records().put(&key(), "v").await.unwrap();
    for name in NODES {
        fake.kill(name);
    }
    // Until the client has seen its connections end, a change may leave and never be heard of.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = client.records().put(&key(), "w").await.unwrap_err();
    assert_eq!((error.kind, error.unanswered), (ErrorKind::Unavailable, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hint_without_a_shard_holds_for_this_call() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.script(&order[0], [Reply::NotLeaderOfUnknown(order[2].clone())]);
    fake.builder()
        .connect()
        .unwrap()
        .records()
        .put(&key(), "v")
        .await
        .unwrap();
    assert_eq!((fake.calls(&order[1]).len(), fake.calls(&order[2]).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_address_is_tried_after_50_ms_without_a_connection() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.port(&order[0], Port::BlackHole);
    let client = fake.builder().connect().unwrap();
    let start = Instant::now();
    client.records().put(&key(), "v").await.unwrap();
    let took = start.elapsed().as_millis();
    assert!((50..60).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_mute_node_costs_the_wait_for_a_second_try_and_then_nothing() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.port(&order[0], Port::Mute);
    let client = fake.builder().connect().unwrap();
    let start = Instant::now();
    client.records().put(&key(), "v").await.unwrap();
    let took = start.elapsed().as_millis();
    assert!((150..170).contains(&took), "{took} ms");
    let start = Instant::now();
    client.records().put(&key(), "w").await.unwrap();
    assert!(start.elapsed().as_millis() < 2, "asked last for a while");
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_is_overtaken_and_nothing_happens_twice() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.always(&order[0], Reply::Slow(Duration::from_millis(400)));
    let client = fake.builder().connect().unwrap();
    let start = Instant::now();
    client.records().put(&key(), "v").await.unwrap();
    let took = start.elapsed().as_millis();
    assert!((150..170).contains(&took), "{took} ms");
    assert_eq!((done(&fake), fake.all_calls()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_never_exceeds_the_deadline() {
    for port in [Port::BlackHole, Port::Mute, Port::Refused] {
        let fake = Fake::new(&NODES);
        for name in NODES {
            fake.port(name, port);
        }
        let client = fake
            .builder()
            .deadline(Duration::from_millis(2_500))
            .connect()
            .unwrap();
        let start = Instant::now();
        let error = client.records().put(&key(), "v").await.unwrap_err();
        let took = start.elapsed().as_millis();
        assert!((2_200..=2_501).contains(&took), "{port:?}: {took} ms");
        let expected = if port == Port::Mute {
            ErrorKind::OutcomeUnknown
        } else {
            ErrorKind::Unavailable
        };
        assert_eq!(error.kind, expected, "{port:?}");
        assert_eq!(error.is_definite(), port != Port::Mute);
        let read = client.records().get(&key()).await.unwrap_err();
        assert!(!read.is_outcome_unknown(), "a read leaves no doubt");
    }
}

#[tokio::test(start_paused = true)]
async fn tries_grow_when_every_node_is_slow() {
    let fake = Fake::new(&NODES);
    for name in NODES {
        fake.always(name, Reply::Slow(Duration::from_millis(1_500)));
    }
    let alone = Duration::from_secs(60);
    let client = fake.builder().hedge_after(alone).connect().unwrap();
    client.records().put(&key(), "v").await.unwrap();
    assert_eq!(done(&fake), 1);
    assert_eq!(fake.all_calls(), 4, "three tries of 1 s, then one of 2 s");
}

#[tokio::test(start_paused = true)]
async fn advice_alone_decides_whether_a_refusal_is_final() {
    let finals = [
        (
            Code::InvalidArgument,
            Advice::FixRequest,
            "RECORD_TOO_LARGE",
            ErrorKind::Invalid,
        ),
        (
            Code::FailedPrecondition,
            Advice::ReadAgain,
            "GUARD_FAILED",
            ErrorKind::Conflict,
        ),
        (
            Code::Aborted,
            Advice::FixRequest,
            "REQUEST_ID_REUSED",
            ErrorKind::RequestIdReused,
        ),
        (
            Code::Unavailable,
            Advice::Operator,
            "STORE_DAMAGED",
            ErrorKind::Unavailable,
        ),
        (
            Code::PermissionDenied,
            Advice::FixRequest,
            "FORBIDDEN",
            ErrorKind::Forbidden,
        ),
    ];
    for (code, advice, reason, kind) in finals {
        let fake = Fake::new(&["a:1"]);
        fake.script("a:1", [Reply::Refuse(code, advice, reason)]);
        let error = fake
            .builder()
            .connect()
            .unwrap()
            .records()
            .put(&key(), "v")
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.reason.as_str(), error.attempts),
            (kind, reason, 1)
        );
        assert!(error.is_definite());
    }
    for advice in [
        Advice::RetrySameId,
        Advice::Wait,
        Advice::Elsewhere,
        Advice::OutcomeUnknown,
    ] {
        let fake = Fake::new(&["a:1"]);
        // A code that would be final without the advice.
        fake.script("a:1", [Reply::Refuse(Code::InvalidArgument, advice, "PASSING")]);
        fake.builder()
            .connect()
            .unwrap()
            .records()
            .put(&key(), "v")
            .await
            .unwrap();
        assert_eq!(
            fake.calls("a:1").len(),
            2,
            "{advice:?}",
            advice = i32::from(advice)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_advice_is_final_unless_the_stream_broke() {
    for (code, tries) in [
        (Code::NotFound, 1),
        (Code::Unimplemented, 1),
        (Code::Unavailable, 2),
    ] {
        let fake = Fake::new(&["a:1"]);
        fake.script("a:1", [Reply::Bare(code)]);
        let outcome = fake.builder().connect().unwrap().records().put(&key(), "v").await;
        assert_eq!(outcome.is_ok(), tries == 2, "{code:?}");
        assert_eq!(fake.calls("a:1").len(), tries);
    }
}

#[tokio::test(start_paused = true)]
async fn wait_waits_as_long_as_told_at_the_same_node_and_not_in_step_with_others() {
    let mut waited = BTreeSet::new();
    for seed in 0..8 {
        let fake = Fake::new(&NODES);
        let order = order(&fake).await;
        fake.script(&order[0], [Reply::Wait(300)]);
        let client = fake.builder().seed(seed).connect().unwrap();
        let start = Instant::now();
        client.records().put(&key(), "v").await.unwrap();
        let took = start.elapsed().as_millis();
        assert!((300..460).contains(&took), "{took} ms");
        assert_eq!(fake.calls(&order[0]).len(), 2);
        waited.insert(took);
    }
    assert!(waited.len() > 1, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_is_left_for_another_at_once() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    let draining = Reply::Refuse(Code::Unavailable, Advice::RetrySameId, "SHUTTING_DOWN");
    fake.always(&order[0], draining);
    let client = fake.builder().connect().unwrap();
    let start = Instant::now();
    client.records().put(&key(), "v").await.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((fake.calls(&order[0]).len(), fake.calls(&order[1]).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_ends_the_call_as_a_definite_refusal() {
    let fake = Fake::new(&["a:1"]);
    fake.always("a:1", Reply::Wait(60_000));
    let client = fake.builder().deadline(Duration::from_secs(2)).connect().unwrap();
    let start = Instant::now();
    let error = client.records().put(&key(), "v").await.unwrap_err();
    assert!(start.elapsed() <= Duration::from_millis(2_001));
    assert_eq!(
        (error.kind, error.reason.as_str()),
        (ErrorKind::RateLimited, "RATE_LIMITED")
    );
    assert!(error.is_definite());
}

#[tokio::test(start_paused = true)]
async fn a_doubt_stays_even_when_later_tries_are_refused() {
    let fake = Fake::new(&["a:1"]);
    fake.script("a:1", [Reply::Hang]);
    fake.always("a:1", Reply::NotLeader(None));
    let client = fake.builder().deadline(Duration::from_secs(3)).connect().unwrap();
    let error = client.records().put(&key(), "v").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutcomeUnknown);
    assert_eq!(error.unanswered, 1);
    // A caller with an id of its own learns the truth later.
    fake.always("a:1", Reply::Serve);
    let commit = Commit::new("RETRY-TEST").put("s", "v").request_id("mine");
    assert!(!client.records().commit(commit.clone()).await.unwrap().replayed);
    assert!(client.records().commit(commit).await.unwrap().replayed);
}

/// The first node does what `first` says, the second refuses; what came of the call, and what was asked.
async fn refused_after(first: Reply, then: &[Reply]) -> (Fake, Result<Committed, Error>) {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.script(&order[0], [first]);
    let refused = Reply::Refuse(Code::Aborted, Advice::ReadAgain, "GUARD_FAILED");
    for name in &order[1..] {
        fake.script(name, [refused.clone()].into_iter().chain(then.iter().cloned()));
    }
    let client = fake.builder().deadline(Duration::from_secs(3)).connect();
    let client = client.expect("a client");
    let outcome = client.records().put(&key(), "v").await;
    (fake, outcome)
}

fn settles(fake: &Fake) -> usize {
    let calls = NODES.iter().flat_map(|name| fake.calls(name));
    calls.filter(|call| call.starts_with("settle ")).count()
}

/// Else the try without an answer could still do what the caller believes refused.
#[tokio::test(start_paused = true)]
async fn a_refusal_counts_once_no_try_can_take_effect_any_more() {
    for first in [Reply::Hang, Reply::Drop] {
        let (fake, outcome) = refused_after(first, &[]).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.reason, "GUARD_FAILED", "{error:?}");
        assert_eq!(settles(&fake), 1);
        assert_eq!(fake.store.lock().voided.len(), 1, "given up for good");
        assert_eq!(done(&fake), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_refusal_where_an_earlier_try_took_effect() {
    for first in [Reply::ServeThenHang, Reply::ServeThenDrop] {
        let (fake, outcome) = refused_after(first, &[]).await;
        assert!(outcome.unwrap().replayed);
        assert_eq!((settles(&fake), done(&fake)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_a_doubt_where_nobody_can_settle_it() {
    let refused = Reply::Refuse(Code::Aborted, Advice::ReadAgain, "GUARD_FAILED");
    // An older release, which does not know the question; and nobody who answers it.
    for then in [vec![refused; 2], vec![Reply::Hang; 200]] {
        let (fake, outcome) = refused_after(Reply::Drop, &then).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, ErrorKind::OutcomeUnknown, "{error:?}");
        assert!(settles(&fake) >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_every_try_answered_is_not_settled() {
    let refused = Reply::Refuse(Code::Aborted, Advice::ReadAgain, "GUARD_FAILED");
    let (fake, outcome) = refused_after(refused, &[]).await;
    assert!(outcome.unwrap_err().is_conflict());
    assert_eq!(settles(&fake), 0);
}

/// A request that is wrong is wrong for every node.
#[tokio::test(start_paused = true)]
async fn a_wrong_request_leaves_no_doubt() {
    let fake = Fake::new(&NODES);
    let order = order(&fake).await;
    fake.script(&order[0], [Reply::Hang]);
    for name in NODES {
        fake.always(
            name,
            Reply::Refuse(Code::InvalidArgument, Advice::FixRequest, "MALFORMED_KEY"),
        );
    }
    let client = fake.builder().connect().unwrap();
    let error = client.records().put(&key(), "v").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn pauses_are_bounded_and_their_number_too() {
    let fake = Fake::new(&["a:1"]);
    fake.always("a:1", Reply::NotLeader(None));
    let client = fake.builder().connect().unwrap();
    let error = client.records().put(&key(), "v").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotLeader);
    // 10 s of pauses that grow to between 125 and 250 ms.
    assert!((40..90).contains(&error.attempts), "{}", error.attempts);
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_allowed_wait_within_their_deadline() {
    let fake = Fake::new(&["a:1"]);
    fake.always("a:1", Reply::Hang);
    let client = fake
        .builder()
        .calls_in_flight_max(1)
        .deadline(Duration::from_secs(2))
        .connect()
        .unwrap();
    let records = client.records();
    let hurried = client.records().with_deadline(Duration::from_secs(1));
    let (key_a, key_b) = (key(), key());
    let (first, second) = tokio::join!(records.get(&key_a), hurried.get(&key_b));
    assert_eq!(first.unwrap_err().kind, ErrorKind::DeadlineExceeded);
    assert_eq!(second.unwrap_err().reason, "CLIENT_BUSY");
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_caller_are_told_before_anything_is_sent() {
    let fake = Fake::new(&["a:1"]);
    let client = fake.builder().connect().unwrap();
    let long = Commit::new("K").put("s", "v").request_id("x".repeat(65));
    assert_eq!(
        client.records().commit(long).await.unwrap_err().reason,
        "INVALID_REQUEST_ID"
    );
    let malformed = Key::new("not a key", "s");
    assert_eq!(
        client.records().get(&malformed).await.unwrap_err().reason,
        "MALFORMED_KEY"
    );
    assert_eq!(
        fake.builder_of(["nonsense"]).connect().unwrap_err().reason,
        "MALFORMED_ADDRESS"
    );
    assert_eq!(
        fake.builder_of([""; 0]).connect().unwrap_err().reason,
        "NO_ENDPOINTS"
    );
    assert_eq!(fake.all_calls(), 0);
}

#[test]
fn a_client_outlives_the_runtime_that_began_its_dial() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let fake = Fake::new(&["a:1"]);
    fake.port("a:1", Port::BlackHole);
    let client = runtime().block_on(async {
        let client = fake
            .builder()
            .deadline(Duration::from_millis(100))
            .connect()
            .unwrap();
        client.records().get(&key()).await.unwrap_err();
        client
    });
    fake.port("a:1", Port::Open);
    runtime().block_on(async { client.records().get(&key()).await.unwrap() });
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_own_connection_was_not_executed() {
    const CALLS: usize = 200;
    let fake = Fake::new(&["a:1"]);
    fake.store.lock().is_deaf = true;
    let client = fake.builder().connect().unwrap();
    // The stream of calls is open after it, whichever way this one went.
    let _ = client.records().get(&key()).await;
    let records = client.records();
    let (key, value) = (key(), vec![0; 32 * 1024]);
    let puts = (0..CALLS).map(|_| records.put(&key, value.clone()));
    let answers = futures_util::future::join_all(puts).await;
    let kinds = answers.into_iter().map(|answer| answer.unwrap_err().kind);
    let (sent, waited): (Vec<_>, Vec<_>) = kinds.partition(|kind| *kind == ErrorKind::OutcomeUnknown);
    assert!(!sent.is_empty() && !waited.is_empty(), "{sent:?} {waited:?}");
    assert!(
        waited.iter().all(|kind| *kind == ErrorKind::RateLimited),
        "{waited:?}"
    );
}
