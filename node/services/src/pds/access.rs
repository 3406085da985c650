//! On whose behalf a caller acts, and what that allows. The modes are those of the national service.

use spine_proto::ids::NhsNumber;

use super::rules::{PDS_16, PDS_17, PDS_47};
use crate::authorise::Principal;
use crate::failure::Failure;

/// What stands behind a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A person who works in health care: everything.
    HealthcareWorker,
    /// A patient, whose principal is their NHS Number: their own record, and changes of parts of it.
    Patient,
    /// An application alone: reads.
    Application,
    /// An application that may change records on its own.
    PrivilegedApplication,
}

/// With this permission a principal acts as the patient whose NHS Number is its id.
const PATIENT: &str = "pds.access.patient";
/// With this permission nobody stands behind the application.
const APPLICATION: &str = "pds.access.application";
/// With this permission nobody stands behind the application, and it may change records.
const PRIVILEGED: &str = "pds.access.privileged";

impl Mode {
    /// Every mode and its word.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("healthcare-worker", Self::HealthcareWorker),
        ("patient", Self::Patient),
        ("application-restricted", Self::Application),
        ("privileged-application", Self::PrivilegedApplication),
    ];

    /// The mode of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        let mut words = Self::WORDS.into_iter();
        words.find(|(known, _)| *known == word).map(|(_, mode)| mode)
    }

    /// The permission that says so; a healthcare worker has none of them.
    pub const fn permission(self) -> Option<&'static str> {
        match self {
            Self::HealthcareWorker => None,
            Self::Patient => Some(PATIENT),
            Self::Application => Some(APPLICATION),
            Self::PrivilegedApplication => Some(PRIVILEGED),
        }
    }

    /// The mode of a principal; the narrowest where its permissions name several.
    pub fn of(principal: &Principal) -> Self {
        let has = |word: &str| principal.permissions.iter().any(|permission| permission == word);
        if has(PATIENT) {
            Self::Patient
        } else if has(APPLICATION) {
            Self::Application
        } else if has(PRIVILEGED) {
            Self::PrivilegedApplication
        } else {
            Self::HealthcareWorker
        }
    }
}

/// Whether this principal may see this patient.
///
/// # Errors
/// `PDS-16`
pub(super) fn check_read(principal: &Principal, nhs_number: NhsNumber) -> Result<(), Failure> {
    if Mode::of(principal) == Mode::Patient && NhsNumber::parse(&principal.id) != Ok(nhs_number) {
        return Err(PDS_16.refuse("", "Patient cannot perform this action"));
    }
    Ok(())
}

/// Whether this principal may change parts of this patient.
///
/// # Errors
/// `PDS-16`, `PDS-17`
pub(super) fn check_change(principal: &Principal, nhs_number: NhsNumber) -> Result<(), Failure> {
    if Mode::of(principal) == Mode::Application {
        return Err(PDS_17.refuse(
            "",
            "Cannot update resource with application-restricted access token",
        ));
    }
    check_read(principal, nhs_number)
}

/// Whether this principal may search, for so many results.
///
/// # Errors
/// `PDS-16`, `PDS-47`
pub(super) fn check_search(principal: &Principal, max_results: Option<usize>) -> Result<(), Failure> {
    match Mode::of(principal) {
        Mode::Patient => Err(PDS_16.refuse("", "Patient cannot perform this action")),
        Mode::Application if max_results != Some(1) => {
            Err(PDS_47.refuse("_max-results", "Invalid value in field '_max-results'"))
        }
        Mode::HealthcareWorker | Mode::Application | Mode::PrivilegedApplication => Ok(()),
    }
}

/// Whether this principal may have new patients created.
///
/// # Errors
/// `PDS-16`, `PDS-17`
pub(super) fn check_create(principal: &Principal) -> Result<(), Failure> {
    match Mode::of(principal) {
        Mode::HealthcareWorker => Ok(()),
        Mode::Patient => Err(PDS_16.refuse("", "Patient cannot perform this action")),
        Mode::Application | Mode::PrivilegedApplication => Err(PDS_17.refuse(
            "",
            "Cannot create resource with application-restricted access token",
        )),
    }
}

/// Whether this principal may see what is written of all patients.
///
/// # Errors
/// `PDS-16`, `PDS-47`
pub(super) fn check_watch(principal: &Principal) -> Result<(), Failure> {
    match Mode::of(principal) {
        Mode::Patient => Err(PDS_16.refuse("", "Patient cannot perform this action")),
        Mode::Application => Err(PDS_47.refuse("", "an application alone does not see every patient")),
        Mode::HealthcareWorker | Mode::PrivilegedApplication => Ok(()),
    }
}

/// Whether this principal may write whole records.
///
/// # Errors
/// `PDS-16`, `PDS-17`
pub(super) fn check_replace(principal: &Principal, nhs_number: NhsNumber) -> Result<(), Failure> {
    check_change(principal, nhs_number)?;
    if Mode::of(principal) == Mode::Patient {
        return Err(PDS_16.refuse("", "Patient cannot perform this action"));
    }
    Ok(())
}
