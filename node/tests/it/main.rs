//! Tests of the edge of a node: what operators and the operating system see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod admin;
mod bootstrap;
mod compacting;
mod cut;
mod data_dir;
mod dispatch;
mod draining;
mod exchange;
mod fhir;
mod health;
mod level;
mod logging;
mod members;
mod metrics;
mod nodes;
mod plain_disk;
mod reopening;
mod resets;
