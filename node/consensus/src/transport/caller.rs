//! The calling end of a connection: many calls under way, answers in any order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{Lane, PeerFrame};
use tokio::io::{AsyncRead, split};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, add};
use super::error::{PeerError, RefusalReason};
use super::frame::{FrameError, FrameReader, encode_within};
use super::handshake::Greeted;
use super::limits::{CALLS_IN_FLIGHT_MAX, STALL_LIMIT, frame_bytes_max};
use super::queue::SendQueue;

pub(crate) struct Caller {
    lane: Lane,
    queue: Arc<SendQueue>,
    pending: Mutex<Pending>,
    /// Calls that may still begin.
    slots: Semaphore,
    /// Group requests that may still begin: calls never stand in their way.
    group_slots: Semaphore,
    /// A request went out and nothing came since.
    waits: Notify,
    ended: CancellationToken,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Pending {
    last_id: u64,
    calls: BTreeMap<u64, oneshot::Sender<Option<Body>>>,
    unanswered_since: Option<Instant>,
    closed: bool,
}

/// A registered call. Dropping it forgets the call.
pub(crate) struct Answer {
    caller: Arc<Caller>,
    id: u64,
    body: oneshot::Receiver<Option<Body>>,
}

impl Answer {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer. Cancel-safe; to be awaited to its end once.
    pub(crate) async fn wait(&mut self) -> Result<Body, PeerError> {
        match (&mut self.body).await {
            Ok(Some(Body::Refusal(refusal))) => match RefusalReason::parse(&refusal.reason) {
                RefusalReason::Busy => Err(PeerError::Busy),
                reason => Err(PeerError::Refused(reason)),
            },
            Ok(Some(body)) => Ok(body),
            // An answer without a body we know comes from a release that is newer than ours.
            Ok(None) => Err(PeerError::Refused(RefusalReason::Unsupported)),
            Err(_) => Err(PeerError::Closed),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.caller.pending.lock().calls.remove(&self.id);
    }
}

impl Caller {
    pub(crate) fn new(lane: Lane, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            lane,
            queue: SendQueue::new(),
            pending: Mutex::default(),
            slots: Semaphore::new(CALLS_IN_FLIGHT_MAX),
            group_slots: Semaphore::new(CALLS_IN_FLIGHT_MAX),
            waits: Notify::new(),
            ended: CancellationToken::new(),
            counters,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Ends the connection and all its calls.
    pub(crate) fn close(&self) {
        self.ended.cancel();
        self.slots.close();
        self.group_slots.close();
        self.queue.close();
        let calls = {
            let mut pending = self.pending.lock();
            pending.closed = true;
            std::mem::take(&mut pending.calls)
        };
        // Their senders end here, so each call learns that its connection is gone.
        drop(calls);
    }

    /// Ends the connection if a request has met nothing for so long.
    pub(crate) fn close_if_stalled(&self, limit: Duration) {
        let since = self.pending.lock().unanswered_since;
        if since.is_some_and(|since| since.elapsed() >= limit) {
            add(&self.counters.stalled, 1);
            self.close();
        }
    }

    pub(crate) fn register(self: &Arc<Self>) -> Result<Answer, PeerError> {
        let (sender, body) = oneshot::channel();
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(PeerError::Unreachable);
        }
        pending.last_id += 1;
        let id = pending.last_id;
        pending.calls.insert(id, sender);
        drop(pending);
        Ok(Answer {
            caller: self.clone(),
            id,
            body,
        })
    }

    /// Queues a frame, waiting for room. False if the connection is closed.
    pub(crate) async fn push(&self, frame: Bytes) -> bool {
        // Before the push: the answer may come before we run again.
        self.note_sent();
        self.queue.push(frame).await
    }

    pub(crate) fn try_push(&self, frame: Bytes) -> bool {
        self.queue.try_push(frame)
    }

    fn note_sent(&self) {
        let mut pending = self.pending.lock();
        if pending.unanswered_since.is_none() {
            pending.unanswered_since = Some(Instant::now());
            drop(pending);
            self.waits.notify_one();
        }
    }

    /// One call. Dropping the future forgets it; the peer may still act on it.
    pub(crate) async fn call(self: &Arc<Self>, body: Body, until: Instant) -> Result<Body, PeerError> {
        let slots = match body {
            Body::Request(_) => &self.group_slots,
            _ => &self.slots,
        };
        let _slot = match timeout_at(until, slots.acquire()).await {
            Err(_) => return Err(PeerError::Busy),
            Ok(Err(_)) => return Err(PeerError::Unreachable),
            Ok(Ok(slot)) => slot,
        };
        let mut answer = self.register()?;
        let frame = encode_within(answer.id(), Some(body), frame_bytes_max(self.lane))?;
        match timeout_at(until, self.push(frame)).await {
            Err(_) => return Err(PeerError::Busy),
            Ok(false) => return Err(PeerError::Unreachable),
            Ok(true) => (),
        }
        match timeout_at(until, answer.wait()).await {
            Err(_) => {
                add(&self.counters.timeouts, 1);
                Err(PeerError::Timeout)
            }
            Ok(body) => body,
        }
    }

    /// Carries the connection until it ends.
    pub(crate) async fn run(&self, greeted: Greeted, stop: &CancellationToken) {
        let (read, mut write) = split(greeted.stream);
        let mut reader = FrameReader::new(read, greeted.rest, self.counters.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => (),
            () = self.ended.cancelled() => (),
            () = self.read(&mut reader) => (),
            _ = self.queue.write_to(&mut write, &self.counters) => (),
            () = self.stalled() => add(&self.counters.stalled, 1),
        }
        self.close();
    }

    async fn read<R: AsyncRead + Unpin>(&self, reader: &mut FrameReader<R>) {
        loop {
            match reader.next(frame_bytes_max(self.lane)).await {
                Ok((frame, _)) if is_answer(&frame) => self.deliver(frame),
                Ok(_) | Err(FrameError::Garbage) => {
                    add(&self.counters.garbage, 1);
                    return;
                }
                Err(FrameError::Ended) => return,
            }
        }
    }

    fn deliver(&self, frame: PeerFrame) {
        let mut pending = self.pending.lock();
        pending.unanswered_since = None;
        let call = pending.calls.remove(&frame.call_id);
        if !pending.calls.is_empty() {
            pending.unanswered_since = Some(Instant::now());
        }
        drop(pending);
        if frame.call_id == 0 {
            return;
        }
        let told = call.is_some_and(|call| call.send(frame.body).is_ok());
        if !told {
            add(&self.counters.late_answers, 1);
        }
    }

    /// Ends when a request met nothing for the stall limit. A peer that has a request answers it or says at
    /// least that it is busy with it, so this is a connection that lost bytes for good.
    async fn stalled(&self) {
        loop {
            let since = self.pending.lock().unanswered_since;
            match since {
                None => self.waits.notified().await,
                Some(since) if since.elapsed() >= STALL_LIMIT => return,
                Some(since) => sleep_until(since + STALL_LIMIT).await,
            }
        }
    }
}

/// What a called node may send. Id 0 without a body says only that it is alive.
fn is_answer(frame: &PeerFrame) -> bool {
    match frame.body {
        None => true,
        Some(
            Body::Response(_)
            | Body::Executed(_)
            | Body::Bootstrapped(_)
            | Body::StatusIs(_)
            | Body::PlanIs(_)
            | Body::ClusterDone(_)
            | Body::Changed(_)
            | Body::Refusal(_),
        ) => frame.call_id != 0,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_call_leaves_nothing_behind() {
        let caller = Caller::new(Lane::Log, Arc::default());
        let (one, two) = (caller.register().unwrap(), caller.register().unwrap());
        assert_ne!(one.id(), two.id());
        drop(one);
        assert_eq!(caller.pending.lock().calls.len(), 1);
        caller.close();
        assert!(caller.pending.lock().calls.is_empty());
        assert_eq!(caller.register().err(), Some(PeerError::Unreachable));
    }
}
