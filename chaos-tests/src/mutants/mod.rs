//! Seeded bugs and the tests that must catch them: what a missed one lacks is a test.

mod build;
mod detector;
mod list;
mod run;

pub use build::{Programs, build};
pub use detector::Detector;
pub use list::{MUTANTS, Mutant};
pub use run::{Outcome, Verdict, prove_sound, try_one};
