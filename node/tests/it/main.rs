//! Tests of the edge of a node: what operators and the operating system see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod admin;
mod data_dir;
mod logging;
mod metrics;
mod plain_disk;
