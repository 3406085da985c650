//! Tests of what an operator writes and of what they are told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod docs;
mod examples;
mod faults;
mod precedence;
mod scripts;
