//! `[storage]`: log, delta and engine.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Which engine holds the checkpointed state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    #[default]
    Sled,
    Fjall,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
        })
    }
}

/// Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Fixed for the life of a data directory.
    pub engine: EngineKind,
    /// Changes of all shards held in memory before a checkpoint writes them to the engine.
    pub checkpoint_bytes: u64,
    /// Newest changes of all shards kept in memory for watches; it says how far back a watch can begin.
    pub feed_bytes: u64,
    /// One file of the log; zero-written in advance and recycled.
    pub segment_bytes: u64,
    /// Newest log entries kept in memory, all groups together.
    pub log_cache_bytes: u64,
    /// Below this the node refuses to start.
    pub min_free_bytes: u64,
    /// Below this a running node takes no writes and leads nothing, until there is room again.
    pub full_below_bytes: u64,
    /// How often the whole state of every replica is read to find damage, milliseconds; 0 = never.
    pub scrub_every_ms: u64,
}

impl Storage {
    /// [`Storage::scrub_every_ms`].
    #[must_use]
    pub fn scrub_every(&self) -> Option<Duration> {
        (self.scrub_every_ms > 0).then(|| Duration::from_millis(self.scrub_every_ms))
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            engine: EngineKind::Sled,
            checkpoint_bytes: 64 * MIB,
            feed_bytes: 64 * MIB,
            segment_bytes: 64 * MIB,
            log_cache_bytes: 64 * MIB,
            min_free_bytes: GIB,
            full_below_bytes: 256 * MIB,
            scrub_every_ms: 24 * 3_600_000,
        }
    }
}
