//! Tests of real processes: one, and clusters of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod feed;
mod fhir;
mod golden;
mod people;
mod program;
mod raw;
mod sse;
mod watch;
