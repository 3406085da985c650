//! The rules of the service, by number. A number is never given another meaning.

use std::borrow::Cow;

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
    const fn invalid(id: &'static str, reason: &'static str, text: &'static str) -> Self {
        Self {
            id,
            reason,
            kind: ErrorKind::Invalid,
            text,
        }
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

/// Every rule.
pub const RULES: [Rule; 15] = [
    PDS_1, PDS_2, PDS_3, PDS_4, PDS_5, PDS_6, PDS_7, PDS_8, PDS_9, PDS_10, PDS_11, PDS_12, PDS_13, PDS_14,
    PDS_15,
];
