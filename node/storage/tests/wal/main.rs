//! The node's log: one conformance suite on both disks, then what a disk does to it.

mod conformance;
mod crash_points;
mod damage;
mod disk_trouble;
mod model;
mod power_cuts;
mod space;
mod support;
