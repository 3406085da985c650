//! Calls: many at once, out of order, forgotten, cut off.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spine_consensus::transport::limits::{HANDLING_MAX, LOG_FRAME_BYTES_MAX};
use spine_consensus::transport::{PeerAddresses, PeerError, RefusalReason, WatchDriver};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{BootstrapRequest, GroupRequest, Lane, StatusRequest, Watch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use crate::support::{SOON, echo, execute, introduce, node, node_of, nodes};

#[tokio::test]
async fn answers_come_back_in_any_order() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let began = Instant::now();
    let calls = (0..200u64).map(|n| {
        let links = nodes[0].links.clone();
        // Later calls are answered first.
        async move { (n, echo(&links, 2, 200 - n, n.to_string()).await) }
    });
    for (n, answer) in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), Bytes::from(n.to_string()));
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "they waited for each other"
    );
    let counted = nodes[0].links.counters();
    assert!(counted.writes < counted.frames_sent, "{counted:?}");
    assert_eq!(counted.garbage, 0);
}

#[tokio::test]
async fn nobody_takes_what_a_node_sends_that_is_no_peer_any_more() {
    let nodes = nodes(2, WatchDriver::Task).await;
    assert!(echo(&nodes[0].links, 2, 0, "x").await.is_ok());
    let slow = echo(&nodes[0].links, 2, 3_000, "x");
    let give_up = async {
        sleep(Duration::from_millis(100)).await;
        nodes[1].links.set_peers(PeerAddresses::new());
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(slow, give_up);
    assert!(answer.is_err(), "on the connection that it had");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(
        echo(&nodes[0].links, 2, 0, "x").await.is_err(),
        "nor on a new one"
    );
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_and_hold_up_no_group() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let calls = (0..HANDLING_MAX + 50).map(|_| echo(&nodes[0].links, 2, 1_000, "x"));
    let group = async {
        sleep(Duration::from_millis(300)).await;
        let body = Body::Request(GroupRequest::default());
        let limit = Duration::from_millis(300);
        nodes[0]
            .links
            .call(NodeId(2), Lane::Log, body, limit)
            .await
            .is_ok()
    };
    let (answers, group) = tokio::join!(futures_util::future::join_all(calls), group);
    let busy = answers
        .iter()
        .filter(|answer| **answer == Err(PeerError::Busy))
        .count();
    assert_eq!((busy, group), (50, true));
    assert_eq!(
        answers.iter().filter(|answer| answer.is_ok()).count(),
        HANDLING_MAX
    );
}

#[tokio::test]
async fn an_idle_connection_is_not_given_up() {
    let nodes = nodes(2, WatchDriver::Task).await;
    for _ in 0..50 {
        assert!(echo(&nodes[0].links, 2, 0, "x").await.is_ok());
    }
    sleep(Duration::from_millis(1_300)).await;
    assert!(echo(&nodes[0].links, 2, 0, "x").await.is_ok());
    let counted = nodes[0].links.counters();
    // Watch and log.
    assert_eq!((counted.stalled, counted.connects), (0, 2), "{counted:?}");
}

#[tokio::test]
async fn large_messages_pass_and_too_large_ones_are_not_sent() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let large = Bytes::from(vec![7; 7 << 20]);
    assert_eq!(echo(&nodes[0].links, 2, 0, large.clone()).await.unwrap(), large);
    let beyond = Bytes::from(vec![7; LOG_FRAME_BYTES_MAX]);
    let error = echo(&nodes[0].links, 2, 0, beyond).await.unwrap_err();
    assert!(matches!(error, PeerError::TooLarge { .. }) && error.not_sent());
    assert_eq!(nodes[1].handler.handled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dropped_call_is_forgotten_and_harms_no_other() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let dropped = tokio::time::timeout(
        Duration::from_millis(50),
        nodes[0].links.call(NodeId(2), Lane::Log, execute(150, "x"), SOON),
    );
    assert!(dropped.await.is_err());
    assert_eq!(echo(&nodes[0].links, 2, 200, "y").await.unwrap(), "y");
    assert_eq!(nodes[0].links.counters().late_answers, 1);
    let late = nodes[0]
        .links
        .call(NodeId(2), Lane::Log, execute(500, "z"), Duration::from_millis(30));
    assert_eq!(late.await.err(), Some(PeerError::Timeout));
    // A slow answer is no dead connection.
    assert_eq!(echo(&nodes[0].links, 2, 1_500, "slow").await.unwrap(), "slow");
    assert_eq!(nodes[0].links.counters().stalled, 0);
}

#[tokio::test]
async fn a_lost_connection_ends_calls_as_unknown_and_is_dialled_again() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let links = nodes[0].links.clone();
    let call = tokio::spawn(async move { echo(&links, 2, 2_000, "x").await });
    sleep(Duration::from_millis(100)).await;
    nodes[1].links.shutdown();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error, PeerError::Closed);
    assert!(!error.not_sent());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        echo(&nodes[0].links, 2, 0, "x").await.unwrap_err(),
        PeerError::Unreachable
    );

    let again = node(2, WatchDriver::Task).await;
    introduce(&[&nodes[0], &again]);
    assert_eq!(echo(&nodes[0].links, 2, 0, "x").await.unwrap(), "x");
}

#[tokio::test]
async fn a_peer_that_comes_back_at_its_address_is_reached_without_being_told() {
    let nodes = nodes(2, WatchDriver::Task).await;
    assert!(echo(&nodes[0].links, 2, 0, "x").await.is_ok());
    nodes[1].links.shutdown();
    sleep(Duration::from_millis(50)).await;
    let handler = nodes[1].handler.clone();
    let mut config = spine_consensus::transport::LinksConfig::new(
        crate::support::identity(2),
        nodes[1].address.clone(),
        9,
    );
    config.driver = WatchDriver::Task;
    config.peers = [(NodeId(1), vec![nodes[0].address.clone()])].into();
    let net = std::sync::Arc::new(spine_consensus::net::TokioNet);
    let again = spine_consensus::transport::Links::new(config, net, handler);
    again.start_listener(&nodes[1].address).await.unwrap();
    let began = Instant::now();
    while echo(&nodes[0].links, 2, 0, "x").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(2));
        sleep(Duration::from_millis(5)).await;
    }
    again.shutdown();
}

#[tokio::test]
async fn a_peer_that_takes_requests_and_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let one = node(1, WatchDriver::Task).await;
    one.links.set_peers([(NodeId(2), vec![address])].into());
    tokio::spawn(async move {
        // Greets correctly by echoing our own Hello with its id, then only reads.
        loop {
            let (mut stream, _) = silent.accept().await.unwrap();
            tokio::spawn(async move {
                let mut length = [0; 4];
                stream.read_exact(&mut length).await.unwrap();
                let mut hello = vec![0; u32::from_le_bytes(length) as usize];
                stream.read_exact(&mut hello).await.unwrap();
                let hello = crate::hostile::answer_as(2, &hello);
                stream.write_all(&hello).await.unwrap();
                let mut sink = vec![0; 4096];
                while stream.read(&mut sink).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    let began = Instant::now();
    assert_eq!(echo(&one.links, 2, 0, "x").await.unwrap_err(), PeerError::Closed);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(one.links.counters().stalled, 1);
}

#[tokio::test]
async fn unknown_peers_and_wrong_lanes_are_not_called() {
    let one = node(1, WatchDriver::Task).await;
    let status = || Body::Status(StatusRequest {});
    let error = one.links.call(NodeId(5), Lane::Log, status(), SOON).await.err();
    assert_eq!(error, Some(PeerError::Unreachable));
    one.links
        .set_peers([(NodeId(2), vec!["127.0.0.1:1".into()])].into());
    let error = one.links.call(NodeId(2), Lane::Watch, status(), SOON).await.err();
    assert_eq!(error, Some(PeerError::Refused(RefusalReason::WrongLane)));
}

#[tokio::test]
async fn refusals_reach_the_caller() {
    let two = node(2, WatchDriver::Task).await;
    let one = node(1, WatchDriver::Task).await;
    // Two does not know one.
    one.links
        .set_peers([(NodeId(2), vec![two.address.clone()])].into());
    let error = echo(&one.links, 2, 0, "x").await.unwrap_err();
    assert_eq!(error, PeerError::Refused(RefusalReason::UnknownNode));
    // One dials three and meets two.
    two.links
        .set_peers([(NodeId(1), vec![one.address.clone()])].into());
    one.links
        .set_peers([(NodeId(3), vec![two.address.clone()])].into());
    let error = echo(&one.links, 3, 0, "x").await.unwrap_err();
    assert_eq!(error, PeerError::Refused(RefusalReason::WrongNode));
    // One dials two and meets itself.
    one.links
        .set_peers([(NodeId(2), vec![one.address.clone()])].into());
    let error = echo(&one.links, 2, 0, "x").await.unwrap_err();
    assert_eq!(error, PeerError::Refused(RefusalReason::SelfConnection));
    assert!(one.links.counters().refusals >= 1 && two.links.counters().refusals >= 1);
}

#[tokio::test]
async fn before_a_cluster_exists_only_bootstrap_calls_are_answered() {
    let fresh = node_of(std::sync::Arc::default(), WatchDriver::Task).await;
    let one = node(1, WatchDriver::Task).await;
    let probe = || {
        Body::Bootstrap(BootstrapRequest {
            plan: None,
            probe: true,
        })
    };
    for from in [&one, &fresh] {
        let answer = from.links.call_address(&fresh.address, probe(), SOON).await;
        assert!(matches!(answer, Ok(Body::Bootstrapped(b)) if b.accepted && b.reason == "0"));
    }
    let status = Body::Status(StatusRequest {});
    let error = one.links.call_address(&fresh.address, status, SOON).await.err();
    assert_eq!(error, Some(PeerError::Refused(RefusalReason::NotInitialised)));
    one.links
        .set_peers([(NodeId(2), vec![fresh.address.clone()])].into());
    let error = echo(&one.links, 2, 0, "x").await.unwrap_err();
    assert_eq!(error, PeerError::Refused(RefusalReason::NotInitialised));
    let nobody = one.links.call_address("127.0.0.1:1", probe(), SOON).await.err();
    assert_eq!(nobody, Some(PeerError::Unreachable));
}

#[tokio::test]
async fn a_frame_that_is_no_request_closes_the_connection() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let body = Body::Watch(Watch::default());
    let error = nodes[0].links.call(NodeId(2), Lane::Log, body, SOON).await.err();
    assert_eq!(error, Some(PeerError::Closed));
    assert_eq!(nodes[1].links.counters().garbage, 1);
}
