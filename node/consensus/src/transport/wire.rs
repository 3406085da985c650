//! Which protocol two nodes speak: the highest that both know, or none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::Hello;

/// The protocols between nodes that a program speaks, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireRange {
    /// Oldest.
    pub min: u32,
    /// Newest.
    pub max: u32,
}

impl WireRange {
    /// Of this release.
    pub const RELEASE: Self = Self { min: 1, max: 1 };

    /// What a peer's Hello says.
    #[must_use]
    pub fn of(hello: &Hello) -> Self {
        Self {
            min: hello.wire_min,
            max: hello.wire_max,
        }
    }

    /// The highest protocol that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl Default for WireRange {
    fn default() -> Self {
        Self::RELEASE
    }
}

impl fmt::Display for WireRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// What was settled with whom.
#[derive(Default)]
pub(crate) struct Settled {
    wires: Mutex<BTreeMap<NodeId, u32>>,
    level: AtomicU32,
    refused: AtomicU64,
}

/// Of what a peer calls its release, for people.
const RELEASE_CHARS_MAX: usize = 32;

impl Settled {
    /// A peer of our cluster, and the level that it knows to be in force.
    pub(crate) fn note(&self, peer: NodeId, wire: u32, level: u32) {
        self.wires.lock().insert(peer, wire);
        self.level.fetch_max(level, Ordering::Relaxed);
    }

    /// The highest level that any peer said is in force.
    pub(crate) fn level(&self) -> u32 {
        self.level.load(Ordering::Relaxed)
    }

    pub(crate) fn with(&self, peer: NodeId) -> Option<u32> {
        self.wires.lock().get(&peer).copied()
    }

    /// A peer has no protocol in common with us. It dials again and again: said at the 1st, 2nd, 4th, 8th time and so on.
    pub(crate) fn say_refused(&self, peer: u64, release: &str, theirs: &str, ours: WireRange) {
        let before = self.refused.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_power_of_two() {
            let printable = release.chars().filter(char::is_ascii_graphic);
            let release: String = printable.take(RELEASE_CHARS_MAX).collect();
            tracing::warn!(
                peer,
                release,
                "no common protocol: the peer speaks wire {theirs}, this node {ours}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_protocol_is_spoken() {
        let range = |min, max| WireRange { min, max };
        for (one, other, common) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 2), range(2, 3), Some(2)),
            (range(1, 3), range(2, 2), Some(2)),
            (range(1, 4), range(2, 3), Some(3)),
            (range(1, 1), range(2, 3), None),
            (range(3, 4), range(1, 2), None),
            (range(2, 1), range(1, 2), None),
            (range(0, 0), range(1, 1), None),
            (range(1, u32::MAX), range(1, 1), Some(1)),
        ] {
            assert_eq!(one.common(other), common, "{one} with {other}");
            assert_eq!(other.common(one), common, "{other} with {one}");
        }
    }
}
