//! A shard is one Raft group and the slots it owns. Knows no business and no wire.

pub mod barriers;
mod gather;
pub mod host;
pub mod latch;
pub mod map;
pub mod proposals;
