//! Log, delta, checkpoints, engines and snapshots; the only importer of sled and fjall.

pub mod disk;
pub mod engine;
mod gently;
pub mod replica;
pub mod snapshot;

pub mod ids;
pub mod wal;

pub use gently::{gently, gently_watched};
pub use wal::Driver;
