//! A client that opens calls and takes them back at once, and others who are served meanwhile.

use std::time::Duration;

use spine_proto::records::v1::records_service_client::RecordsServiceClient;
use spine_proto::records::v1::{GetRequest, RecordKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::nodes::cluster;

/// Calls of one connection; each is taken back behind its first frame.
const CALLS: u32 = 10_000;
/// Connections that do so at a time.
const FLOODS: usize = 4;
/// The server ends such a connection within this: before it would for silence.
const SOON: Duration = Duration::from_secs(5);
/// Somebody else's call takes no longer.
const IN_TIME: Duration = Duration::from_secs(2);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;
/// `:method` POST, `:scheme` http, `:path` /, `:authority` x, as HPACK writes them without a table.
const HEAD: &[u8] = &[0x83, 0x86, 0x84, 0x01, 0x01, b'x'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Ends when the server has ended the connection.
async fn flood(address: String) {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    for call in 0..CALLS {
        let stream = 2 * call + 1;
        bytes.extend(frame(HEADERS, END_HEADERS, stream, HEAD));
        bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let ended = async {
        let mut taken = vec![0; 4_096];
        while read.read(&mut taken).await.is_ok_and(|count| count > 0) {}
    };
    // The server need not take all of it.
    let (_, ()) = tokio::join!(write.write_all(&bytes), ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_back_call_after_call_is_cut_off_and_others_are_served() {
    let machines = cluster(1).await;
    let address = machines[0].config.listen.grpc.clone();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = RecordsServiceClient::new(channel.connect().await.unwrap());
    let floods: Vec<_> = (0..FLOODS)
        .map(|_| tokio::spawn(timeout(SOON, flood(address.clone()))))
        .collect();
    loop {
        let ended = floods.iter().all(tokio::task::JoinHandle::is_finished);
        let key = RecordKey {
            routing_key: "key".to_owned(),
            ..RecordKey::default()
        };
        let began = Instant::now();
        client.get(GetRequest { key: Some(key) }).await.unwrap();
        assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
        if ended {
            break;
        }
    }
    for flood in floods {
        assert!(flood.await.unwrap().is_ok(), "the server ends the connection");
    }
}
