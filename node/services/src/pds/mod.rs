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
//! | PDS-16 | a patient reaches only their own record, and no part of it but those named | `ACCESS_DENIED` |
//! | PDS-17 | an application without a user behind it changes nothing | `INVALID_METHOD` |
//! | PDS-18 | a patch list has 1 to 256 well-formed patches | `INVALID_UPDATE` |
//! | PDS-19 | a patch adds, replaces, removes or tests | `INVALID_PATCH_OPERATION` |
//! | PDS-20 | what is added to a list of the patient goes to its end | `INVALID_UPDATE` |
//! | PDS-21 | a change of an item of a list names the item by id or url | `INVALID_UPDATE` |
//! | PDS-22 | a removal of an item of a list comes right after a test of it | `INVALID_UPDATE` |
//! | PDS-23 | a path leads to what exists, and a name to the item that has it | `INVALID_UPDATE` |
//! | PDS-24 | tests hold | `INVALID_UPDATE` |
//! | PDS-25 | a period starts, not in the future, and does not end before | `INVALID_UPDATE` |
//! | PDS-26 | one name is the usual one, and stays | `FORBIDDEN_UPDATE` |
//! | PDS-27 | there is at most one nickname | `INVALID_UPDATE` |
//! | PDS-28 | the use of a name does not change | `INVALID_UPDATE` |
//! | PDS-29 | names are written with letters of European languages, space, apostrophe, hyphen, full stop and digits | `INVALID_UPDATE` |
//! | PDS-30 | a suffix begins with a capital letter | `INVALID_UPDATE` |
//! | PDS-31 | an address has 1 to 5 lines, and a postcode or the key of one | `INVALID_UPDATE` |
//! | PDS-32 | there is one address of each use: home, temp, billing | `INVALID_UPDATE` |
//! | PDS-33 | a temporary address ends, within 366 days of its start | `INVALID_UPDATE` |
//! | PDS-34 | the text of a temporary address is one of a list | `INVALID_UPDATE` |
//! | PDS-35 | gender and birthDate stay | `FORBIDDEN_UPDATE` |
//! | PDS-36 | a gender that is set is male, female or unknown | `INVALID_UPDATE` |
//! | PDS-37 | a time of death is of UTC, and comes and stays with a death notification | `INVALID_UPDATE` |
//! | PDS-38 | what is known formally of a death is not changed, nor made known | `FORBIDDEN_UPDATE` |
//! | PDS-39 | there is one contact point of each system and use, and they stay | `INVALID_UPDATE` |
//! | PDS-40 | an email address is one | `INVALID_UPDATE` |
//! | PDS-41 | a contact is for emergencies | `INVALID_UPDATE` |
//! | PDS-42 | there is one general practice, by its ODS code, without an end | `INVALID_UPDATE` |
//! | PDS-43 | there is one extension of each url, and a pharmacy has an ODS code | `INVALID_UPDATE` |
//! | PDS-44 | a language is of the ISO list, and is not English | `INVALID_UPDATE` |
//! | PDS-45 | a birth place says something | `INVALID_UPDATE` |
//! | PDS-46 | a patient changes address, contact points, emergency contacts, pharmacy, language and birth place | `FORBIDDEN_UPDATE` |
//! | PDS-47 | an application without a user behind it searches for one patient | `SEARCH_NOT_SINGLE` |
//! | PDS-48 | a new patient of the national service has a name, a gender, a birth date, an address with a period, and a registering authority | `MISSING_VALUE` |
//! | PDS-49 | a new patient of the national service has one name, the usual one | `INVALID_CREATE` |
//! | PDS-50 | what is said of a new patient of the national service keeps the rules of changes, and the birth date is a day | `INVALID_CREATE` |
//! | PDS-51 | a new patient of the national service has no members but those of a create | `ADDITIONAL_PROPERTIES` |
//! | PDS-52 | nobody alike has a number already | `SINGLE_MATCH` |
//! | PDS-53 | If-None-Exist describes the new patient: by NHS Number, or by an exact search with the birth date | `INVALID_SEARCH_DATA` |
//! | PDS-54 | If-None-Exist is met by one patient at most | `CRITERIA_NOT_SINGLE` |
//! | PDS-55 | a number is not merged with itself | `INVALID_VALUE` |
//! | PDS-56 | a number that was merged into another is not changed any more | `PATIENT_SUPERSEDED` |
//! | PDS-57 | a record that was marked as invalid is neither shown nor changed | `INVALIDATED_RESOURCE` |
//! | PDS-58 | how confidential a record is, is changed by its own operation alone | `FORBIDDEN_UPDATE` |
//! | PDS-59 | a death that the registrar has told is not told informally | `FORBIDDEN_UPDATE` |
//! | PDS-60 | a death is told with its time, and taken back where it was told | `INVALID_VALUE` |
//! | PDS-61 | a related person has one relationship, and a name and an address or an NHS Number | `INVALID_VALUE` |
//! | PDS-62 | a related person is related to the patient whose they are | `IDENTIFIER_MISMATCH` |
//! | PDS-63 | a patient has at most 64 related persons, over time | `TOO_MANY_VALUES` |
//! | PDS-64 | what a sensitive record does not show is not changed, nor tested by a patch | `FORBIDDEN_UPDATE` |
//!
//! PDS-18 to PDS-24 are about patches, PDS-20 to PDS-22 only about those in the national format. PDS-25 to PDS-46 are
//! about what is changed, in whichever format and by whole resources, too. Of a new patient (`allocate`) all is new, of
//! which less is asked in plain FHIR (`docs/api/pds.md`); a first version that comes with its number (`register`, `update`,
//! `load`, and `allocate` where it is said) is a record of before, and not a change.
//!
//! PDS-48 to PDS-54 are about new patients (`allocate`), the others about what a person is (`person`) and who is there
//! for them (`related`). PDS-52 and PDS-54 are answers and no failures, as they name whom they are about.
//!
//! Each rule has a test named after it in `tests/it/pds_rules.rs`, `tests/it/patch_rules` or `tests/it/people`; transcripts are in `testdata/pds`.

pub mod access;
pub mod allocate;
pub mod history;
mod keys;
pub mod listing;
pub mod load;
pub mod patch;
pub mod patient;
pub mod person;
pub mod register;
pub mod related;
pub mod restricted;
pub mod retrieve;
mod row;
pub mod rules;
pub mod search;
mod successor;
pub mod update;
pub mod watch;

/// Permission to read patients.
pub const PERMISSION_READ: &str = "pds.read";
/// Permission to register and update patients.
pub const PERMISSION_WRITE: &str = "pds.write";
/// Permission to create patients under numbers that the service chooses.
pub const PERMISSION_ALLOCATE: &str = "pds.allocate.write";
/// Permission to merge and invalidate records, and to say how confidential they are.
pub const PERMISSION_ADMINISTER: &str = "pds.administer.write";
/// Permission to tell of deaths.
pub const PERMISSION_DEATH: &str = "pds.death.write";
