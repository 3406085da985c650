//! The replicated record store: pure and deterministic.
//!
//! No clock, no randomness, no I/O, no hash map: two replicas that apply the same entries hold the same bytes.

pub mod store;
