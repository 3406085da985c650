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
    /// Between the candidacies of survivors ranked by their logs.
    pub candidate_step_ms: u64,
    /// openraft's own election timer, a backstop behind the watch frames: shortest.
    pub election_min_ms: u64,
    /// The same, longest.
    pub election_max_ms: u64,
    /// One append to a peer, answer included.
    pub append_timeout_ms: u64,
    /// One vote, answer included.
    pub vote_timeout_ms: u64,
    /// One snapshot chunk, answer included.
    pub snapshot_chunk_timeout_ms: u64,
    /// Connecting to a peer.
    pub connect_timeout_ms: u64,
    /// Longest wait between two tries to connect.
    pub reconnect_max_ms: u64,
    /// Entries per group kept behind the checkpoint, so that a short absence needs no snapshot.
    pub log_keep_entries: u64,
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
    /// [`Raft::candidate_step_ms`].
    #[must_use]
    pub fn candidate_step(&self) -> Duration {
        Duration::from_millis(self.candidate_step_ms)
    }
    /// [`Raft::append_timeout_ms`].
    #[must_use]
    pub fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.append_timeout_ms)
    }
    /// [`Raft::vote_timeout_ms`].
    #[must_use]
    pub fn vote_timeout(&self) -> Duration {
        Duration::from_millis(self.vote_timeout_ms)
    }
    /// [`Raft::snapshot_chunk_timeout_ms`].
    #[must_use]
    pub fn snapshot_chunk_timeout(&self) -> Duration {
        Duration::from_millis(self.snapshot_chunk_timeout_ms)
    }
    /// [`Raft::connect_timeout_ms`].
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
    /// [`Raft::reconnect_max_ms`].
    #[must_use]
    pub fn reconnect_max(&self) -> Duration {
        Duration::from_millis(self.reconnect_max_ms)
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            watch_interval_ms: 25,
            peer_silence_ms: 250,
            candidate_step_ms: 20,
            election_min_ms: 1_500,
            election_max_ms: 3_000,
            append_timeout_ms: 1_000,
            vote_timeout_ms: 500,
            snapshot_chunk_timeout_ms: 10_000,
            connect_timeout_ms: 500,
            reconnect_max_ms: 200,
            log_keep_entries: 10_000,
        }
    }
}
