//! A disk under real processes that can lose, tear, stall, fail and fill on order.
//!
//! The program `faultdisk` mounts it over FUSE. Everything is held in memory, twice: as programs see it, and as a
//! power cut would leave it. Data is durable after fsync or fdatasync of its file, names after fsync of their
//! directory, and nothing else is: what this disk keeps, every disk keeps. The rules are those of the simulated disk
//! of `spine-storage`. Orders come as lines on stdin; [`FaultDisk`] starts the program and gives them.

mod availability;
mod client;
mod command;
mod content;
mod dirs;
mod faults;
mod holders;
mod later;
mod mount;
mod store;

pub use availability::{Availability, availability, skip};
pub use client::{FaultDisk, FaultDiskError};
pub use command::{Command, Counters, Cut, FailSync};
pub use mount::{Mounted, clear_stale};
pub use store::{Kind, Store};
