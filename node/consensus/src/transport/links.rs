//! All connections of a node with its peers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{GroupResponse, Lane, SnapshotStart};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::config::{LinksConfig, PeerAddresses, PeerHandler, WatchDriver};
use super::counters::{CounterValues, Counters};
use super::dial::connect;
use super::error::{PeerError, RefusalReason};
use super::handshake::{Greeted, Introduction, greet};
use super::inbound::Inbound;
use super::limits::{KEEP_ALIVE_INTERVAL, SNAPSHOTS_OUT_MAX, WATCH_HANDOVER_MAX};
use super::liveness::driver::{self, WatchLane};
use super::liveness::{LivenessSnapshot, LivenessTable};
use super::slot::{Dialing, Slot};
use super::snapshot::{self, SnapshotParts};
use crate::net::Net;

/// A stuck connection of a peer that is heard again is replaced after so many keep-alives without one.
const MISSED_KEEP_ALIVES: u32 = 3;

/// Handle to the links; clones share them.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    dialing: Arc<Dialing>,
    peers: RwLock<BTreeMap<NodeId, Peer>>,
    addresses: watch::Sender<Arc<PeerAddresses>>,
    lane: Arc<WatchLane>,
    watch_driver: WatchDriver,
    watch_inbound: mpsc::Sender<(NodeId, Greeted)>,
    /// Taken when the watch lane starts.
    watch_source: Mutex<Option<mpsc::Receiver<(NodeId, Greeted)>>>,
    snapshots_out: Semaphore,
    seed: u64,
    stop: CancellationToken,
}

struct Peer {
    addresses: Vec<String>,
    log: Arc<Slot>,
    bulk: Arc<Slot>,
    stop: CancellationToken,
}

impl Links {
    /// Links that dial nobody yet: calls dial, and [`Links::start_listener`] starts the watch lane.
    #[must_use]
    pub fn new(config: LinksConfig, net: Arc<dyn Net>, handler: Arc<dyn PeerHandler>) -> Self {
        let counters = Arc::new(Counters::default());
        let dialing = Arc::new(Dialing {
            net,
            introduction: Arc::new(Introduction::new(&config)),
            counters,
        });
        let (watch_inbound, watch_source) = mpsc::channel(WATCH_HANDOVER_MAX);
        let inner = Arc::new_cyclic(|inner: &Weak<Inner>| {
            let links = inner.clone();
            let lane = WatchLane {
                timing: config.timing,
                identity: config.identity,
                table: Mutex::new(LivenessTable::new(config.timing)),
                published: watch::Sender::new(Arc::default()),
                frame: watch::Sender::new(Bytes::new()),
                dialing: dialing.clone(),
                handler,
                progress: config.progress,
                leading: config.leading,
                unfit_shards: config.unfit_shards,
                clock: config.clock,
                plan_epoch: config.plan_epoch,
                stores: config.stores,
                unfit: config.unfit,
                on_back: Box::new(move |peer| {
                    if let Some(links) = links.upgrade() {
                        links.peer_is_back(peer);
                    }
                }),
                seed: config.seed,
                sequence: std::sync::atomic::AtomicU64::new(0),
            };
            Inner {
                dialing,
                peers: RwLock::default(),
                addresses: watch::Sender::new(Arc::default()),
                lane: Arc::new(lane),
                watch_driver: config.driver,
                watch_inbound,
                watch_source: Mutex::new(Some(watch_source)),
                snapshots_out: Semaphore::new(SNAPSHOTS_OUT_MAX),
                seed: config.seed,
                stop: CancellationToken::new(),
            }
        });
        let links = Self { inner };
        links.set_peers(config.peers);
        links
    }

    /// Everybody we may talk to, by address. Connections to peers that stay where they are stay too.
    pub fn set_peers(&self, peers: PeerAddresses) {
        let inner = &self.inner;
        let mut known = inner.peers.write();
        known.retain(|peer, links| {
            let stays = peers.get(peer) == Some(&links.addresses);
            if !stays {
                links.stop.cancel();
            }
            stays
        });
        for (peer, addresses) in &peers {
            known
                .entry(*peer)
                .or_insert_with(|| inner.new_peer(*peer, addresses));
        }
        drop(known);
        inner.addresses.send_replace(Arc::new(peers));
    }

    /// Listens for peers, and starts the watch lane. To be called once, inside the main runtime.
    /// # Errors
    /// What binding says; `AlreadyExists` the second time.
    pub async fn start_listener(&self, address: &str) -> io::Result<SocketAddr> {
        let inner = &self.inner;
        let listener = inner.dialing.net.bind(address).await?;
        let bound = listener.local_addr()?;
        let source = inner.watch_source.lock().take();
        let source = source.ok_or(io::ErrorKind::AlreadyExists)?;
        self.start_watch_lane(source)?;
        let inbound = Inbound::new(
            inner.dialing.clone(),
            inner.lane.handler.clone(),
            inner.addresses.subscribe(),
            inner.watch_inbound.clone(),
            inner.stop.clone(),
        );
        tokio::spawn(inbound.run(listener));
        Ok(bound)
    }

    fn start_watch_lane(&self, source: mpsc::Receiver<(NodeId, Greeted)>) -> io::Result<()> {
        let inner = &self.inner;
        let stop = inner.stop.clone();
        // Where time is simulated every start has its own beat, so that runs differ.
        let aligned = inner.watch_driver == WatchDriver::Thread;
        let lane = driver::run(
            inner.lane.clone(),
            aligned,
            inner.addresses.subscribe(),
            source,
            stop,
        );
        match inner.watch_driver {
            WatchDriver::Task => {
                tokio::spawn(lane);
            }
            WatchDriver::Thread => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                std::thread::Builder::new()
                    .name("spine-watch".to_string())
                    .spawn(move || runtime.block_on(lane))?;
            }
        }
        Ok(())
    }

    /// One call. Dropping the future forgets it.
    /// # Errors
    /// [`PeerError`]; `not_sent()` tells whether the peer can have seen it.
    pub async fn call(
        &self,
        peer: NodeId,
        lane: Lane,
        body: Body,
        deadline: Duration,
    ) -> Result<Body, PeerError> {
        let until = Instant::now() + deadline;
        let caller = self.connection(peer, lane, until).await?;
        caller.call(body, until).await
    }

    async fn connection(&self, peer: NodeId, lane: Lane, until: Instant) -> Result<Arc<Caller>, PeerError> {
        let slot = {
            let peers = self.inner.peers.read();
            let peer = peers.get(&peer).ok_or(PeerError::Unreachable)?;
            match lane {
                Lane::Log => peer.log.clone(),
                Lane::Bulk => peer.bulk.clone(),
                Lane::Watch | Lane::Unspecified => {
                    return Err(PeerError::Refused(RefusalReason::WrongLane));
                }
            }
        };
        slot.connection(until).await
    }

    /// One call on a connection of its own to whoever listens there: bootstrap requests only.
    /// # Errors
    /// [`PeerError`]
    pub async fn call_address(
        &self,
        address: &str,
        body: Body,
        deadline: Duration,
    ) -> Result<Body, PeerError> {
        let until = Instant::now() + deadline;
        let dialing = &self.inner.dialing;
        let addresses = [address.to_string()];
        let greeting = async {
            let stream = connect(&*dialing.net, &addresses)
                .await
                .map_err(|_| PeerError::Unreachable)?;
            let hello = dialing.introduction.hello(Lane::Log, true);
            greet(stream, hello, None, &dialing.introduction, &dialing.counters).await
        };
        let greeted = timeout_at(until, greeting)
            .await
            .unwrap_or(Err(PeerError::Unreachable))?;
        let caller = Caller::new(Lane::Log, dialing.counters.clone());
        tokio::select! {
            biased;
            answer = caller.call(body, until) => answer,
            () = caller.run(greeted, &self.inner.stop) => Err(PeerError::Closed),
        }
    }

    /// Sends a snapshot on the bulk lane. No deadline for the whole; every part must move within
    /// `idle_limit`. `cancel` ending stops it.
    /// # Errors
    /// [`PeerError`]: `Busy` if two are under way already, `Closed` also if the source failed or `cancel` came.
    pub async fn send_snapshot(
        &self,
        peer: NodeId,
        start: SnapshotStart,
        parts: impl SnapshotParts,
        idle_limit: Duration,
        cancel: impl Future<Output = ()> + Send,
    ) -> Result<GroupResponse, PeerError> {
        let _permit = self
            .inner
            .snapshots_out
            .try_acquire()
            .map_err(|_| PeerError::Busy)?;
        let until = Instant::now() + idle_limit;
        let caller = self.connection(peer, Lane::Bulk, until).await?;
        let counters = &self.inner.dialing.counters;
        snapshot::send(&caller, start, parts, idle_limit, cancel, counters).await
    }

    /// Who is alive, at every change.
    #[must_use]
    pub fn liveness(&self) -> watch::Receiver<Arc<LivenessSnapshot>> {
        self.inner.lane.published.subscribe()
    }

    /// The next call to the peer dials at once.
    pub fn reset_backoff(&self, peer: NodeId) {
        if let Some(peer) = self.inner.peers.read().get(&peer) {
            peer.log.reset_backoff();
            peer.bulk.reset_backoff();
        }
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> CounterValues {
        self.inner.dialing.counters.values()
    }

    /// The protocol settled with a peer, the highest that both speak; `None` before there was a connection. Whoever adds
    /// a message to a later protocol asks this before sending it.
    #[must_use]
    pub fn settled_wire(&self, peer: NodeId) -> Option<u32> {
        self.inner.dialing.introduction.settled.with(peer)
    }

    /// The highest level that a peer of our cluster said is in force, when a connection was made.
    #[must_use]
    pub fn level_heard(&self) -> u32 {
        self.inner.dialing.introduction.settled.level()
    }

    /// Ends all connections and the watch lane. Calls under way end with `Closed`.
    pub fn shutdown(&self) {
        self.inner.stop.cancel();
    }
}

impl Inner {
    fn new_peer(&self, peer: NodeId, addresses: &[String]) -> Peer {
        let stop = self.stop.child_token();
        let slot = |lane: Lane, turn: u32| {
            Slot::new(
                peer,
                lane,
                addresses.to_vec(),
                self.dialing.clone(),
                self.seed ^ peer.0.rotate_left(turn),
                stop.clone(),
            )
        };
        Peer {
            addresses: addresses.to_vec(),
            log: slot(Lane::Log, 8),
            bulk: slot(Lane::Bulk, 16),
            stop: stop.clone(),
        }
    }

    /// Connections from before its absence may have lost bytes for good.
    fn peer_is_back(&self, peer: NodeId) {
        if let Some(peer) = self.peers.read().get(&peer) {
            for slot in [&peer.log, &peer.bulk] {
                if let Some(caller) = slot.open() {
                    caller.close_if_stalled(KEEP_ALIVE_INTERVAL * MISSED_KEEP_ALIVES);
                }
                slot.reset_backoff();
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
