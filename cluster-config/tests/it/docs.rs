//! The documentation of invariants.
