//! `[raft]`: timings of the links between nodes. Safety never rests on any of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds, and how much of the log stays for followers that lag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raft {
    /// Between two watch frames to one peer.
    pub watch_interval_ms: u64,
    /// A peer from which nothing came for this long is taken for silent.
    pub peer_silence_ms: u64,
    /// A leader that no majority has answered for this long takes no proposals; a follower that heard its leader within
    /// it grants no ordinary vote.
    pub leader_lease_ms: u64,
    /// Entries per group kept behind the checkpoint, so that a short absence needs no snapshot.
    pub log_keep_entries: u64,
    /// Entries of a shard after which its replicas compare their digests.
    pub verify_every_entries: u64,
}

impl Raft {
    /// [`Raft::watch_interval_ms`].
    #[must_use]
    pub fn watch_interval(&self) -> Duration {
        Duration::from_millis(self.watch_interval_ms)
    }
    /// [`Raft::peer_silence_ms`].
    #[must_use]
    pub fn peer_silence(&self) -> Duration {
        Duration::from_millis(self.peer_silence_ms)
    }
    /// [`Raft::leader_lease_ms`].
    #[must_use]
    pub fn leader_lease(&self) -> Duration {
        Duration::from_millis(self.leader_lease_ms)
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            watch_interval_ms: 25,
            peer_silence_ms: 250,
            leader_lease_ms: 1_000,
            log_keep_entries: 10_000,
            verify_every_entries: 4_096,
        }
    }
}
