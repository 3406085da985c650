//! Log, delta, checkpoints, engines and snapshots; the only importer of sled and fjall.

pub mod disk;
pub mod ids;
pub mod wal;

pub use wal::Driver;
