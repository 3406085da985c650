//! The links between nodes, over loopback sockets and in the simulator.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod calls;
mod hostile;
mod liveness;
mod simulation;
mod snapshots;
mod support;
mod table;
mod wire;
