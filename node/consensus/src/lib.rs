//! Raft groups over openraft and the links between nodes; the only importer of openraft.

mod background;
pub mod begin;
#[cfg(test)]
mod begin_test;
mod commit_news;
mod convert;
pub mod elections;
#[cfg(test)]
mod elections_test;
mod follower_log;
#[cfg(test)]
mod follower_log_test;
pub mod group;
pub mod inbound;
mod log_adapter;
pub mod membership;
pub mod net;
mod network_adapter;
pub mod nodes_view;
#[cfg(test)]
mod offer_test;
pub mod peers;
mod proofs;
pub mod repair;
#[cfg(test)]
mod repair_test;
pub mod replay;
#[cfg(test)]
mod replay_test;
pub mod runtime;
mod snapshot;
mod state_adapter;
#[cfg(test)]
mod suite_test;
pub mod transport;
mod types;

pub use runtime::seed_this_thread;
