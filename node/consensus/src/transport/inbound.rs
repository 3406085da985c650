//! Accepts connections and gives each to its lane.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::Lane;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::{PeerAddresses, PeerHandler};
use super::counters::add;
use super::error::RefusalReason;
use super::handshake::{Admission, Greeted, refuse, welcome};
use super::limits::{INBOUND_CONNECTIONS_MAX, SNAPSHOTS_IN_MAX};
use super::server::{Bounds, Server};
use super::slot::Dialing;
use crate::net::{Listener, Stream};

/// After an accept that failed, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// To tell somebody that there is no room.
const REFUSE_DEADLINE: Duration = Duration::from_millis(20);

pub(crate) struct Inbound {
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
}

struct Shared {
    dialing: Arc<Dialing>,
    handler: Arc<dyn PeerHandler>,
    peers: watch::Receiver<Arc<PeerAddresses>>,
    watch_lane: mpsc::Sender<(NodeId, Greeted)>,
    snapshots: Arc<Semaphore>,
    lanes: Mutex<BTreeMap<(NodeId, Lane), LaneOfPeer>>,
    stop: CancellationToken,
}

#[derive(Default)]
struct LaneOfPeer {
    bounds: Arc<Bounds>,
    newest: CancellationToken,
}

impl Inbound {
    pub(crate) fn new(
        dialing: Arc<Dialing>,
        handler: Arc<dyn PeerHandler>,
        peers: watch::Receiver<Arc<PeerAddresses>>,
        watch_lane: mpsc::Sender<(NodeId, Greeted)>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                dialing,
                handler,
                peers,
                watch_lane,
                snapshots: Arc::new(Semaphore::new(SNAPSHOTS_IN_MAX)),
                lanes: Mutex::default(),
                stop,
            }),
            connections: Arc::new(Semaphore::new(INBOUND_CONNECTIONS_MAX)),
        }
    }

    /// Accepts until told to stop.
    pub(crate) async fn run(self, listener: Box<dyn Listener>) {
        let mut peers = self.shared.peers.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return,
                Ok(()) = peers.changed() => {
                    self.shared.end_lanes_of_others();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.take(stream).await,
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn take(&self, mut stream: Box<dyn Stream>) {
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            add(&self.shared.dialing.counters.refusals, 1);
            let refusing = refuse(&mut stream, RefusalReason::TooManyConnections.to_wire());
            // Whoever does not even take this is dropped.
            let _ = timeout(REFUSE_DEADLINE, refusing).await;
            return;
        };
        let shared = self.shared.clone();
        tokio::spawn(async move { shared.serve(stream, permit).await });
    }
}

impl Shared {
    async fn serve(&self, stream: Box<dyn Stream>, permit: OwnedSemaphorePermit) {
        let knows = |node: NodeId| self.peers.borrow().contains_key(&node);
        let counters = &self.dialing.counters;
        let welcomed = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            welcomed = welcome(stream, &self.dialing.introduction, knows, counters) => welcomed,
        };
        let Some((greeted, admission)) = welcomed else {
            return;
        };
        let (bounds, stop) = match admission {
            Admission::Peer {
                node,
                lane: Lane::Watch,
            } => {
                // One per known peer lives there, so it needs no permit.
                drop(permit);
                // The watch lane ends only with the node.
                let _ = self.watch_lane.send((node, greeted)).await;
                return;
            }
            Admission::Peer { node, lane } => self.replace(node, lane),
            Admission::Bootstrap => (Arc::default(), self.stop.child_token()),
        };
        let server = Server {
            admission,
            handler: self.handler.clone(),
            bounds,
            snapshots: self.snapshots.clone(),
            counters: counters.clone(),
        };
        server.run(greeted, stop).await;
        drop(permit);
    }

    /// What a node sends that is no peer any more is not taken: it may lead a group, and would for ever.
    fn end_lanes_of_others(&self) {
        let peers = self.peers.borrow().clone();
        self.lanes.lock().retain(|(node, _), lane| {
            let is_known = peers.contains_key(node);
            if !is_known {
                lane.newest.cancel();
            }
            is_known
        });
    }

    /// A new connection of a peer takes the place of its older one, which it would not have opened for nothing.
    fn replace(&self, node: NodeId, lane: Lane) -> (Arc<Bounds>, CancellationToken) {
        let mut lanes = self.lanes.lock();
        let known = lanes.entry((node, lane)).or_default();
        known.newest.cancel();
        known.newest = self.stop.child_token();
        if !self.peers.borrow().contains_key(&node) {
            // Given up since it was greeted.
            known.newest.cancel();
        }
        (known.bounds.clone(), known.newest.clone())
    }
}
