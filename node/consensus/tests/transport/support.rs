//! Nodes that echo, and the simulator's network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use spine_consensus::net::{Listener, Net, Stream, TokioNet};
use spine_consensus::transport::{
    Identity, IdentityCell, Links, LinksConfig, PeerAddresses, PeerError, PeerHandler, ReceivedPart,
    SnapshotReceiver, WatchDriver,
};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{
    BootstrapResponse, GroupResponse, Lane, SnapshotResponse, SnapshotStart, StatusResponse, group_response,
};
use spine_proto::internal::shard::v1::{ExecuteRequest, ExecuteResponse, execute_response};
use tokio::time::sleep;

pub(crate) const CLUSTER: &[u8] = b"cluster number 1";
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Echoes, after the milliseconds that the operation names.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) handled: AtomicU64,
    /// Without a part for so long the receiver gives up, milliseconds; 0 = 300.
    pub(crate) idle_ms: AtomicU64,
    /// Wait before each part of a snapshot, milliseconds.
    pub(crate) part_ms: AtomicU64,
    /// Answer a snapshot after so many parts; 0 = at its end.
    pub(crate) stop_after: AtomicU64,
    pub(crate) parts: AtomicU64,
    pub(crate) snapshot_end: Mutex<Option<String>>,
}

#[async_trait]
impl PeerHandler for Echo {
    async fn handle(&self, from: NodeId, body: Body) -> Body {
        self.handled.fetch_add(1, Ordering::SeqCst);
        match body {
            Body::Execute(request) => {
                let ms = request.operation.parse().unwrap_or(0);
                sleep(Duration::from_millis(ms)).await;
                let outcome = execute_response::Outcome::Response(request.request);
                Body::Executed(ExecuteResponse {
                    outcome: Some(outcome),
                })
            }
            Body::Bootstrap(_) => Body::Bootstrapped(BootstrapResponse {
                accepted: true,
                reason: from.to_string(),
                node: None,
                cluster_id: Bytes::new(),
                ..BootstrapResponse::default()
            }),
            _ => Body::StatusIs(StatusResponse {
                node_status: Bytes::new(),
            }),
        }
    }

    async fn snapshot(&self, _: NodeId, _: SnapshotStart, mut parts: SnapshotReceiver) -> GroupResponse {
        let idle_ms = match self.idle_ms.load(Ordering::SeqCst) {
            0 => 300,
            ms => ms,
        };
        parts.set_idle_limit(Duration::from_millis(idle_ms));
        let end = loop {
            match parts.next().await {
                Ok(ReceivedPart::Chunk(_)) => {
                    let parts = self.parts.fetch_add(1, Ordering::SeqCst) + 1;
                    if parts == self.stop_after.load(Ordering::SeqCst) {
                        break "stopped".to_string();
                    }
                    sleep(Duration::from_millis(self.part_ms.load(Ordering::SeqCst))).await;
                }
                Ok(ReceivedPart::End(_)) => break "end".to_string(),
                Err(error) => break format!("{error:?}"),
            }
        };
        *self.snapshot_end.lock() = Some(end);
        GroupResponse {
            kind: Some(group_response::Kind::Snapshot(SnapshotResponse { vote: None })),
        }
    }
}

pub(crate) fn execute(wait_ms: u64, request: impl Into<Bytes>) -> Body {
    Body::Execute(ExecuteRequest {
        operation: wait_ms.to_string(),
        request: request.into(),
        ..ExecuteRequest::default()
    })
}

pub(crate) async fn echo(
    links: &Links,
    to: u64,
    wait_ms: u64,
    text: impl Into<Bytes>,
) -> Result<Bytes, PeerError> {
    let body = execute(wait_ms, text);
    match links.call(NodeId(to), Lane::Log, body, SOON).await? {
        Body::Executed(ExecuteResponse {
            outcome: Some(execute_response::Outcome::Response(bytes)),
        }) => Ok(bytes),
        _ => panic!("no echo"),
    }
}

pub(crate) fn identity(node: u64) -> Arc<IdentityCell> {
    IdentityCell::known(Identity {
        node: NodeId(node),
        cluster_id: Bytes::from_static(CLUSTER),
        incarnation: 0,
    })
}

pub(crate) struct Node {
    pub(crate) links: Links,
    pub(crate) handler: Arc<Echo>,
    pub(crate) address: String,
}

/// A node on loopback that knows nobody yet.
pub(crate) async fn node(id: u64, driver: WatchDriver) -> Node {
    node_of(identity(id), driver).await
}

pub(crate) async fn node_of(identity: Arc<IdentityCell>, driver: WatchDriver) -> Node {
    node_with(identity, driver, |_| ()).await
}

pub(crate) async fn node_with(
    identity: Arc<IdentityCell>,
    driver: WatchDriver,
    change: impl FnOnce(&mut LinksConfig),
) -> Node {
    let handler = Arc::new(Echo::default());
    let mut config = LinksConfig::new(identity, String::new(), 7);
    config.driver = driver;
    change(&mut config);
    let links = Links::new(config, Arc::new(TokioNet), handler.clone());
    let bound = links.start_listener("127.0.0.1:0").await.unwrap();
    Node {
        links,
        handler,
        address: bound.to_string(),
    }
}

/// Tells every node of all of them; ids count from 1.
pub(crate) fn introduce(nodes: &[&Node]) {
    let peers: PeerAddresses = (1..)
        .zip(nodes)
        .map(|(id, node)| (NodeId(id), vec![node.address.clone()]))
        .collect();
    for node in nodes {
        node.links.set_peers(peers.clone());
    }
}

pub(crate) async fn nodes(count: u64, driver: WatchDriver) -> Vec<Node> {
    let mut nodes = Vec::new();
    for id in 1..=count {
        nodes.push(node(id, driver).await);
    }
    introduce(&nodes.iter().collect::<Vec<_>>());
    nodes
}

/// The simulator's network.
pub(crate) struct TurmoilNet;

struct TurmoilListener(turmoil::net::TcpListener);

#[async_trait]
impl Listener for TurmoilListener {
    async fn accept(&self) -> std::io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((Box::new(stream), from))
    }
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[async_trait]
impl Net for TurmoilNet {
    async fn bind(&self, address: &str) -> std::io::Result<Box<dyn Listener>> {
        Ok(Box::new(TurmoilListener(
            turmoil::net::TcpListener::bind(address).await?,
        )))
    }
    async fn connect(&self, address: &str) -> std::io::Result<Box<dyn Stream>> {
        Ok(Box::new(turmoil::net::TcpStream::connect(address).await?))
    }
}
