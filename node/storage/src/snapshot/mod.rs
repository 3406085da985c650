//! Whole states of a replica on their way to another one, or to a backup.

mod installer;
mod source;
mod sum;

pub use installer::{Installed, SnapshotInstaller};
pub use source::{ScanReport, SnapshotSource};

/// Version of the stream's shape.
pub const SNAPSHOT_FORMAT: u32 = 1;
/// Bytes of keys and records in a chunk; only a single larger record may pass it.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one stored record in a snapshot: a value of 2 MiB and its frame.
pub const SNAPSHOT_RECORD_BYTES_MAX: usize = 2 * 1024 * 1024 + 1024;
