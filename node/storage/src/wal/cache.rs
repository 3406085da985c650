//! Which entries keep their bytes in memory: the newest of the node, up to a limit.

use std::collections::VecDeque;

/// What a cached entry costs beside its bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// An entry to be dropped from memory.
#[derive(Clone, Copy)]
pub(super) struct Victim {
    pub(super) group: u64,
    pub(super) index: u64,
    pub(super) ticket: u64,
    bytes: u64,
}

/// Entries whose bytes are in memory and on disk, oldest first. Entries that were purged or truncated stay counted
/// until they are the oldest: they are nearly always that already.
pub(super) struct Cache {
    limit_bytes: u64,
    bytes: u64,
    entries: VecDeque<Victim>,
}

impl Cache {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            bytes: 0,
            entries: VecDeque::new(),
        }
    }

    /// Bytes counted now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn insert(&mut self, group: u64, index: u64, ticket: u64, len: u32) {
        let bytes = u64::from(len) + ENTRY_OVERHEAD_BYTES;
        self.bytes += bytes;
        self.entries.push_back(Victim {
            group,
            index,
            ticket,
            bytes,
        });
    }

    /// The next entry to drop while the limit is exceeded.
    pub(super) fn pop_victim(&mut self) -> Option<Victim> {
        if self.bytes <= self.limit_bytes {
            return None;
        }
        let victim = self.entries.pop_front()?;
        self.bytes -= victim.bytes;
        Some(victim)
    }
}
