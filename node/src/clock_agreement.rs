//! Whether this node's wall clock agrees with those of its peers. Reads and commits rest on no clock; what time does
//! by itself (forgetting request ids, later expiry and timers) is done by a leader only while its clock agrees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::{AdvancedClock, Clock as _};
use crate::pace::Moment;
use crate::shard::host::Shard;

/// A clock this far from the median still agrees, milliseconds.
pub const CLOCK_TOLERANCE_MS: u64 = 500;
/// What a peer said counts for so long; it says it with every frame of the watch lane.
const HEARD_LATELY: Duration = Duration::from_secs(2);
/// Peers remembered; more than a cluster has nodes.
const PEERS_MAX: usize = 1_024;

/// What is known of this node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Near enough to the median.
    Agreed { offset_ms: i64 },
    /// Too far from it: the median is ahead by this, milliseconds; negative where it is behind.
    Apart { offset_ms: i64 },
    /// Too few nodes were heard of late to say.
    Unknown,
}

impl ClockVerdict {
    /// Whether time may do work here.
    #[must_use]
    pub fn is_agreed(self) -> bool {
        matches!(self, Self::Agreed { .. })
    }

    /// By how much the median is ahead, milliseconds; 0 where it is not known.
    #[must_use]
    pub fn offset_ms(self) -> i64 {
        match self {
            Self::Agreed { offset_ms } | Self::Apart { offset_ms } => offset_ms,
            Self::Unknown => 0,
        }
    }
}

/// Judges the own clock by how far the clocks of peers heard lately are ahead of it, in a cluster of `nodes` nodes.
#[must_use]
pub fn judge(peers_ahead_ms: &[i64], nodes: usize) -> ClockVerdict {
    let heard = peers_ahead_ms.len() + 1;
    if heard * 2 <= nodes {
        return ClockVerdict::Unknown;
    }
    let mut all = peers_ahead_ms.to_vec();
    all.push(0);
    all.sort_unstable();
    // Of an even number both middles must be near: with two clocks apart nobody knows which one is wrong.
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    let offset_ms = if low.unsigned_abs() > high.unsigned_abs() {
        low
    } else {
        high
    };
    if offset_ms.unsigned_abs() <= CLOCK_TOLERANCE_MS {
        ClockVerdict::Agreed { offset_ms }
    } else {
        ClockVerdict::Apart { offset_ms }
    }
}

/// The clocks of the peers, as their newest frames showed them.
#[derive(Debug, Default)]
pub struct PeerClocks(Mutex<BTreeMap<u64, (i64, Instant)>>);

impl PeerClocks {
    /// A peer's clock shows this, milliseconds since 1970 UTC; 0 where its release does not tell.
    pub fn heard(&self, peer: u64, clock_ms: i64) {
        if clock_ms == 0 {
            return;
        }
        let mut peers = self.0.lock();
        if peers.len() < PEERS_MAX || peers.contains_key(&peer) {
            peers.insert(peer, (clock_ms, Instant::now()));
        }
    }

    /// How far the peers heard lately are ahead of a clock that shows `own_ms`, in any order.
    fn ahead_ms(&self, own_ms: i64) -> Vec<i64> {
        let now = Instant::now();
        let peers = self.0.lock();
        let lately = peers.values().filter_map(|(clock_ms, at)| {
            let age = now.saturating_duration_since(*at);
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            (age < HEARD_LATELY).then(|| clock_ms.saturating_add(age_ms).saturating_sub(own_ms))
        });
        lately.collect()
    }
}

/// The time that leaders of this node stamp on their entries.
#[derive(Clone)]
pub struct LeaderTime {
    clock: Arc<AdvancedClock>,
    peers: Arc<PeerClocks>,
    nodes: Arc<AtomicUsize>,
}

impl LeaderTime {
    /// For a node of a cluster of `nodes` nodes.
    #[must_use]
    pub fn new(clock: Arc<AdvancedClock>, peers: Arc<PeerClocks>, nodes: usize) -> Self {
        let nodes = Arc::new(AtomicUsize::new(nodes));
        Self { clock, peers, nodes }
    }

    /// From now on the cluster has so many nodes.
    pub fn set_nodes(&self, nodes: usize) {
        self.nodes.store(nodes, Ordering::Relaxed);
    }

    /// What is known of the own clock now.
    #[must_use]
    pub fn verdict(&self) -> ClockVerdict {
        judge(
            &self.peers.ahead_ms(self.clock.now_ms()),
            self.nodes.load(Ordering::Relaxed),
        )
    }

    /// Log time of an entry that this node proposes to a shard now, milliseconds since 1970 UTC.
    #[must_use]
    pub fn stamp_ms(&self, shard: &Shard) -> i64 {
        let now = Moment {
            at: Instant::now(),
            wall_ms: self.clock.now_ms(),
            advanced_ms: self.clock.advanced_ms(),
            agreed: self.verdict().is_agreed(),
        };
        let term = shard.group.status().term;
        let log_time_ms = || shard.group.store().status().log_time_ms;
        shard.pace.lock().stamp(now, term, log_time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: i64 = 365 * 24 * 3_600_000;

    #[test]
    fn a_clock_near_the_median_agrees() {
        assert_eq!(judge(&[], 1), ClockVerdict::Agreed { offset_ms: 0 });
        assert_eq!(judge(&[3, -4], 3), ClockVerdict::Agreed { offset_ms: 0 });
        assert_eq!(judge(&[500, 600], 3), ClockVerdict::Agreed { offset_ms: 500 });
        assert_eq!(judge(&[-500, -600], 3), ClockVerdict::Agreed { offset_ms: -500 });
        assert!(
            judge(&[YEAR_MS, 1], 3).is_agreed(),
            "a peer that is wrong harms nobody else"
        );
        assert!(judge(&[YEAR_MS, -YEAR_MS, 7, 9], 5).is_agreed());
    }

    #[test]
    fn a_clock_far_from_the_median_does_not() {
        assert_eq!(judge(&[501, 600], 3), ClockVerdict::Apart { offset_ms: 501 });
        assert_eq!(
            judge(&[-10 * YEAR_MS, -10 * YEAR_MS], 3),
            ClockVerdict::Apart {
                offset_ms: -10 * YEAR_MS
            }
        );
        assert!(!judge(&[i64::MAX, i64::MIN, i64::MIN], 4).is_agreed());
    }

    #[test]
    fn of_two_clocks_apart_none_is_believed() {
        assert!(judge(&[400], 3).is_agreed());
        assert_eq!(judge(&[900], 3), ClockVerdict::Apart { offset_ms: 900 });
        assert_eq!(judge(&[-900], 3), ClockVerdict::Apart { offset_ms: -900 });
    }

    #[test]
    fn without_a_majority_nothing_is_known() {
        assert_eq!(judge(&[], 3), ClockVerdict::Unknown);
        assert_eq!(judge(&[1], 5), ClockVerdict::Unknown);
        assert!(judge(&[1, 2], 5).is_agreed());
        assert_eq!(judge(&[], 2), ClockVerdict::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_counts_while_it_is_heard_and_its_clock_goes_on() {
        let peers = PeerClocks::default();
        peers.heard(2, 10_000);
        peers.heard(3, 0);
        assert_eq!(peers.ahead_ms(10_000), [0], "one peer does not tell");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(peers.ahead_ms(11_100), [-100]);
        tokio::time::advance(HEARD_LATELY).await;
        assert!(peers.ahead_ms(13_000).is_empty(), "too long ago");
    }
}
