//! Runs the watch lane: one frame to every peer at each interval, and the table behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{GroupProgress, Watch};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::dialer::Dialer;
use super::snapshot::LivenessSnapshot;
use super::table::LivenessTable;
use crate::transport::config::{
    ClockSource, IdentityCell, LeadingSource, PeerAddresses, PeerHandler, ProgressSource, Stores, WatchTiming,
};
use crate::transport::counters::add;
use crate::transport::frame::{FrameError, FrameReader, encode};
use crate::transport::handshake::Greeted;
use crate::transport::limits::{LEADING_MAX, PROGRESS_PER_WATCH_MAX, WATCH_FRAME_BYTES_MAX};
use crate::transport::slot::Dialing;

/// An inbound watch connection is given up after so many silence limits.
const IDLE_SILENCE_LIMITS: u32 = 4;

/// What all tasks of the watch lane share.
pub(crate) struct WatchLane {
    pub(crate) timing: WatchTiming,
    pub(crate) identity: Arc<IdentityCell>,
    pub(crate) table: Mutex<LivenessTable>,
    pub(crate) published: watch::Sender<Arc<LivenessSnapshot>>,
    /// The newest frame, encoded; connections that are slow skip older ones.
    pub(crate) frame: watch::Sender<Bytes>,
    pub(crate) dialing: Arc<Dialing>,
    pub(crate) handler: Arc<dyn PeerHandler>,
    pub(crate) progress: ProgressSource,
    pub(crate) leading: LeadingSource,
    pub(crate) unfit_shards: LeadingSource,
    pub(crate) clock: ClockSource,
    pub(crate) plan_epoch: Arc<AtomicU64>,
    pub(crate) stores: Arc<dyn Stores>,
    pub(crate) unfit: Arc<AtomicBool>,
    /// Told when a peer is heard again.
    pub(crate) on_back: Box<dyn Fn(NodeId) + Send + Sync>,
    pub(crate) seed: u64,
    pub(crate) sequence: AtomicU64,
}

impl WatchLane {
    /// Publishes what changed, if anything did.
    pub(crate) fn publish(&self) {
        let now = self.table.lock().snapshot(Instant::now());
        self.published.send_if_modified(|published| {
            let changed = **published != now;
            if changed {
                *published = Arc::new(now);
            }
            changed
        });
    }

    /// A watch connection to the peer stands. Gives its number.
    pub(crate) fn connected(&self, peer: NodeId) -> u64 {
        let (connection, back) = {
            let mut table = self.table.lock();
            let returns = table.returns(peer);
            (table.connected(peer), table.returns(peer) != returns)
        };
        if back {
            (self.on_back)(peer);
            self.publish();
        }
        connection
    }

    fn heard(&self, from: NodeId, watch: &Watch) {
        let (changed, back) = {
            let mut table = self.table.lock();
            let now = Instant::now();
            let returns = table.returns(from);
            let changed = table.heard(from, watch, now);
            (changed, table.returns(from) != returns)
        };
        self.handler.on_watch(from, watch);
        if back {
            (self.on_back)(from);
        }
        if changed {
            self.publish();
        }
    }

    /// One round: judge, tell everybody.
    fn tick(&self) {
        let now = Instant::now();
        let (silent, late_by) = {
            let mut table = self.table.lock();
            table.tick(now);
            (table.silent_nodes(now), table.late_by())
        };
        self.publish();
        let suspected = self.published.borrow().any_suspected();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let mut leading = (self.leading)();
        leading.truncate(LEADING_MAX);
        // None of them is led here, so both fit into a frame.
        let mut unfit_shards = (self.unfit_shards)();
        unfit_shards.truncate(LEADING_MAX - leading.len());
        let watch = Watch {
            sequence,
            leading,
            silent_nodes: silent.into_iter().map(|node| node.0).collect(),
            late_ms: u32::try_from(late_by.as_millis()).unwrap_or(u32::MAX),
            unfit: self.unfit.load(Ordering::Relaxed),
            progress: if suspected {
                self.some_progress(sequence)
            } else {
                Vec::new()
            },
            clock_ms: (self.clock)(),
            plan_epoch: self.plan_epoch.load(Ordering::Acquire),
            log_position: self.stores.log_position(),
            unfit_shards,
        };
        self.frame.send_replace(encode(0, Some(Body::Watch(watch))));
    }

    /// As much as fits into a frame; many groups take turns.
    fn some_progress(&self, sequence: u64) -> Vec<GroupProgress> {
        let mut all = (self.progress)();
        if all.len() > PROGRESS_PER_WATCH_MAX {
            let turns = all.len().div_ceil(PROGRESS_PER_WATCH_MAX);
            let turn = usize::try_from(sequence).unwrap_or(0) % turns;
            all.rotate_left(turn * PROGRESS_PER_WATCH_MAX);
            all.truncate(PROGRESS_PER_WATCH_MAX);
        }
        all
    }

    /// Listens to a peer's watch connection until it ends.
    async fn listen(&self, from: NodeId, greeted: Greeted) {
        let Ok(stream) = self.dialing.net.adopt(greeted.stream) else {
            return;
        };
        let counters = self.dialing.counters.clone();
        let mut reader = FrameReader::new(stream, greeted.rest, counters.clone());
        let idle_limit = self.timing.silence_limit * IDLE_SILENCE_LIMITS;
        while let Ok(next) = timeout(idle_limit, reader.next(WATCH_FRAME_BYTES_MAX)).await {
            match next {
                Ok((frame, _)) => match frame.body {
                    Some(Body::Watch(watch)) => self.heard(from, &watch),
                    // Something newer than us.
                    None => (),
                    Some(_) => {
                        add(&counters.garbage, 1);
                        return;
                    }
                },
                Err(FrameError::Garbage) => {
                    add(&counters.garbage, 1);
                    return;
                }
                Err(FrameError::Ended) => return,
            }
        }
    }
}

/// A task and the way to end it.
struct Dialled {
    addresses: Vec<String>,
    stop: CancellationToken,
}

/// The loop of the lane. Ends when told to. Its rounds begin at multiples of the interval by the clock if `aligned`:
/// then the frames of all peers arrive together with a node's own round, and one wake of an idle processor serves all.
pub(crate) async fn run(
    lane: Arc<WatchLane>,
    aligned: bool,
    mut peers: watch::Receiver<Arc<PeerAddresses>>,
    mut inbound: mpsc::Receiver<(NodeId, Greeted)>,
    stop: CancellationToken,
) {
    let mut dialled: BTreeMap<NodeId, Dialled> = BTreeMap::new();
    let mut listening: BTreeMap<NodeId, CancellationToken> = BTreeMap::new();
    let mut known_as = lane.identity.node();
    let mut due = Instant::now();
    if aligned {
        due += until_multiple((lane.clock)(), lane.timing.interval);
    }
    reconcile(&lane, &peers.borrow_and_update().clone(), &mut dialled, &stop);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep_until(due) => {
                let node = lane.identity.node();
                if node != known_as {
                    known_as = node;
                    reconcile(&lane, &peers.borrow().clone(), &mut dialled, &stop);
                }
                lane.tick();
                due = next_due(due, Instant::now(), lane.timing.interval);
            }
            Ok(()) = peers.changed() => {
                let peers = peers.borrow_and_update().clone();
                reconcile(&lane, &peers, &mut dialled, &stop);
                listening.retain(|peer, heard| {
                    let is_known = peers.contains_key(peer);
                    if !is_known {
                        heard.cancel();
                    }
                    is_known
                });
            }
            Some((from, greeted)) = inbound.recv() => {
                let stop_one = stop.child_token();
                // The newest connection of a peer is the one that works.
                if let Some(older) = listening.insert(from, stop_one.clone()) {
                    older.cancel();
                }
                let lane = lane.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        () = stop_one.cancelled() => (),
                        () = lane.listen(from, greeted) => (),
                    }
                });
            }
        }
    }
}

/// From this time, milliseconds, to the next that is a multiple of the interval.
fn until_multiple(clock_ms: i64, interval: Duration) -> Duration {
    let Ok(interval_ms @ 1..) = i64::try_from(interval.as_millis()) else {
        return Duration::ZERO;
    };
    let past_ms = clock_ms.rem_euclid(interval_ms);
    Duration::from_millis(u64::try_from(interval_ms - past_ms).unwrap_or(0))
}

/// Rounds that were missed are not made up for.
fn next_due(due: Instant, now: Instant, interval: Duration) -> Instant {
    let next = due + interval;
    if next > now {
        return next;
    }
    let missed = now.saturating_duration_since(due).as_nanos() / interval.as_nanos().max(1);
    due + interval * u32::try_from(missed + 1).unwrap_or(u32::MAX)
}

/// One dialler per peer, none for peers that are gone or moved.
fn reconcile(
    lane: &Arc<WatchLane>,
    peers: &PeerAddresses,
    dialled: &mut BTreeMap<NodeId, Dialled>,
    stop: &CancellationToken,
) {
    let me = lane.identity.node();
    let known: BTreeSet<NodeId> = peers.keys().copied().filter(|peer| *peer != me).collect();
    lane.table.lock().set_nodes(me, &known, Instant::now());
    dialled.retain(|peer, task| {
        let stays = *peer != me && peers.get(peer) == Some(&task.addresses);
        if !stays {
            task.stop.cancel();
        }
        stays
    });
    if lane.identity.get().is_none() {
        return;
    }
    for peer in known {
        if dialled.contains_key(&peer) {
            continue;
        }
        let addresses = peers.get(&peer).cloned().unwrap_or_default();
        let task = Dialled {
            addresses: addresses.clone(),
            stop: stop.child_token(),
        };
        let dialer = Dialer::new(lane.clone(), peer, addresses, task.stop.clone());
        tokio::spawn(dialer.run());
        dialled.insert(peer, task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rounds_begin_at_multiples_of_the_interval() {
        assert_eq!(until_multiple(1_007, 50 * MS), 43 * MS);
        assert_eq!(until_multiple(1_050, 50 * MS), 50 * MS);
        assert_eq!(until_multiple(-7, 50 * MS), 7 * MS);
        assert_eq!(until_multiple(1_007, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_late_round_keeps_the_beat() {
        let due = Instant::now();
        assert_eq!(next_due(due, due + 3 * MS, 50 * MS), due + 50 * MS);
        assert_eq!(next_due(due, due + 50 * MS, 50 * MS), due + 100 * MS);
        assert_eq!(next_due(due, due + 177 * MS, 50 * MS), due + 200 * MS);
    }
}
