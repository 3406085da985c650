//! Personal Demographics Service: one FHIR R4 Patient (UK Core) for each NHS Number.
//!
//! A patient is stored as canonical JSON in a `PatientRow`: the current version under kind 1, older ones under kind 2.
//! The outcome of a change is its version id (a load needs none), and every answer is rebuilt from the record at that
//! version, so that a repeated request gets the answer of the first even after later changes.
//!
//! | rule | what it asks | reason |
//! |---|---|---|
//! | PDS-1 | resourceType is Patient | `INVALID_RESOURCE_TYPE` |
//! | PDS-2 | id is an NHS Number with the right check digit | `INVALID_NHS_NUMBER` |
//! | PDS-3 | an identifier that is an NHS Number equals the id | `IDENTIFIER_MISMATCH` |
//! | PDS-4 | the resource has at most 2 MiB less 1 KiB | `RECORD_TOO_LARGE` |
//! | PDS-5 | JSON is nested at most 32 deep | `JSON_TOO_DEEP` |
//! | PDS-6 | at least one name is the usual one | `MISSING_USUAL_NAME` |
//! | PDS-7 | birthDate is a date that is not in the future | `INVALID_BIRTH_DATE` |
//! | PDS-8 | gender is male, female, other or unknown | `INVALID_GENDER` |
//! | PDS-9 | no members but those of a PDS Patient | `ADDITIONAL_PROPERTIES` |
//! | PDS-10 | deceasedDateTime is a time, not in the future nor before birth | `INVALID_DECEASED` |
//! | PDS-11 | an NHS Number is registered once | `PATIENT_EXISTS` |
//! | PDS-12 | an update names the current version | `VERSION_MISMATCH` |
//! | PDS-13 | an update keeps the id of the patient | `IDENTIFIER_MISMATCH` |
//! | PDS-14 | members have the JSON type that FHIR gives them | `INVALID_VALUE` |
//! | PDS-15 | no object has two members of one name | `DUPLICATE_MEMBER` |
//!
//! Each rule has a test named after it in `tests/it/pds_rules.rs`; transcripts are in `testdata/pds`.

pub mod history;
mod keys;
pub mod load;
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
