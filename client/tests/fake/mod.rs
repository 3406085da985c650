//! A pretended cluster in this process: nodes that follow a script, on a network of pipes, so that
//! tests run under a paused clock.
#![allow(dead_code, reason = "every test file uses its own part")]

mod admin;
mod calls;
mod pds;
mod records;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message as _;
use spine_client::{Builder, SpineClient};
use spine_proto::admin::v1::admin_service_server::AdminServiceServer;
use spine_proto::calls::v1::calls_service_server::CallsServiceServer;
use spine_proto::common::v1::{Advice, ErrorDetail};
use spine_proto::pds::v1::pds_service_server::PdsServiceServer;
use spine_proto::records::v1::records_service_server::RecordsServiceServer;
use tokio::io::DuplexStream;
use tokio::task::AbortHandle;
use tonic::transport::Server;
use tonic::{Code, Status};

/// Bytes in flight on a pretended connection.
const PIPE_BYTES: usize = 256 * 1024;

/// What a node does with one call.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Does the work and answers.
    Serve,
    /// Does the work and answers, naming this leader in the header.
    ServeNaming(String),
    /// Does the work, and the answer never comes.
    ServeThenHang,
    /// Does the work and drops every connection.
    ServeThenDrop,
    /// The same, and from then on every session is forgotten.
    ServeThenForget,
    /// Does nothing for ever.
    Hang,
    /// Drops every connection, nothing done.
    Drop,
    /// Does the work after a while.
    Slow(Duration),
    /// Refuses, with the leader's address where it knows one.
    NotLeader(Option<String>),
    /// The same, by a node that does not know which shard it is.
    NotLeaderOfUnknown(String),
    /// Refuses with this code, advice and reason.
    Refuse(Code, Advice, &'static str),
    /// Refuses with WAIT and so many milliseconds.
    Wait(u32),
    /// A status without any detail, as a proxy would send it.
    Bare(Code),
}

/// How a node's port behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Open,
    Refused,
    /// A connect never comes back.
    BlackHole,
    /// Connects, and nothing ever answers.
    Mute,
}

/// What the pretended cluster holds; shared by its nodes.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) index: u64,
    /// Request id -> revision: work done once.
    pub(crate) done: BTreeMap<String, u64>,
    /// Request ids of changes that were given up.
    pub(crate) voided: BTreeSet<String>,
    pub(crate) values: BTreeMap<(String, Vec<u8>), (u64, bytes::Bytes)>,
    /// What every record that is there reads as, instead of its value.
    pub(crate) reads_as: Option<bytes::Bytes>,
    /// What `cluster status` says: a value of `Health`.
    pub(crate) health: i32,
    /// Level in force.
    pub(crate) level: u32,
    /// Where `cluster status` says that the node is, instead of its name.
    pub(crate) advertised: Option<String>,
    pub(crate) fsyncs: u64,
    /// Whether sessions are known here; how many were opened; the ids of those that are forgotten.
    pub(crate) knows_sessions: bool,
    pub(crate) sessions_opened: u8,
    pub(crate) forgotten: Vec<u8>,
    /// Streams of calls are accepted, and nothing is ever read from them.
    pub(crate) is_deaf: bool,
    /// Lines registered.
    pub(crate) lines: BTreeMap<u64, bytes::Bytes>,
}

pub(crate) struct FakeNode {
    pub(crate) port: Port,
    script: VecDeque<Reply>,
    default: Reply,
    /// Request ids (or `get`) of the calls received, in order.
    pub(crate) calls: Vec<String>,
    pub(crate) connects: u32,
    connections: Vec<AbortHandle>,
    mute: Vec<DuplexStream>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) nodes: Arc<Mutex<BTreeMap<String, FakeNode>>>,
    pub(crate) store: Arc<Mutex<Store>>,
}

/// One node as its services see it.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) fake: Fake,
    pub(crate) name: String,
}

impl Fake {
    pub(crate) fn new(names: &[&str]) -> Self {
        let fake = Self::default();
        for name in names {
            let node = FakeNode {
                port: Port::Open,
                script: VecDeque::new(),
                default: Reply::Serve,
                calls: Vec::new(),
                connects: 0,
                connections: Vec::new(),
                mute: Vec::new(),
            };
            fake.nodes.lock().insert((*name).to_owned(), node);
        }
        fake
    }

    /// The node's next replies; afterwards it serves.
    pub(crate) fn script(&self, name: &str, replies: impl IntoIterator<Item = Reply>) {
        self.with(name, |node| node.script.extend(replies));
    }

    /// What the node does when its script is over.
    pub(crate) fn always(&self, name: &str, reply: Reply) {
        self.with(name, |node| node.default = reply);
    }

    pub(crate) fn port(&self, name: &str, port: Port) {
        self.with(name, |node| node.port = port);
    }

    pub(crate) fn kill(&self, name: &str) {
        self.with(name, |node| {
            node.port = Port::Refused;
            node.connections.drain(..).for_each(|c| c.abort());
        });
    }

    pub(crate) fn drop_connections(&self, name: &str) {
        self.with(name, |node| node.connections.drain(..).for_each(|c| c.abort()));
    }

    pub(crate) fn calls(&self, name: &str) -> Vec<String> {
        self.with(name, |node| node.calls.clone())
    }

    pub(crate) fn all_calls(&self) -> usize {
        self.nodes.lock().values().map(|node| node.calls.len()).sum()
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut FakeNode) -> T) -> T {
        act(self
            .nodes
            .lock()
            .get_mut(name)
            .expect("a node of this fake cluster"))
    }

    /// A client of every node, in the order of their names.
    pub(crate) fn builder(&self) -> Builder {
        let names: Vec<String> = self.nodes.lock().keys().cloned().collect();
        self.builder_of(names)
    }

    pub(crate) fn builder_of<S: Into<String>>(&self, names: impl IntoIterator<Item = S>) -> Builder {
        let fake = self.clone();
        SpineClient::builder()
            .endpoints(names)
            .seed(1)
            .principal("tester")
            .connector(tower::service_fn(move |uri: Uri| {
                let fake = fake.clone();
                async move { fake.open(uri.authority().map_or("", |a| a.as_str())).await }
            }))
    }

    /// Serves a node on a TCP port of loopback as well, for programs outside this process.
    pub(crate) async fn serve_tcp(&self, name: &str) -> String {
        let own = if name.starts_with("127.0.0.1:") {
            name
        } else {
            "127.0.0.1:0"
        };
        let listener = tokio::net::TcpListener::bind(own).await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let seat = Seat {
            fake: self.clone(),
            name: name.to_owned(),
        };
        let incoming = futures_util::stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(stream)
            });
            Some((accepted, listener))
        });
        tokio::spawn(seat.router().serve_with_incoming(incoming));
        address
    }

    async fn open(&self, name: &str) -> io::Result<TokioIo<DuplexStream>> {
        let port = self.nodes.lock().get_mut(name).map_or(Port::Refused, |node| {
            node.connects += 1;
            node.port
        });
        let (near, mut near_end) = tokio::io::duplex(PIPE_BYTES);
        match port {
            Port::Refused => return Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            Port::BlackHole => std::future::pending().await,
            Port::Mute => self.with(name, |node| node.mute.push(near_end)),
            Port::Open => {
                let seat = Seat {
                    fake: self.clone(),
                    name: name.to_owned(),
                };
                let (mut far_end, far) = tokio::io::duplex(PIPE_BYTES);
                let incoming = tokio_stream::once(Ok::<_, io::Error>(far));
                let server = seat
                    .router()
                    .serve_with_incoming(tokio_stream::StreamExt::chain(incoming, tokio_stream::pending()));
                tokio::spawn(server);
                // The pipe's middle: cutting it ends the connection for both sides.
                let task =
                    tokio::spawn(
                        async move { tokio::io::copy_bidirectional(&mut near_end, &mut far_end).await },
                    );
                self.with(name, |node| node.connections.push(task.abort_handle()));
            }
        }
        Ok(TokioIo::new(near))
    }
}

impl Seat {
    fn router(&self) -> tonic::transport::server::Router {
        Server::builder()
            .add_service(RecordsServiceServer::new(self.clone()))
            .add_service(PdsServiceServer::new(self.clone()))
            .add_service(AdminServiceServer::new(self.clone()))
            .add_service(CallsServiceServer::new(self.clone()))
    }

    /// Takes the next reply of the script; refusals and silences end here. `Ok(true)`: lose the answer.
    pub(crate) async fn before(&self, call: &str) -> Result<Reply, Status> {
        let reply = self.fake.with(&self.name, |node| {
            node.calls.push(call.to_owned());
            node.script.pop_front().unwrap_or_else(|| node.default.clone())
        });
        match reply {
            Reply::Hang => std::future::pending().await,
            Reply::Drop => {
                self.drop_all().await;
                Err(Status::unavailable("dropped"))
            }
            Reply::NotLeader(leader) => {
                let leader = leader.unwrap_or_default();
                Err(refusal(
                    Code::Unavailable,
                    Advice::Elsewhere,
                    "NOT_LEADER",
                    0,
                    &leader,
                ))
            }
            Reply::NotLeaderOfUnknown(leader) => Err(refusal_of(
                0,
                Code::Unavailable,
                Advice::Elsewhere,
                "NOT_LEADER",
                0,
                &leader,
            )),
            Reply::Refuse(code, advice, reason) => Err(refusal(code, advice, reason, 0, "")),
            Reply::Wait(ms) => Err(refusal(
                Code::ResourceExhausted,
                Advice::Wait,
                "RATE_LIMITED",
                ms,
                "",
            )),
            Reply::Bare(code) => Err(Status::new(code, "bare")),
            Reply::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(Reply::Serve)
            }
            reply => Ok(reply),
        }
    }

    /// What becomes of the answer of work that was done.
    pub(crate) async fn after<T>(&self, reply: Reply, answer: T) -> Result<tonic::Response<T>, Status> {
        let mut response = tonic::Response::new(answer);
        match reply {
            Reply::ServeThenHang => std::future::pending().await,
            Reply::ServeThenDrop => self.drop_all().await,
            Reply::ServeThenForget => {
                self.fake.store.lock().forgotten.extend(1..=u8::MAX);
                self.drop_all().await;
            }
            Reply::ServeNaming(leader) => {
                response
                    .metadata_mut()
                    .insert("spine-leader", leader.parse().expect("an address"));
            }
            _ => {}
        }
        Ok(response)
    }

    async fn drop_all(&self) {
        self.fake.drop_connections(&self.name);
        std::future::pending::<()>().await;
    }
}

pub(crate) fn refusal(code: Code, advice: Advice, reason: &str, retry_after_ms: u32, leader: &str) -> Status {
    refusal_of(1, code, advice, reason, retry_after_ms, leader)
}

fn refusal_of(
    shard: u32,
    code: Code,
    advice: Advice,
    reason: &str,
    retry_after_ms: u32,
    leader: &str,
) -> Status {
    let detail = ErrorDetail {
        reason: reason.to_owned(),
        advice: advice.into(),
        retry_after_ms,
        shard,
        leader_address: leader.to_owned(),
        ..ErrorDetail::default()
    };
    Status::with_details(code, "refused by script", detail.encode_to_vec().into())
}
