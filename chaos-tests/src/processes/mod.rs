//! Clusters of real processes on loopback, and what can be done to them.

mod cluster;
mod error;
pub mod garbage;
mod node;
mod ports;
mod run;
pub mod signals;
pub mod strace;

pub use cluster::{Cluster, Options};
pub use error::ClusterError;
pub use node::NodeProcess;
pub use run::{Calls, Run, RunOptions, first_failures, settle_and_check};
