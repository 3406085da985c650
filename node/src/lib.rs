//! One server process of a Spine cluster.
//!
//! Write path: 1 `gateway/pds.rs` -> 2 `dispatch/call.rs` -> 3 `dispatch/execute.rs` -> 4 `services: pds/update.rs`
//! (pure) -> 5 `consensus: group.rs` -> 6 `storage: wal/writer.rs` (fdatasync, here and on followers) ->
//! 7 `consensus: state_adapter.rs` -> 8 `statemachine: apply.rs` -> 9 `storage: replica` (delta, later checkpoint).
//!
//! Read path: 1 -> 2 -> 3 -> `consensus: group.rs` (barrier) -> `services: pds/retrieve.rs` on an exact view.

// The future of a call is a deep nest.
#![recursion_limit = "256"]

pub mod admin;
pub mod announce;
pub mod args;
pub mod backlog;
pub mod beat;
pub mod calm;
pub mod claims;
pub mod clock;
pub mod clock_agreement;
pub mod clock_guard;
pub mod cluster;
mod compact;
pub mod data_dir;
mod dial_map;
pub mod disk_guard;
pub mod disk_health;
pub mod dispatch;
pub mod drain;
pub mod driver;
pub mod engine_guard;
pub mod entropy;
pub mod events;
pub mod fitness;
pub mod gateway;
pub mod housekeeping;
pub mod leader_log;
mod level;
pub mod log_purge;
pub mod no_programs;
pub mod node;
pub mod operate;
pub mod pace;
pub mod peers;
pub mod readiness;
pub mod repair;
pub mod shard;
pub mod start;
pub mod status;
pub mod telemetry;
pub mod turns;
mod twice;
pub mod unfit;
pub mod version;
