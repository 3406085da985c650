//! Whole clusters in one thread, in virtual time, on simulated disks and a simulated network. One seed is one
//! run: everything random comes from it, and nothing else may be random.

pub mod net;
pub mod plan;
pub mod trace;
