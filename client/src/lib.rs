//! Placeholder.
pub mod population;
