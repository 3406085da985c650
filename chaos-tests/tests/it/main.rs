//! Simulated runs that every `cargo test` makes. Thousands more: `cargo simulate --seeds A..B`.

mod alone;
mod clocks;
mod disk_trouble;
mod fault_effects;
mod group;
mod patients;
mod regressions;
mod repair;
mod rolls;
mod runbook_pages;
mod runbooks;
mod seeds;
