//! Limits of one replica's state.

use std::time::Duration;

use spine_statemachine::LevelRange;

use super::feed::FEED_BYTES_MAX;

const MIB: usize = 1024 * 1024;

/// The delta asks for a checkpoint at this size, in bytes.
pub const DELTA_CHECKPOINT_BYTES: usize = 8 * MIB;
/// The delta asks for a checkpoint after this many entries however small it is: a restart applies them all again.
pub const CHECKPOINT_ENTRIES: u64 = 16_384;
/// Apply refuses at this size of live and frozen delta together, in bytes. A batch may pass it once.
pub const DELTA_BYTES_MAX: usize = 64 * MIB;
/// Share of the checkpoint size by which replicas differ, so that they do not all ask at once: one quarter.
pub(crate) const CHECKPOINT_STAGGER_DIVISOR: usize = 4;
/// A snapshot may hold its checkpoint this long.
pub const PIN_TIME_MAX: Duration = Duration::from_secs(120);
/// The engine is synced and reopened once a reopen gives back this much memory, in bytes.
pub const ENGINE_MEMORY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of an owner's label.
pub const OWNER_BYTES_MAX: usize = 256;

/// What an operator or a test may choose.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// See [`DELTA_CHECKPOINT_BYTES`].
    pub delta_checkpoint_bytes: usize,
    /// See [`DELTA_BYTES_MAX`].
    pub delta_bytes_max: usize,
    /// See [`FEED_BYTES_MAX`].
    pub feed_bytes_max: usize,
    /// See [`PIN_TIME_MAX`].
    pub pin_time_max: Duration,
    /// See [`ENGINE_MEMORY_BYTES_MAX`].
    pub engine_memory_bytes_max: u64,
    /// Whose state this is, for example cluster id, store uuid and replica id; at most [`OWNER_BYTES_MAX`] bytes.
    /// Opening with another owner is refused.
    pub owner: Vec<u8>,
    /// The levels that this program can follow; state of another one is refused.
    pub levels: LevelRange,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            delta_checkpoint_bytes: DELTA_CHECKPOINT_BYTES,
            delta_bytes_max: DELTA_BYTES_MAX,
            feed_bytes_max: FEED_BYTES_MAX,
            pin_time_max: PIN_TIME_MAX,
            engine_memory_bytes_max: ENGINE_MEMORY_BYTES_MAX,
            owner: Vec::new(),
            levels: LevelRange::RELEASE,
        }
    }
}
