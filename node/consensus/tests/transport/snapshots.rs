//! Snapshots: to the end, slowed by the receiver, given up by either side.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use spine_consensus::transport::{PeerError, SnapshotParts, WatchDriver};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::{GroupResponse, SnapshotStart, group_response, snapshot_part};
use spine_proto::storage::v1::{SnapshotChunk, SnapshotEnd, SnapshotRecord};
use tokio::time::sleep;

use crate::support::{Node, SOON, echo, nodes};

/// Chunks of one size, then the end; or a failure.
struct Source {
    left: u64,
    bytes: usize,
    given: Arc<AtomicU64>,
    fails: bool,
    hangs: bool,
    ended: bool,
}

impl Source {
    fn new(chunks: u64, bytes: usize) -> Self {
        Self {
            left: chunks,
            bytes,
            given: Arc::default(),
            fails: false,
            hangs: false,
            ended: false,
        }
    }
}

#[async_trait]
impl SnapshotParts for Source {
    async fn next(&mut self) -> io::Result<Option<snapshot_part::Kind>> {
        if self.left > 0 {
            self.left -= 1;
            let sequence = self.given.fetch_add(1, Ordering::SeqCst);
            let stored = Bytes::from(vec![1; self.bytes]);
            let records = vec![SnapshotRecord {
                key: Bytes::new(),
                stored,
            }];
            return Ok(Some(snapshot_part::Kind::Chunk(SnapshotChunk {
                sequence,
                records,
            })));
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.fails {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        Ok(Some(snapshot_part::Kind::End(SnapshotEnd::default())))
    }
}

async fn send(from: &Node, source: Source) -> Result<GroupResponse, PeerError> {
    let start = SnapshotStart::default();
    let idle = Duration::from_millis(400);
    from.links
        .send_snapshot(NodeId(2), start, source, idle, std::future::pending())
        .await
}

async fn ended(node: &Node, with: &str) {
    let began = Instant::now();
    while node.handler.snapshot_end.lock().as_deref() != Some(with) {
        let end = node.handler.snapshot_end.lock().clone();
        assert!(began.elapsed() < SOON, "{end:?} instead of {with}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_snapshot_arrives_whole_and_is_answered() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let answer = send(&nodes[0], Source::new(40, 1 << 20)).await.unwrap();
    assert!(matches!(answer.kind, Some(group_response::Kind::Snapshot(_))));
    assert_eq!(nodes[1].handler.parts.load(Ordering::SeqCst), 40);
    ended(&nodes[1], "end").await;
    assert_eq!(nodes[0].links.counters().snapshots_sent, 1);
    assert_eq!(nodes[1].links.counters().snapshots_received, 1);
}

#[tokio::test]
async fn a_slow_receiver_slows_the_source_and_no_other_lane() {
    let nodes = nodes(2, WatchDriver::Task).await;
    nodes[1].handler.part_ms.store(20, Ordering::SeqCst);
    let source = Source::new(100, 1 << 20);
    let given = source.given.clone();
    let watching = async {
        let mut worst = 0;
        for _ in 0..40 {
            sleep(Duration::from_millis(20)).await;
            assert_eq!(echo(&nodes[0].links, 2, 0, "x").await.unwrap(), "x");
            let taken = nodes[1].handler.parts.load(Ordering::SeqCst);
            worst = worst.max(given.load(Ordering::SeqCst).saturating_sub(taken));
        }
        worst
    };
    let (answer, worst) = tokio::join!(send(&nodes[0], source), watching);
    assert!(answer.is_ok());
    // Queue of 16 MiB, four parts before the installer, and what the kernel holds.
    assert!(worst < 40, "{worst} parts of 1 MiB under way");
}

#[tokio::test]
async fn a_source_that_fails_aborts_at_the_receiver() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let mut source = Source::new(3, 100);
    source.fails = true;
    assert_eq!(send(&nodes[0], source).await.err(), Some(PeerError::Closed));
    ended(&nodes[1], "Aborted").await;
}

#[tokio::test]
async fn silence_of_the_source_or_the_receiver_ends_it() {
    let nodes = nodes(2, WatchDriver::Task).await;
    let mut source = Source::new(3, 100);
    source.hangs = true;
    // The receiver is the first to lose patience, and answers.
    assert!(send(&nodes[0], source).await.is_ok());
    ended(&nodes[1], "Idle").await;
    nodes[1].handler.idle_ms.store(5_000, Ordering::SeqCst);
    let mut source = Source::new(3, 100);
    source.hangs = true;
    assert_eq!(send(&nodes[0], source).await.err(), Some(PeerError::Timeout));
    ended(&nodes[1], "Aborted").await;
    // The receiver takes nothing: the queue fills, then nothing moves.
    nodes[1].handler.part_ms.store(5_000, Ordering::SeqCst);
    let error = send(&nodes[0], Source::new(200, 1 << 20)).await.err();
    assert_eq!(error, Some(PeerError::Timeout));
}

#[tokio::test]
async fn an_early_answer_and_a_cancel_stop_the_source() {
    let nodes = nodes(2, WatchDriver::Task).await;
    nodes[1].handler.stop_after.store(2, Ordering::SeqCst);
    let source = Source::new(10_000, 1 << 20);
    let given = source.given.clone();
    assert!(send(&nodes[0], source).await.is_ok());
    assert!(given.load(Ordering::SeqCst) < 200);
    ended(&nodes[1], "stopped").await;

    nodes[1].handler.stop_after.store(0, Ordering::SeqCst);
    nodes[1].handler.part_ms.store(10, Ordering::SeqCst);
    let sending = nodes[0].links.send_snapshot(
        NodeId(2),
        SnapshotStart::default(),
        Source::new(10_000, 1000),
        SOON,
        sleep(Duration::from_millis(100)),
    );
    assert_eq!(sending.await.err(), Some(PeerError::Closed));
    // The next one works, on the same lane.
    nodes[1].handler.part_ms.store(0, Ordering::SeqCst);
    assert!(send(&nodes[0], Source::new(3, 100)).await.is_ok());
}

#[tokio::test]
async fn a_third_snapshot_at_once_is_refused() {
    let nodes = nodes(2, WatchDriver::Task).await;
    nodes[1].handler.part_ms.store(50, Ordering::SeqCst);
    let (one, two, three) = tokio::join!(
        send(&nodes[0], Source::new(4, 100)),
        send(&nodes[0], Source::new(4, 100)),
        send(&nodes[0], Source::new(4, 100)),
    );
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(three.err(), Some(PeerError::Busy));
}
