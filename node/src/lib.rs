//! One server process of a Spine cluster.

pub mod admin;
pub mod args;
pub mod data_dir;
pub mod telemetry;
pub mod version;
