//! Clusters of real processes on loopback, and what can be done to them.

pub mod alter;
mod closing;
mod cluster;
pub mod damage;
mod disks;
mod error;
mod faulty;
pub mod garbage;
mod links;
mod run;
pub mod scenario;
pub mod signals;
pub mod strace;

pub use closing::Closing;
pub(crate) use cluster::read_replica;
pub use cluster::{Cluster, Options};
pub use disks::Disks;
pub use error::ClusterError;
pub use faulty::FaultyCluster;
pub use run::{Calls, Run, RunOptions, Storm, first_failures, settle_and_check};
