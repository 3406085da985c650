//! Whole clusters under faults, and the program that checks what they answered.
//!
//! A run of any kind (simulated or real processes) leaves one [`history`]. The [`oracle`] sorts it into what
//! was acknowledged, what is unknown and what failed; the [`checkers`] decide whether a correct store could
//! have answered so. [`prove`] turns such runs into rows of one table.

pub mod checkers;
pub mod domain;
pub mod gap;
pub mod history;
pub mod http;
pub mod mutants;
pub mod oracle;
pub mod processes;
pub mod prove;
pub mod proxy;
pub mod report;
pub mod scenario;
pub mod sim;
pub mod workload;
