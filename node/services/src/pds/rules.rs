//! The rules of the service, by number. A number is never given another meaning.

use std::borrow::Cow;
use std::fmt::Display;

use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::reason;

/// A business rule: what it asks, and how its "no" is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For example `PDS-4`.
    pub id: &'static str,
    /// The reason callers branch on.
    pub reason: &'static str,
    /// The kind of refusal.
    pub kind: ErrorKind,
    /// What the rule asks.
    pub text: &'static str,
}

impl Rule {
    const fn new(id: &'static str, kind: ErrorKind, reason: &'static str, text: &'static str) -> Self {
        Self {
            id,
            reason,
            kind,
            text,
        }
    }

    const fn invalid(id: &'static str, reason: &'static str, text: &'static str) -> Self {
        Self {
            id,
            reason,
            kind: ErrorKind::Invalid,
            text,
        }
    }

    /// The refusal of a patch, in the words of the national service, whose clients look for them.
    pub(super) fn update(&self, field: impl Into<Cow<'static, str>>, what: impl Display) -> Failure {
        let prefix = match self.kind {
            ErrorKind::Forbidden => "Forbidden",
            _ => "Invalid",
        };
        self.refuse(field, format!("{prefix} update with error - {what}"))
    }

    /// The refusal of this rule. The message never holds content of the record or request.
    pub fn refuse(
        &self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Failure {
        Failure::Rejection {
            rule: self.id,
            reason: self.reason,
            message: message.into(),
            field: field.into(),
            kind: self.kind,
        }
    }
}

/// The resource is a Patient.
pub const PDS_1: Rule = Rule::invalid("PDS-1", reason::INVALID_RESOURCE_TYPE, "resourceType is Patient");
/// The id is an NHS Number.
pub const PDS_2: Rule = Rule::invalid(
    "PDS-2",
    reason::INVALID_NHS_NUMBER,
    "id is an NHS Number with the right check digit",
);
/// The identifier is the id.
pub const PDS_3: Rule = Rule::invalid(
    "PDS-3",
    reason::IDENTIFIER_MISMATCH,
    "an identifier that is an NHS Number equals the id",
);
/// Size.
pub const PDS_4: Rule = Rule::invalid(
    "PDS-4",
    reason::RECORD_TOO_LARGE,
    "the resource has at most 2 MiB less 1 KiB",
);
/// Depth.
pub const PDS_5: Rule = Rule::invalid("PDS-5", reason::JSON_TOO_DEEP, "JSON is nested at most 32 deep");
/// Usual name.
pub const PDS_6: Rule = Rule::invalid(
    "PDS-6",
    reason::MISSING_USUAL_NAME,
    "at least one name is the usual one",
);
/// Birth date.
pub const PDS_7: Rule = Rule::invalid(
    "PDS-7",
    reason::INVALID_BIRTH_DATE,
    "birthDate is a date that is not in the future",
);
/// Gender.
pub const PDS_8: Rule = Rule::invalid(
    "PDS-8",
    reason::INVALID_GENDER,
    "gender is male, female, other or unknown",
);
/// Members.
pub const PDS_9: Rule = Rule::invalid(
    "PDS-9",
    reason::ADDITIONAL_PROPERTIES,
    "no members but those of a PDS Patient",
);
/// Death.
pub const PDS_10: Rule = Rule::invalid(
    "PDS-10",
    reason::INVALID_DECEASED,
    "deceasedDateTime is a time, not in the future nor before birth",
);
/// Register once.
pub const PDS_11: Rule = Rule {
    id: "PDS-11",
    reason: reason::PATIENT_EXISTS,
    kind: ErrorKind::AlreadyExists,
    text: "an NHS Number is registered once",
};
/// Update what was read.
pub const PDS_12: Rule = Rule {
    id: "PDS-12",
    reason: reason::VERSION_MISMATCH,
    kind: ErrorKind::Conflict,
    text: "an update names the current version",
};
/// Update keeps the id.
pub const PDS_13: Rule = Rule::invalid(
    "PDS-13",
    reason::IDENTIFIER_MISMATCH,
    "an update keeps the id of the patient",
);
/// Types.
pub const PDS_14: Rule = Rule::invalid(
    "PDS-14",
    reason::INVALID_VALUE,
    "members have the JSON type that FHIR gives them",
);
/// No ambiguity.
pub const PDS_15: Rule = Rule::invalid(
    "PDS-15",
    reason::DUPLICATE_MEMBER,
    "no object has two members of one name",
);

/// See its text.
pub const PDS_16: Rule = Rule::new(
    "PDS-16",
    ErrorKind::Forbidden,
    reason::ACCESS_DENIED,
    "a patient reaches only their own record, and no part of it but those named",
);
/// See its text.
pub const PDS_17: Rule = Rule::new(
    "PDS-17",
    ErrorKind::Forbidden,
    reason::INVALID_METHOD,
    "an application without a user behind it changes nothing",
);
/// See its text.
pub const PDS_18: Rule = Rule::new(
    "PDS-18",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a patch list has 1 to 256 well-formed patches",
);
/// See its text.
pub const PDS_19: Rule = Rule::new(
    "PDS-19",
    ErrorKind::Invalid,
    reason::INVALID_PATCH_OPERATION,
    "a patch adds, replaces, removes or tests",
);
/// See its text.
pub const PDS_20: Rule = Rule::new(
    "PDS-20",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "what is added to a list of the patient goes to its end",
);
/// See its text.
pub const PDS_21: Rule = Rule::new(
    "PDS-21",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a change of an item of a list names the item by id or url",
);
/// See its text.
pub const PDS_22: Rule = Rule::new(
    "PDS-22",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a removal of an item of a list comes right after a test of it",
);
/// See its text.
pub const PDS_23: Rule = Rule::new(
    "PDS-23",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a path leads to what exists, and a name to the item that has it",
);
/// See its text.
pub const PDS_24: Rule = Rule::new("PDS-24", ErrorKind::Invalid, reason::INVALID_UPDATE, "tests hold");
/// See its text.
pub const PDS_25: Rule = Rule::new(
    "PDS-25",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a period starts, not in the future, and does not end before",
);
/// See its text.
pub const PDS_26: Rule = Rule::new(
    "PDS-26",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "one name is the usual one, and stays",
);
/// See its text.
pub const PDS_27: Rule = Rule::new(
    "PDS-27",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "there is at most one nickname",
);
/// See its text.
pub const PDS_28: Rule = Rule::new(
    "PDS-28",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "the use of a name does not change",
);
/// See its text.
pub const PDS_29: Rule = Rule::new(
    "PDS-29",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "names are written with letters of European languages, space, apostrophe, hyphen, full stop and digits",
);
/// See its text.
pub const PDS_30: Rule = Rule::new(
    "PDS-30",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a suffix begins with a capital letter",
);
/// See its text.
pub const PDS_31: Rule = Rule::new(
    "PDS-31",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "an address has 1 to 5 lines, and a postcode or the key of one",
);
/// See its text.
pub const PDS_32: Rule = Rule::new(
    "PDS-32",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "there is one address of each use: home, temp, billing",
);
/// See its text.
pub const PDS_33: Rule = Rule::new(
    "PDS-33",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a temporary address ends, within 366 days of its start",
);
/// See its text.
pub const PDS_34: Rule = Rule::new(
    "PDS-34",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "the text of a temporary address is one of a list",
);
/// See its text.
pub const PDS_35: Rule = Rule::new(
    "PDS-35",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "gender and birthDate stay",
);
/// See its text.
pub const PDS_36: Rule = Rule::new(
    "PDS-36",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a gender that is set is male, female or unknown",
);
/// See its text.
pub const PDS_37: Rule = Rule::new(
    "PDS-37",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a time of death is of UTC, and comes and stays with a death notification",
);
/// See its text.
pub const PDS_38: Rule = Rule::new(
    "PDS-38",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "what is known formally of a death is not changed, nor made known",
);
/// See its text.
pub const PDS_39: Rule = Rule::new(
    "PDS-39",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "there is one contact point of each system and use, and they stay",
);
/// See its text.
pub const PDS_40: Rule = Rule::new(
    "PDS-40",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "an email address is one",
);
/// See its text.
pub const PDS_41: Rule = Rule::new(
    "PDS-41",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a contact is for emergencies",
);
/// See its text.
pub const PDS_42: Rule = Rule::new(
    "PDS-42",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "there is one general practice, by its ODS code, without an end",
);
/// See its text.
pub const PDS_43: Rule = Rule::new(
    "PDS-43",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "there is one extension of each url, and a pharmacy has an ODS code",
);
/// See its text.
pub const PDS_44: Rule = Rule::new(
    "PDS-44",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a language is of the ISO list, and is not English",
);
/// See its text.
pub const PDS_45: Rule = Rule::new(
    "PDS-45",
    ErrorKind::Invalid,
    reason::INVALID_UPDATE,
    "a birth place says something",
);
/// See its text.
pub const PDS_46: Rule = Rule::new(
    "PDS-46",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "a patient changes address, contact points, emergency contacts, pharmacy, language and birth place",
);
/// See its text.
pub const PDS_47: Rule = Rule::new(
    "PDS-47",
    ErrorKind::Forbidden,
    reason::SEARCH_NOT_SINGLE,
    "an application without a user behind it searches for one patient",
);
/// See its text.
pub const PDS_48: Rule = Rule::new(
    "PDS-48",
    ErrorKind::Invalid,
    reason::MISSING_VALUE,
    "a new patient of the national service has a name, a gender, a birth date, an address with a period, and a registering authority",
);
/// See its text.
pub const PDS_49: Rule = Rule::new(
    "PDS-49",
    ErrorKind::Invalid,
    reason::INVALID_CREATE,
    "a new patient of the national service has one name, the usual one",
);
/// See its text.
pub const PDS_50: Rule = Rule::new(
    "PDS-50",
    ErrorKind::Invalid,
    reason::INVALID_CREATE,
    "what is said of a new patient of the national service keeps the rules of changes, and the birth date is a day",
);
/// See its text.
pub const PDS_51: Rule = Rule::new(
    "PDS-51",
    ErrorKind::Invalid,
    reason::ADDITIONAL_PROPERTIES,
    "a new patient of the national service has no members but those of a create",
);
/// See its text.
pub const PDS_52: Rule = Rule::new(
    "PDS-52",
    ErrorKind::AlreadyExists,
    reason::SINGLE_MATCH,
    "nobody alike has a number already",
);
/// See its text.
pub const PDS_53: Rule = Rule::new(
    "PDS-53",
    ErrorKind::Invalid,
    reason::INVALID_SEARCH_DATA,
    "If-None-Exist describes the new patient: by NHS Number, or by an exact search with the birth date",
);
/// See its text.
pub const PDS_54: Rule = Rule::new(
    "PDS-54",
    ErrorKind::Conflict,
    reason::CRITERIA_NOT_SINGLE,
    "If-None-Exist is met by one patient at most",
);
/// See its text.
pub const PDS_55: Rule = Rule::new(
    "PDS-55",
    ErrorKind::Invalid,
    reason::INVALID_VALUE,
    "a number is not merged with itself",
);
/// See its text.
pub const PDS_56: Rule = Rule::new(
    "PDS-56",
    ErrorKind::Conflict,
    reason::PATIENT_SUPERSEDED,
    "a number that was merged into another is not changed any more",
);
/// See its text.
pub const PDS_57: Rule = Rule::new(
    "PDS-57",
    ErrorKind::NotFound,
    reason::INVALIDATED_RESOURCE,
    "a record that was marked as invalid is neither shown nor changed",
);
/// See its text.
pub const PDS_58: Rule = Rule::new(
    "PDS-58",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "how confidential a record is, is changed by its own operation alone",
);
/// See its text.
pub const PDS_64: Rule = Rule::new(
    "PDS-64",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "what a sensitive record does not show is not changed, nor tested by a patch",
);
/// See its text.
pub const PDS_59: Rule = Rule::new(
    "PDS-59",
    ErrorKind::Forbidden,
    reason::FORBIDDEN_UPDATE,
    "a death that the registrar has told is not told informally",
);
/// See its text.
pub const PDS_60: Rule = Rule::new(
    "PDS-60",
    ErrorKind::Invalid,
    reason::INVALID_VALUE,
    "a death is told with its time, and taken back where it was told",
);
/// See its text.
pub const PDS_61: Rule = Rule::new(
    "PDS-61",
    ErrorKind::Invalid,
    reason::INVALID_VALUE,
    "a related person has one relationship, and a name and an address or an NHS Number",
);
/// See its text.
pub const PDS_62: Rule = Rule::new(
    "PDS-62",
    ErrorKind::Invalid,
    reason::IDENTIFIER_MISMATCH,
    "a related person is related to the patient whose they are",
);
/// See its text.
pub const PDS_63: Rule = Rule::new(
    "PDS-63",
    ErrorKind::Invalid,
    reason::TOO_MANY_VALUES,
    "a patient has at most 64 related persons, over time",
);

/// Every rule.
pub const RULES: [Rule; 64] = [
    PDS_1, PDS_2, PDS_3, PDS_4, PDS_5, PDS_6, PDS_7, PDS_8, PDS_9, PDS_10, PDS_11, PDS_12, PDS_13, PDS_14,
    PDS_15, PDS_16, PDS_17, PDS_18, PDS_19, PDS_20, PDS_21, PDS_22, PDS_23, PDS_24, PDS_25, PDS_26, PDS_27,
    PDS_28, PDS_29, PDS_30, PDS_31, PDS_32, PDS_33, PDS_34, PDS_35, PDS_36, PDS_37, PDS_38, PDS_39, PDS_40,
    PDS_41, PDS_42, PDS_43, PDS_44, PDS_45, PDS_46, PDS_47, PDS_48, PDS_49, PDS_50, PDS_51, PDS_52, PDS_53,
    PDS_54, PDS_55, PDS_56, PDS_57, PDS_58, PDS_59, PDS_60, PDS_61, PDS_62, PDS_63, PDS_64,
];
