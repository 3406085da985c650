//! Strangers: garbage, hostile lengths, wrong Hellos, connections that say nothing.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_consensus::transport::WatchDriver;
use spine_consensus::transport::limits::{INBOUND_CONNECTIONS_MAX, MAGIC};
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{Hello, Lane, PeerFrame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{CLUSTER, SOON, echo, nodes};

fn framed(body: Body) -> Vec<u8> {
    let frame = PeerFrame {
        call_id: 0,
        body: Some(body),
    };
    let mut bytes = u32::try_from(frame.encoded_len()).unwrap().to_le_bytes().to_vec();
    frame.encode(&mut bytes).unwrap();
    bytes
}

/// The Hello of a node that agrees with everything.
pub(crate) fn answer_as(node: u64, frame: &[u8]) -> Vec<u8> {
    let frame = PeerFrame::decode(frame).unwrap();
    let Some(Body::Hello(mut hello)) = frame.body else {
        panic!("no hello")
    };
    hello.node_id = node;
    framed(Body::Hello(hello))
}

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        wire_min: 1,
        wire_max: 1,
        cluster_id: Bytes::from_static(CLUSTER),
        node_id: 1,
        lane: Lane::Log.into(),
        ..Hello::default()
    }
}

/// What a node answers before it closes.
async fn answer(address: &str, bytes: &[u8]) -> Option<Body> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut all = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut all));
    // A reset is a way of closing.
    let _ = read.await.expect("the connection is closed");
    (all.len() > 4).then(|| PeerFrame::decode(&all[4..]).unwrap().body.unwrap())
}

#[tokio::test]
async fn wrong_hellos_are_refused_by_name() {
    let nodes = nodes(2, WatchDriver::Task).await;
    type Change = fn(&mut Hello);
    let table: [(&str, Change); 6] = [
        ("WRONG_MAGIC", |h| h.magic = 1),
        ("WRONG_WIRE", |h| (h.wire_min, h.wire_max) = (9, 12)),
        ("WRONG_CLUSTER", |h| h.cluster_id = Bytes::from_static(b"other")),
        ("UNKNOWN_NODE", |h| h.node_id = 77),
        ("SELF_CONNECTION", |h| h.node_id = 2),
        ("WRONG_LANE", |h| h.lane = 9),
    ];
    for (reason, change) in table {
        let mut wrong = hello();
        change(&mut wrong);
        let got = answer(&nodes[1].address, &framed(Body::Hello(wrong))).await;
        assert!(
            matches!(&got, Some(Body::Refusal(refusal)) if refusal.reason == reason),
            "{reason}"
        );
    }
    let counted = nodes[1].links.counters();
    assert_eq!((counted.refusals, counted.wire_refusals), (6, 1));
}

#[tokio::test]
async fn garbage_is_closed_counted_and_harms_nobody() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let late_garbage = [framed(Body::Hello(hello())), vec![0xff; 64]].concat();
    let hostile_length = [framed(Body::Hello(hello())), u32::MAX.to_le_bytes().to_vec()].concat();
    let strangers: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 300],
        &late_garbage,
        &hostile_length,
    ];
    for bytes in strangers {
        answer(&nodes[1].address, bytes).await;
    }
    let counted = nodes[1].links.counters();
    assert_eq!(counted.garbage, 4, "{counted:?}");
    assert_eq!(echo(&nodes[0].links, 2, 0, "x").await.unwrap(), "x");
}

#[tokio::test]
async fn claimed_lengths_of_many_connections_take_no_memory() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let before = resident_kib();
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(&nodes[1].address).await.unwrap();
        // A hello of the largest size, of which only the claim comes.
        stream.write_all(&4096u32.to_le_bytes()).await.unwrap();
        stream.write_all(&[8; 100]).await.unwrap();
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
}

fn resident_kib() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_dropped() {
    let nodes = nodes(1, WatchDriver::Task).await;
    let mut stream = TcpStream::connect(&nodes[0].address).await.unwrap();
    let ended = timeout(Duration::from_secs(4), stream.read(&mut [0; 16])).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
    assert_eq!(nodes[0].links.counters().handshakes_failed, 1);
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused() {
    let nodes = nodes(1, WatchDriver::Task).await;
    let mut held = Vec::new();
    for _ in 0..INBOUND_CONNECTIONS_MAX {
        held.push(TcpStream::connect(&nodes[0].address).await.unwrap());
    }
    let got = answer(&nodes[0].address, b"").await;
    assert!(matches!(&got, Some(Body::Refusal(refusal)) if refusal.reason == "TOO_MANY_CONNECTIONS"));
}
