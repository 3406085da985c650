//! What can be set about the log, and its limits.

use std::time::Duration;

use super::error::WalError;

/// Bytes of a segment file unless configured.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Smallest segment that makes sense, bytes; only tests come near it.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// Largest segment, bytes: offsets in it are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of recent entries kept in memory per node unless configured.
pub const CACHE_BYTES_DEFAULT: usize = 32 * 1024 * 1024;
/// Bytes of commands that may wait for the writer, for all groups together, unless said otherwise. Whoever adds more
/// waits.
pub const QUEUE_BYTES_DEFAULT: u64 = 32 * 1024 * 1024;
/// Bytes of commands that share one sync.
pub(super) const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What a queued command costs beside its entries, bytes. Bounds the number of queued commands too.
pub(super) const COMMAND_OVERHEAD_BYTES: u64 = 256;
/// Pause between two looks at a disk that is stalled or full.
pub(super) const DISK_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Settings of a node's log.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// Bytes of a segment file; an entry must fit into one.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory, for all groups together.
    pub cache_bytes: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
        }
    }
}

impl WalOptions {
    pub(super) fn check(&self) -> Result<(), WalError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(4096)
        {
            return Err(WalError::Option("segment_bytes"));
        }
        Ok(())
    }

    /// Entries of one frame, bytes: small against a segment, so that little of one is left unused at its end.
    pub(super) fn chunk_bytes(&self) -> u64 {
        (self.segment_bytes / 8).min(BATCH_BYTES_MAX)
    }
}
