//! Snapshots on the bulk lane: parts that share one call id, answered once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{GroupResponse, Lane, SnapshotPart, SnapshotStart, snapshot_part};
use spine_proto::storage::v1::{SnapshotChunk, SnapshotEnd};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::caller::{Answer, Caller};
use super::counters::{Counters, add};
use super::error::PeerError;
use super::frame::encode_within;
use super::limits::{
    SNAPSHOT_IDLE_LIMIT, SNAPSHOT_INSTALL_LIMIT, SNAPSHOT_PARTS_QUEUED_MAX, frame_bytes_max,
};

/// Where the parts of a snapshot come from: chunks, then the end.
#[async_trait]
pub trait SnapshotParts: Send {
    /// The next part; `None` after the end.
    /// # Errors
    /// What the source says; the receiver is told to forget the snapshot.
    async fn next(&mut self) -> io::Result<Option<snapshot_part::Kind>>;
}

/// A part as the receiver sees it.
pub enum ReceivedPart {
    Chunk(SnapshotChunk),
    /// Nothing comes after this.
    End(SnapshotEnd),
}

/// Why a snapshot does not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The sender gave up.
    #[error("the sender gave the snapshot up")]
    Aborted,
    /// The connection ended.
    #[error("the connection ended during the snapshot")]
    Closed,
    /// Nothing came for too long.
    #[error("nothing came of the snapshot for too long")]
    Idle,
}

/// The receiving end: pull parts until the end. Slow pulling slows the sender.
pub struct SnapshotReceiver {
    parts: mpsc::Receiver<snapshot_part::Kind>,
    idle_limit: Duration,
}

impl SnapshotReceiver {
    pub(crate) fn channel() -> (mpsc::Sender<snapshot_part::Kind>, Self) {
        let (sender, parts) = mpsc::channel(SNAPSHOT_PARTS_QUEUED_MAX);
        let receiver = Self {
            parts,
            idle_limit: SNAPSHOT_IDLE_LIMIT,
        };
        (sender, receiver)
    }

    /// Gives up after another time without a part.
    pub fn set_idle_limit(&mut self, idle_limit: Duration) {
        self.idle_limit = idle_limit;
    }

    /// The next part.
    /// # Errors
    /// [`SnapshotError`]: what was received is to be thrown away.
    pub async fn next(&mut self) -> Result<ReceivedPart, SnapshotError> {
        match timeout(self.idle_limit, self.parts.recv()).await {
            Err(_) => Err(SnapshotError::Idle),
            Ok(None) => Err(SnapshotError::Closed),
            Ok(Some(snapshot_part::Kind::Chunk(chunk))) => Ok(ReceivedPart::Chunk(chunk)),
            Ok(Some(snapshot_part::Kind::End(end))) => Ok(ReceivedPart::End(end)),
            Ok(Some(snapshot_part::Kind::Start(_) | snapshot_part::Kind::Abort(_))) => {
                Err(SnapshotError::Aborted)
            }
        }
    }
}

/// Sends one snapshot over an open connection.
pub(crate) async fn send(
    caller: &Arc<Caller>,
    start: SnapshotStart,
    mut parts: impl SnapshotParts,
    idle_limit: Duration,
    cancel: impl Future<Output = ()> + Send,
    counters: &Counters,
) -> Result<GroupResponse, PeerError> {
    let mut answer = caller.register()?;
    tokio::pin!(cancel);
    let result = tokio::select! {
        biased;
        () = &mut cancel => Err(PeerError::Closed),
        result = transfer(caller, &mut answer, start, &mut parts, idle_limit) => result,
    };
    match &result {
        Ok(_) => add(&counters.snapshots_sent, 1),
        Err(_) => abort(caller, &answer),
    }
    result
}

async fn transfer(
    caller: &Arc<Caller>,
    answer: &mut Answer,
    start: SnapshotStart,
    parts: &mut impl SnapshotParts,
    idle_limit: Duration,
) -> Result<GroupResponse, PeerError> {
    let mut part = Some(snapshot_part::Kind::Start(start));
    while let Some(kind) = part {
        let push = push(caller, answer.id(), kind);
        tokio::select! {
            biased;
            body = answer.wait() => return response(body?),
            pushed = timeout(idle_limit, push) => pushed.map_err(|_| PeerError::Timeout)??,
        }
        part = tokio::select! {
            biased;
            body = answer.wait() => return response(body?),
            next = timeout(idle_limit, parts.next()) => match next {
                Err(_) => return Err(PeerError::Timeout),
                // The source failed: the receiver is told, the caller knows its own source.
                Ok(Err(_)) => return Err(PeerError::Closed),
                Ok(Ok(next)) => next,
            },
        };
    }
    match timeout(SNAPSHOT_INSTALL_LIMIT, answer.wait()).await {
        Err(_) => Err(PeerError::Timeout),
        Ok(body) => response(body?),
    }
}

async fn push(caller: &Caller, call_id: u64, kind: snapshot_part::Kind) -> Result<(), PeerError> {
    let body = Body::SnapshotPart(SnapshotPart { kind: Some(kind) });
    let frame = encode_within(call_id, Some(body), frame_bytes_max(Lane::Bulk))?;
    if caller.push(frame).await {
        Ok(())
    } else {
        Err(PeerError::Closed)
    }
}

/// Tells the receiver to forget the snapshot; if even that cannot be sent, the connection is useless.
fn abort(caller: &Caller, answer: &Answer) {
    let kind = snapshot_part::Kind::Abort(String::new());
    let body = Body::SnapshotPart(SnapshotPart { kind: Some(kind) });
    let told = encode_within(answer.id(), Some(body), frame_bytes_max(Lane::Bulk))
        .is_ok_and(|frame| caller.try_push(frame));
    if !told {
        caller.close();
    }
}

fn response(body: Body) -> Result<GroupResponse, PeerError> {
    match body {
        Body::Response(response) => Ok(response),
        _ => Err(PeerError::Closed),
    }
}
