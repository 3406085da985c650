//! Whole clusters in one thread, in virtual time, on simulated disks and a simulated network. One seed is one
//! run: everything random comes from it, and nothing else may be random.

mod clients;
mod cluster;
mod damage;
mod faults;
pub mod group;
pub mod invariants;
mod late;
pub mod members;
mod moves;
pub mod net;
pub mod old_copies;
mod operator;
mod options;
mod panics;
pub mod releases;
mod report;
pub mod rolls;
mod run;
pub mod scripted;
mod supports;
mod thread;
pub mod trace;
mod world;

pub use options::SimOptions;
pub use report::SimReport;
pub use run::run;
pub use supports::{supports, supports_group};
