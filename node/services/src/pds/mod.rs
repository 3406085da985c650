//! Personal Demographics Service: one FHIR R4 Patient (UK Core) for each NHS Number.
//!
//! A patient is stored as canonical JSON in a `PatientRow`: the current version under kind 1, older ones under kind 2.
//! The outcome of a change is its version id, and every answer is rebuilt from the record at that version, so that a
//! repeated request gets the answer of the first even after later changes.
//!
//! The rules are [`rules`]; each has a test named after it, and transcripts in `testdata/pds`.

pub mod history;
mod keys;
pub mod patient;
pub mod register;
pub mod retrieve;
mod row;
pub mod rules;
pub mod update;

/// Permission to read patients.
pub const PERMISSION_READ: &str = "pds.read";
/// Permission to register and update patients.
pub const PERMISSION_WRITE: &str = "pds.write";
