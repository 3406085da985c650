//! The node's log: one conformance suite on both disks, then what a disk does to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod conformance;
mod crash_points;
mod damage;
mod disk_trouble;
#[path = "../support/machine.rs"]
mod machine;
mod model;
mod power_cuts;
mod space;
mod support;
