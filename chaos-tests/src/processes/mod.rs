//! Clusters of real processes on loopback, and what can be done to them.

pub mod garbage;
pub mod signals;
pub mod strace;
