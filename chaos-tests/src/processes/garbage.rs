//! Bytes that no honest peer or client sends, at every port.

use std::time::Duration;

use prost::Message;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{BootstrapRequest, GroupRequest, Hello, PeerFrame, StatusResponse};
use spine_proto::internal::shard::v1::ExecuteRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::workload::seeded;

/// Longest random burst, bytes.
const BURST_BYTES_MAX: usize = 64 * 1024;
/// A connection that gives no answer is left after so long.
const ANSWER_TIME: Duration = Duration::from_millis(20);
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// Half-open connections kept at once on each port.
const IDLE_CONNECTIONS: usize = 16;

/// What peers greet each other with.
const MAGIC: u64 = u64::from_le_bytes(*b"SPINE\0\0\x01");
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub connections: u64,
    pub bytes: u64,
    /// The port did not take a connection.
    pub refused: u64,
}

/// Sends garbage to one port for a while: random bytes, half-valid frames, headers that promise more than
/// comes, and connections that never say anything.
pub async fn send(address: &str, seed: u64, time: Duration) -> Sent {
    let mut random = seeded(seed, address);
    let mut sent = Sent::default();
    let mut idle: Vec<TcpStream> = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let Ok(Ok(mut stream)) = timeout(CONNECT_TIME, TcpStream::connect(address)).await else {
            sent.refused += 1;
            tokio::time::sleep(ANSWER_TIME).await;
            continue;
        };
        sent.connections += 1;
        let message = message(&mut random);
        let written = timeout(CONNECT_TIME, stream.write_all(&message)).await;
        if matches!(written, Ok(Ok(()))) {
            sent.bytes += message.len() as u64;
        }
        let mut answer = [0; 1024];
        let _ = timeout(ANSWER_TIME, stream.read(&mut answer)).await;
        if random.random_range(0..8) == 0 {
            if idle.len() >= IDLE_CONNECTIONS {
                idle.remove(0);
            }
            idle.push(stream);
        }
    }
    sent
}

/// One connection's worth.
fn message(random: &mut ChaCha8Rng) -> Vec<u8> {
    match random.random_range(0..9) {
        0 => noise(random, BURST_BYTES_MAX),
        1 => [HTTP2_PREFACE, &noise(random, 2_048)].concat(),
        2 => http2_frames(random),
        3 => grpc_with_garbage(random),
        4 => length_prefixed(random, u32::MAX),
        5 => length_prefixed(random, 1_024),
        6 => hello_like(random),
        7 => http1(random),
        _ => Vec::new(),
    }
}

fn noise(random: &mut ChaCha8Rng, len_max: usize) -> Vec<u8> {
    let len = random.random_range(1..=len_max);
    let mut bytes = vec![0; len];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Well-formed frame headers of any type, length and flags, around noise.
fn http2_frames(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = HTTP2_PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for _ in 0..random.random_range(1..20) {
        let kind = random.random_range(0..12);
        let flags = random.random();
        let stream = random.random_range(0..16);
        let body = noise(random, 512);
        bytes.extend(frame(kind, flags, stream, &body));
    }
    bytes
}

/// A call with plain headers whose message is noise, or shorter than it says.
fn grpc_with_garbage(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = HTTP2_PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    let paths = [
        "/spine.records.v1.RecordsService/Commit",
        "/spine.records.v1.RecordsService/Get",
        "/spine.pds.v1.PdsService/Load",
        "/spine.admin.v1.AdminService/GetNodeStatus",
        "/no.such.Service/Call",
    ];
    for stream in 0..random.random_range(1..30) {
        let path = paths[random.random_range(0..paths.len())];
        let mut headers = vec![0x83, 0x86];
        literal(&mut headers, ":path", path);
        literal(&mut headers, ":authority", "node");
        literal(&mut headers, "content-type", "application/grpc");
        literal(&mut headers, "te", "trailers");
        let id = stream * 2 + 1;
        bytes.extend(frame(1, 4, id, &headers));
        let mut body = vec![0];
        let noise = noise(random, 300);
        let promised = if random.random() {
            noise.len()
        } else {
            noise.len() * 1_000
        };
        body.extend(u32::try_from(promised).unwrap_or(u32::MAX).to_be_bytes());
        body.extend(noise);
        bytes.extend(frame(0, u8::from(random.random::<bool>()), id, &body));
    }
    bytes
}

/// An HTTP/2 header that is not compressed and not indexed.
fn literal(headers: &mut Vec<u8>, name: &str, value: &str) {
    headers.push(0);
    for text in [name, value] {
        // Every text here is shorter than the 127 bytes that one length byte can say.
        headers.push(u8::try_from(text.len().min(126)).unwrap_or(0));
        headers.extend(text.as_bytes());
    }
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// As peers frame messages: a length, then less or other than it says.
fn length_prefixed(random: &mut ChaCha8Rng, len_max: u32) -> Vec<u8> {
    let len = random.random_range(0..=len_max);
    let mut bytes = if random.random() {
        len.to_be_bytes().to_vec()
    } else {
        len.to_le_bytes().to_vec()
    };
    bytes.extend(noise(random, 1_024));
    bytes
}

/// A greeting as a peer's, of another cluster or of none, then frames of any kind and noise.
fn hello_like(random: &mut ChaCha8Rng) -> Vec<u8> {
    let cluster_id = if random.random() {
        noise(random, 16).into()
    } else {
        bytes::Bytes::new()
    };
    let hello = Hello {
        magic: MAGIC,
        wire_min: random.random_range(0..3),
        wire_max: random.random_range(0..9),
        cluster_id,
        node_id: random.random_range(0..5),
        lane: random.random_range(0..5),
        peer_address: "127.0.0.1:1".to_owned(),
        ..Hello::default()
    };
    let mut bytes = peer_frame(0, Body::Hello(hello));
    for call_id in 0..random.random_range(0..8) {
        let body = match random.random_range(0..4) {
            0 => Body::Request(GroupRequest {
                shard: random.random_range(0..9),
                ..GroupRequest::default()
            }),
            1 => Body::Execute(ExecuteRequest {
                request: noise(random, 64).into(),
                ..ExecuteRequest::default()
            }),
            2 => Body::Bootstrap(BootstrapRequest::default()),
            _ => Body::StatusIs(StatusResponse {
                node_status: noise(random, 64).into(),
            }),
        };
        bytes.extend(peer_frame(call_id, body));
    }
    bytes.extend(noise(random, 64));
    bytes
}

fn peer_frame(call_id: u64, body: Body) -> Vec<u8> {
    let frame = PeerFrame {
        call_id,
        body: Some(body),
    }
    .encode_to_vec();
    let length = u32::try_from(frame.len()).unwrap_or(0).to_le_bytes();
    [&length[..], &frame].concat()
}

fn http1(random: &mut ChaCha8Rng) -> Vec<u8> {
    let choices: [&[u8]; 5] = [
        b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nabc",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
        b"GET /readyz?verbose",
    ];
    let mut bytes = choices[random.random_range(0..choices.len())].to_vec();
    if random.random() {
        bytes.extend(b"X: ");
        bytes.extend(std::iter::repeat_n(b'a', random.random_range(0..100_000)));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn messages_vary_and_repeat_with_the_seed() {
        let all = |seed| {
            let mut random = seeded(seed, "a");
            (0..200).map(|_| message(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[tokio::test]
    async fn reaches_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sink = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
            }
        });
        let sent = send(&address, 1, Duration::from_millis(200)).await;
        sink.abort();
        assert!(sent.connections > 1 && sent.refused == 0, "{sent:?}");
    }
}
