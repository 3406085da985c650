//! Operations run as a leader runs them, on the real state machine and a store in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod errors_doc;
mod exactly_once;
mod examples;
mod frozen;
mod harness;
mod hostile;
mod limits;
mod listing;
mod organisations;
mod pages;
mod patch_rules;
mod patient_versions;
mod pds_load;
mod pds_rules;
mod people;
mod search;
mod tokens;
mod transcript_pds;
mod transcript_records;
mod view_guards;
mod worked_examples;
