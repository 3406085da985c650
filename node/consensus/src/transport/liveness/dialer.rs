//! Keeps one watch connection to a peer, and gathers the proof when its process is gone.

use std::sync::Arc;

use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::Lane;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::driver::WatchLane;
use crate::transport::counters::add;
use crate::transport::dial::{ConnectError, connect};
use crate::transport::frame::{FrameError, FrameReader};
use crate::transport::handshake::{Greeted, greet};
use crate::transport::jitter::Backoff;
use crate::transport::limits::{WATCH_BACKOFF_MAX, WATCH_BACKOFF_MIN, WATCH_FRAME_BYTES_MAX};

pub(crate) struct Dialer {
    lane: Arc<WatchLane>,
    peer: NodeId,
    addresses: Vec<String>,
    stop: CancellationToken,
    backoff: Backoff,
}

/// How a connection ended.
enum End {
    /// The peer's side closed it.
    ByPeer,
    /// We gave it up.
    ByUs,
}

impl Dialer {
    pub(crate) fn new(
        lane: Arc<WatchLane>,
        peer: NodeId,
        addresses: Vec<String>,
        stop: CancellationToken,
    ) -> Self {
        let seed = lane.seed ^ peer.0.rotate_left(32);
        Self {
            lane,
            peer,
            addresses,
            stop,
            backoff: Backoff::new(seed, WATCH_BACKOFF_MIN, WATCH_BACKOFF_MAX),
        }
    }

    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => (),
            () = self.keep_connected() => (),
        }
    }

    async fn keep_connected(&mut self) {
        loop {
            match connect(&*self.lane.dialing.net, &self.addresses).await {
                Ok(stream) => {
                    let dialing = &self.lane.dialing;
                    let hello = dialing.introduction.hello(Lane::Watch, false);
                    let (own, counters) = (&dialing.introduction, &dialing.counters);
                    if let Ok(greeted) = greet(stream, hello, Some(self.peer), own, counters).await {
                        self.backoff.reset();
                        self.serve(greeted).await;
                        // At once: whether it refuses now is what everybody wants to know.
                        continue;
                    }
                }
                Err(error) => {
                    add(&self.lane.dialing.counters.connect_failures, 1);
                    self.note(error);
                }
            }
            let wait = self.backoff.next();
            sleep(wait).await;
        }
    }

    fn note(&self, error: ConnectError) {
        let mut table = self.lane.table.lock();
        let changed = match error {
            ConnectError::Refused => table.refused(self.peer, Instant::now()),
            ConnectError::Unreachable => table.not_refused(self.peer),
        };
        drop(table);
        if changed {
            self.lane.publish();
        }
    }

    async fn serve(&self, greeted: Greeted) {
        let connection = self.lane.connected(self.peer);
        let (read, write) = split(greeted.stream);
        let counters = self.lane.dialing.counters.clone();
        let reader = FrameReader::new(read, greeted.rest, counters);
        let end = tokio::select! {
            biased;
            end = self.wait_for_end(reader) => end,
            end = self.send_frames(write) => end,
        };
        if matches!(end, End::ByPeer) {
            self.lane.table.lock().closed(self.peer, connection);
        }
    }

    /// The peer sends nothing here that we know.
    async fn wait_for_end<R: AsyncRead + Unpin>(&self, mut reader: FrameReader<R>) -> End {
        loop {
            match reader.next(WATCH_FRAME_BYTES_MAX).await {
                Ok(_) => (),
                Err(FrameError::Ended) => return End::ByPeer,
                Err(FrameError::Garbage) => {
                    add(&self.lane.dialing.counters.garbage, 1);
                    return End::ByUs;
                }
            }
        }
    }

    async fn send_frames<W: AsyncWrite + Unpin>(&self, mut write: W) -> End {
        let began = Instant::now();
        let mut frames = self.lane.frame.subscribe();
        let mut was_deaf = false;
        loop {
            let frame = frames.borrow_and_update().clone();
            if !frame.is_empty() {
                let sent = async {
                    write.write_all(&frame).await?;
                    write.flush().await
                };
                if sent.await.is_err() {
                    return End::ByPeer;
                }
                let counters = &self.lane.dialing.counters;
                add(&counters.frames_sent, 1);
                add(&counters.bytes_sent, frame.len());
                add(&counters.writes, 1);
            }
            let now = Instant::now();
            let old_enough = now.saturating_duration_since(began) >= self.lane.timing.silence_limit;
            let deaf = old_enough && self.lane.table.lock().deaf(self.peer, now);
            // Not before a frame that says so is sent: a peer that hears us learns by it that we hear nobody.
            if deaf && was_deaf {
                return End::ByUs;
            }
            was_deaf = deaf;
            if frames.changed().await.is_err() {
                return End::ByUs;
            }
        }
    }
}
