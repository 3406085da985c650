//! Tests of the edge of a node: what operators and the operating system see.

mod admin;
mod data_dir;
mod logging;
mod metrics;
mod plain_disk;
