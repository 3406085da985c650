//! The answering end of a log or bulk connection: requests are handled side by side, within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{GroupResponse, Lane, PeerFrame, SnapshotStart, snapshot_part};
use spine_proto::internal::raft::v1::{cluster_request, group_response};
use tokio::io::{AsyncRead, split};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::{NO_NODE, PeerHandler};
use super::counters::{Counters, add};
use super::error::RefusalReason;
use super::frame::{FrameError, FrameReader, encode, encode_within};
use super::handshake::{Admission, Greeted};
use super::limits::{
    BOOTSTRAP_IDLE_LIMIT, HANDLING_BYTES_MAX, HANDLING_MAX, KEEP_ALIVE_INTERVAL, LENGTH_BYTES,
    frame_bytes_max,
};
use super::queue::SendQueue;
use super::snapshot::SnapshotReceiver;

/// What one peer may have under way on one lane; outlives its connections.
#[derive(Default)]
pub(crate) struct Bounds {
    groups: Bound,
    calls: Bound,
}

struct Bound {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Bound {
    async fn wait(&self, bytes: u32) -> Option<Permits> {
        let request = self.requests.clone().acquire_owned().await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.ok()?;
        Some((request, bytes))
    }

    fn now(&self, bytes: u32) -> Option<Permits> {
        let request = self.requests.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes).ok()?;
        Some((request, bytes))
    }
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(HANDLING_MAX)),
            bytes: Arc::new(Semaphore::new(HANDLING_BYTES_MAX)),
        }
    }
}

pub(crate) struct Server {
    pub(crate) admission: Admission,
    pub(crate) handler: Arc<dyn PeerHandler>,
    pub(crate) bounds: Arc<Bounds>,
    /// Shared by all connections of the node.
    pub(crate) snapshots: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
}

/// What the tasks of one connection share.
struct Line {
    queue: Arc<SendQueue>,
    lane: Lane,
    /// Requests under way.
    handling: AtomicU64,
    answers: AtomicU64,
    begun: Notify,
    counters: Arc<Counters>,
}

impl Line {
    /// A request began or bytes of one came.
    fn begin(self: &Arc<Self>) -> Handling {
        self.handling.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        Handling(self.clone())
    }

    async fn answer(&self, call_id: u64, body: Body) {
        let frame = encode_within(call_id, Some(body), frame_bytes_max(self.lane)).unwrap_or_else(|_| {
            let refusal = RefusalReason::AnswerTooLarge.to_wire();
            encode(call_id, Some(Body::Refusal(refusal)))
        });
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.queue.push(frame).await;
    }

    /// Says now and then that we are alive, while the peer waits for something.
    async fn keep_alive(&self, received: &AtomicU64) {
        loop {
            self.begun.notified().await;
            let mut seen = (u64::MAX, u64::MAX);
            loop {
                sleep(KEEP_ALIVE_INTERVAL).await;
                let answers = self.answers.load(Ordering::Relaxed);
                let bytes = received.load(Ordering::Relaxed);
                let busy = self.handling.load(Ordering::Relaxed) > 0 || bytes != seen.1;
                if !busy {
                    break;
                }
                if answers == seen.0 {
                    self.queue.try_push(encode(0, None));
                }
                seen = (answers, bytes);
            }
        }
    }
}

/// What a node may ask that belongs to no cluster yet: to begin one, or to be let in.
fn is_for_anybody(body: &Body) -> bool {
    match body {
        Body::Bootstrap(_) => true,
        Body::Cluster(request) => matches!(request.kind, Some(cluster_request::Kind::Join(_))),
        _ => false,
    }
}

/// One request under way.
struct Handling(Arc<Line>);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.handling.fetch_sub(1, Ordering::Relaxed);
    }
}

type Snapshots = BTreeMap<u64, mpsc::Sender<snapshot_part::Kind>>;

impl Server {
    /// Serves the connection until it ends or is told to.
    pub(crate) async fn run(&self, greeted: Greeted, stop: CancellationToken) {
        let (read, mut write) = split(greeted.stream);
        let received = Arc::new(AtomicU64::new(0));
        let line = Arc::new(Line {
            queue: SendQueue::new(),
            lane: self.lane(),
            handling: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            begun: Notify::new(),
            counters: self.counters.clone(),
        });
        let mut reader = FrameReader::new(read, greeted.rest, self.counters.clone());
        let arrived = line.clone();
        let counted = received.clone();
        reader.on_bytes(move |bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
            arrived.begun.notify_one();
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => (),
            () = self.read(&mut reader, &line) => (),
            _ = line.queue.write_to(&mut write, &self.counters) => (),
            () = line.keep_alive(&received) => (),
        }
        line.queue.close();
    }

    fn lane(&self) -> Lane {
        match self.admission {
            Admission::Peer { lane, .. } => lane,
            Admission::Bootstrap => Lane::Log,
        }
    }

    async fn read<R: AsyncRead + Unpin>(&self, reader: &mut FrameReader<R>, line: &Arc<Line>) {
        let mut snapshots = Snapshots::new();
        loop {
            let next = reader.next(frame_bytes_max(line.lane));
            let frame = match self.admission {
                Admission::Peer { .. } => next.await,
                Admission::Bootstrap => match timeout(BOOTSTRAP_IDLE_LIMIT, next).await {
                    Ok(frame) => frame,
                    Err(_) => return,
                },
            };
            match frame {
                Ok((frame, bytes)) => {
                    if !self.accept(frame, bytes, line, &mut snapshots).await {
                        add(&self.counters.garbage, 1);
                        return;
                    }
                }
                Err(FrameError::Garbage) => {
                    add(&self.counters.garbage, 1);
                    return;
                }
                Err(FrameError::Ended) => return,
            }
        }
    }

    /// False for a frame that has no business here.
    async fn accept(
        &self,
        frame: PeerFrame,
        bytes: usize,
        line: &Arc<Line>,
        snapshots: &mut Snapshots,
    ) -> bool {
        let call_id = frame.call_id;
        if call_id == 0 {
            return false;
        }
        match (self.admission, frame.body) {
            (Admission::Bootstrap, Some(body)) if is_for_anybody(&body) => {
                self.handle(NO_NODE, call_id, body, bytes, line).await;
            }
            (Admission::Bootstrap, _) => {
                add(&self.counters.refusals, 1);
                let refusal = RefusalReason::NotInitialised.to_wire();
                line.answer(call_id, Body::Refusal(refusal)).await;
            }
            (
                Admission::Peer { node, .. },
                Some(
                    body @ (Body::Request(_)
                    | Body::Execute(_)
                    | Body::Status(_)
                    | Body::Bootstrap(_)
                    | Body::Plan(_)
                    | Body::Cluster(_)
                    | Body::Change(_)),
                ),
            ) => self.handle(node, call_id, body, bytes, line).await,
            (
                Admission::Peer {
                    node,
                    lane: Lane::Bulk,
                },
                Some(Body::SnapshotPart(part)),
            ) => match part.kind {
                Some(snapshot_part::Kind::Start(start)) => {
                    self.begin_snapshot(node, call_id, start, line, snapshots).await;
                }
                Some(kind) => pass_on(call_id, kind, snapshots).await,
                None => return false,
            },
            // A request from a release newer than ours.
            (Admission::Peer { .. }, None) => {
                let refusal = RefusalReason::Unsupported.to_wire();
                line.answer(call_id, Body::Refusal(refusal)).await;
            }
            (Admission::Peer { .. }, Some(_)) => return false,
        }
        true
    }

    /// Starts a request. If too many are under way, a group request waits, which slows the sender, and a call is
    /// refused: waiting for calls here would hold up the appends behind it, which those calls may need.
    async fn handle(&self, from: NodeId, call_id: u64, body: Body, bytes: usize, line: &Arc<Line>) {
        let handling = line.begin();
        let bytes = u32::try_from(bytes + LENGTH_BYTES).unwrap_or(u32::MAX);
        let permits = match body {
            Body::Request(_) => self.bounds.groups.wait(bytes).await,
            _ => self.bounds.calls.now(bytes),
        };
        let Some(permits) = permits else {
            let refusal = RefusalReason::Busy.to_wire();
            return line.answer(call_id, Body::Refusal(refusal)).await;
        };
        let handler = self.handler.clone();
        let line = line.clone();
        tokio::spawn(async move {
            let body = handler.handle(from, body).await;
            drop(permits);
            line.answer(call_id, body).await;
            drop(handling);
        });
    }

    async fn begin_snapshot(
        &self,
        from: NodeId,
        call_id: u64,
        start: SnapshotStart,
        line: &Arc<Line>,
        snapshots: &mut Snapshots,
    ) {
        snapshots.retain(|_, parts| !parts.is_closed());
        let Ok(permit) = self.snapshots.clone().try_acquire_owned() else {
            let text = "SNAPSHOTS_BUSY".to_string();
            let busy = GroupResponse {
                kind: Some(group_response::Kind::Unavailable(text)),
            };
            line.answer(call_id, Body::Response(busy)).await;
            return;
        };
        let (parts, receiver) = SnapshotReceiver::channel();
        snapshots.insert(call_id, parts);
        let handling = line.begin();
        let handler = self.handler.clone();
        let line = line.clone();
        tokio::spawn(async move {
            let response = handler.snapshot(from, start, receiver).await;
            drop(permit);
            add(&line.counters.snapshots_received, 1);
            line.answer(call_id, Body::Response(response)).await;
            drop(handling);
        });
    }
}

/// A part of a snapshot that nobody takes any more is dropped: its answer is on the way.
async fn pass_on(call_id: u64, kind: snapshot_part::Kind, snapshots: &mut Snapshots) {
    let Some(parts) = snapshots.get(&call_id) else {
        return;
    };
    let last = matches!(kind, snapshot_part::Kind::End(_) | snapshot_part::Kind::Abort(_));
    let taken = parts.send(kind).await.is_ok();
    if last || !taken {
        snapshots.remove(&call_id);
    }
}
