//! The one table of errors: what a failure is called on each transport, and what its caller should do.
//!
//! A kind decides; a reason may be more exact on HTTP. The words and numbers of [`Outcome`] are those of the national
//! PDS FHIR API, so that its clients understand them. `docs/errors.md` shows the whole table.

use spine_proto::common::v1::Advice;

use crate::error::{ErrorKind, SpineError};
use crate::reason;

/// A FHIR `OperationOutcome` with one issue, without its diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Code of the system `https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode`.
    pub code: &'static str,
    /// `error` or `information`.
    pub severity: &'static str,
    /// Code of the FHIR value set `issue-type`.
    pub issue: &'static str,
    /// HTTP status in the PDS dialect.
    pub http: u16,
    /// HTTP status in the plain dialect, where FHIR asks for another.
    pub plain_http: u16,
    /// Text that goes with the code.
    pub display: &'static str,
}

const fn outcome(
    code: &'static str,
    severity: &'static str,
    issue: &'static str,
    http: u16,
    display: &'static str,
) -> Outcome {
    Outcome {
        code,
        severity,
        issue,
        http,
        plain_http: http,
        display,
    }
}

const fn error(code: &'static str, issue: &'static str, http: u16, display: &'static str) -> Outcome {
    outcome(code, "error", issue, http, display)
}

impl Outcome {
    const fn plain(mut self, http: u16) -> Self {
        self.plain_http = http;
        self
    }
}

/// Nobody known is calling.
pub const UNAUTHENTICATED: Outcome = error("ACCESS_DENIED", "forbidden", 401, "Access Denied - Unauthorised");
/// The caller may not do this.
pub const ACCESS_DENIED: Outcome = error(
    "ACCESS_DENIED",
    "forbidden",
    403,
    "Patient cannot perform this action",
);
/// A permission is missing.
pub const NOT_PERMITTED: Outcome = error("ACCESS_DENIED", "forbidden", 403, "Access Denied - Unauthorised");
/// Members or parameters that do not exist.
pub const ADDITIONAL_PROPERTIES: Outcome = error(
    "ADDITIONAL_PROPERTIES",
    "invariant",
    400,
    "Additional properties should not be included",
);
/// The patch is well formed and not allowed.
pub const FORBIDDEN_UPDATE: Outcome = outcome(
    "FORBIDDEN_UPDATE",
    "information",
    "forbidden",
    403,
    "Update is forbidden",
);
/// The record is not shown to anybody.
pub const INVALIDATED_RESOURCE: Outcome = error(
    "INVALIDATED_RESOURCE",
    "processing",
    404,
    "Resource that has been marked as invalid was requested - invalid resources cannot be retrieved",
)
.plain(410);
/// What is said of a new patient is not acceptable.
pub const INVALID_CREATE: Outcome =
    error("INVALID_CREATE", "value", 400, "Patient create data is invalid").plain(422);
/// Somebody alike has a number; it is answered with 200.
pub const SINGLE_MATCH: Outcome = error("SINGLE_MATCH", "value", 200, "Single match found").plain(409);
/// Several are alike; it is answered with 200.
pub const MULTIPLE_MATCHES: Outcome =
    error("MULTIPLE_MATCHES", "value", 200, "Multiple matches found").plain(409);
/// Several patients meet the criteria of a conditional create.
pub const CRITERIA_NOT_SINGLE: Outcome = error(
    "PRECONDITION_FAILED",
    "multiple-matches",
    412,
    "Required condition was not fulfilled",
);
/// More than a record takes.
pub const TOO_MANY_VALUES: Outcome = error(
    "TOO_MANY_VALUES_SUBMITTED",
    "value",
    400,
    "Too many values submitted",
)
.plain(422);
/// Applications on their own change nothing.
pub const INVALID_METHOD: Outcome = error(
    "INVALID_METHOD",
    "forbidden",
    403,
    "Cannot create/update resource with application-restricted access token",
);
/// The number in the path is none.
pub const INVALID_RESOURCE_ID: Outcome = error("INVALID_RESOURCE_ID", "value", 400, "Resource Id is invalid");
/// A search that cannot be made.
pub const INVALID_SEARCH_DATA: Outcome = error("INVALID_SEARCH_DATA", "value", 400, "Search data is invalid");
/// A search that an application alone may not make.
pub const NOT_SINGLE: Outcome = error("INVALID_VALUE", "value", 403, "Provided value is invalid");
/// A patch list that cannot be carried out.
pub const INVALID_UPDATE: Outcome = error("INVALID_UPDATE", "structure", 400, "Update is invalid").plain(422);
/// A header, parameter or member with a wrong value.
pub const INVALID_VALUE: Outcome = error("INVALID_VALUE", "value", 400, "Provided value is invalid");
/// The request id was used with another body.
pub const REQUEST_ID_REUSED: Outcome = error("INVALID_VALUE", "duplicate", 422, "Provided value is invalid");
/// A header or member is missing.
pub const MISSING_VALUE: Outcome = error("MISSING_VALUE", "required", 400, "Required value is missing");
/// `If-Match` is missing or malformed.
pub const PRECONDITION_FAILED: Outcome = error(
    "PRECONDITION_FAILED",
    "structure",
    412,
    "Required condition was not fulfilled",
);
/// There is no such resource.
pub const RESOURCE_NOT_FOUND: Outcome = outcome(
    "RESOURCE_NOT_FOUND",
    "information",
    "not-found",
    404,
    "Resource not found",
);
/// The version named is not the current one.
pub const RESOURCE_VERSION_MISMATCH: Outcome = error(
    "RESOURCE_VERSION_MISMATCH",
    "conflict",
    409,
    "Resource version supplied does not match actual version",
)
.plain(412);
/// What was to be created exists, or was changed meanwhile.
pub const CONFLICT: Outcome = error("VALIDATION_ERROR", "conflict", 409, "Validation error");
/// No such path or method.
pub const UNSUPPORTED_SERVICE: Outcome =
    error("UNSUPPORTED_SERVICE", "processing", 400, "Unsupported Service").plain(404);
/// Nodes of an older release may still lead.
pub const NOT_YET: Outcome =
    error("UNSUPPORTED_SERVICE", "not-supported", 400, "Unsupported Service").plain(501);
/// A method that a path does not have.
pub const METHOD_NOT_ALLOWED: Outcome =
    error("UNSUPPORTED_SERVICE", "not-supported", 405, "Unsupported Service");
/// A content type that is not understood.
pub const UNSUPPORTED_MEDIA_TYPE: Outcome =
    error("UNSUPPORTED_SERVICE", "processing", 400, "Unsupported Service").plain(415);
/// What was to be read on from is no longer kept.
pub const GONE: Outcome = error("VALIDATION_ERROR", "incomplete", 410, "Validation error");
/// Larger than a record can be.
pub const TOO_LARGE: Outcome = error("VALIDATION_ERROR", "too-long", 413, "Validation error");
/// Everything else that is wrong with a request.
pub const VALIDATION_ERROR: Outcome = error("VALIDATION_ERROR", "invalid", 400, "Validation error");
/// A rule of FHIR or of the service is broken.
pub const BROKEN_RULE: Outcome = error("VALIDATION_ERROR", "invariant", 400, "Validation error").plain(422);
/// A request that did not arrive in time, or a read that was not answered in time.
pub const UNABLE_TO_CALL_SERVICE: Outcome = error(
    "UNABLE_TO_CALL_SERVICE",
    "timeout",
    408,
    "The downstream service has not responded within the configured timeout period",
);
/// A search that finds more than its caller wants; it is answered with 200, where a plain client looks for a bundle with 400.
pub const TOO_MANY_MATCHES: Outcome = outcome(
    "TOO_MANY_MATCHES",
    "information",
    "multiple-matches",
    200,
    "Too many matches",
)
.plain(400);
/// Too much at once.
pub const TOO_MANY_REQUESTS: Outcome = error("TOO_MANY_REQUESTS", "throttled", 429, "Too many requests");
/// Not now; sent again with the same request id, it may succeed.
pub const SERVICE_UNAVAILABLE: Outcome =
    error("SERVICE_UNAVAILABLE", "transient", 503, "Service unavailable");
/// A fault of ours.
pub const SERVER_ERROR: Outcome = error("SERVER_ERROR", "exception", 500, "Server error");

/// What a kind of failure is on each transport.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kind.
    pub kind: ErrorKind,
    /// `google.rpc.Code`.
    pub grpc: i32,
    /// For programs, unless the failure says otherwise.
    pub advice: Advice,
    /// For FHIR, unless the reason says otherwise.
    pub outcome: Outcome,
    /// For people: what the caller should do.
    pub to_do: &'static str,
}

const fn row(kind: ErrorKind, grpc: i32, advice: Advice, outcome: Outcome, to_do: &'static str) -> Row {
    Row {
        kind,
        grpc,
        advice,
        outcome,
        to_do,
    }
}

const FIX: Advice = Advice::FixRequest;
const READ: Advice = Advice::ReadAgain;

/// Every kind, in the order of [`ErrorKind::ALL`].
pub const ROWS: [Row; 16] = [
    row(ErrorKind::Invalid, 3, FIX, VALIDATION_ERROR, "change the request"),
    row(
        ErrorKind::Unauthenticated,
        16,
        FIX,
        UNAUTHENTICATED,
        "say who calls",
    ),
    row(
        ErrorKind::Forbidden,
        7,
        FIX,
        NOT_PERMITTED,
        "ask for the permission, or do not ask",
    ),
    row(
        ErrorKind::NotFound,
        5,
        READ,
        RESOURCE_NOT_FOUND,
        "check the identifier",
    ),
    row(ErrorKind::AlreadyExists, 6, READ, CONFLICT, "read what exists"),
    // ABORTED
    row(ErrorKind::Conflict, 10, READ, CONFLICT, "read again, then decide"),
    // FAILED_PRECONDITION: the same request will fail again until the caller chooses a new id.
    row(
        ErrorKind::RequestIdReused,
        9,
        FIX,
        REQUEST_ID_REUSED,
        "choose a new request id",
    ),
    row(
        ErrorKind::RateLimited,
        8,
        Advice::Wait,
        TOO_MANY_REQUESTS,
        "send it again after the time named",
    ),
    row(
        ErrorKind::Unavailable,
        14,
        Advice::RetrySameId,
        SERVICE_UNAVAILABLE,
        "send it again with the same request id",
    ),
    row(
        ErrorKind::NotLeader,
        14,
        Advice::Elsewhere,
        SERVICE_UNAVAILABLE,
        "send it again with the same request id, to another node",
    ),
    // UNKNOWN is the code of "it may have happened"; nothing else uses it.
    row(
        ErrorKind::OutcomeUnknown,
        2,
        Advice::OutcomeUnknown,
        SERVICE_UNAVAILABLE,
        "send it again with the same request id: it takes effect once",
    ),
    row(
        ErrorKind::Unsupported,
        12,
        Advice::Elsewhere,
        UNSUPPORTED_SERVICE,
        "ask a node of a newer release",
    ),
    row(
        ErrorKind::Corrupt,
        15,
        Advice::Operator,
        SERVER_ERROR,
        "try another node, and call an operator",
    ),
    row(
        ErrorKind::DeadlineExceeded,
        4,
        Advice::RetrySameId,
        SERVICE_UNAVAILABLE,
        "nothing happened: send it again with the same request id, and allow more time",
    ),
    row(
        ErrorKind::Internal,
        13,
        Advice::Operator,
        SERVER_ERROR,
        "call an operator",
    ),
    row(
        ErrorKind::SessionExpired,
        9,
        FIX,
        CONFLICT,
        "open another session; find out what an earlier try did",
    ),
];

/// Reasons that are told more exactly than their kind.
pub const REASONS: &[(&str, Outcome)] = &[
    (reason::ACCESS_DENIED, ACCESS_DENIED),
    (reason::ADDITIONAL_PROPERTIES, ADDITIONAL_PROPERTIES),
    (reason::COMPACTED, GONE),
    (reason::CRITERIA_NOT_SINGLE, CRITERIA_NOT_SINGLE),
    (reason::FORBIDDEN_UPDATE, FORBIDDEN_UPDATE),
    (reason::IDENTIFIER_MISMATCH, INVALID_RESOURCE_ID),
    (reason::INVALID_BIRTH_DATE, BROKEN_RULE),
    (reason::INVALID_CREATE, INVALID_CREATE),
    (reason::INVALID_CURSOR, INVALID_VALUE),
    (reason::INVALID_DECEASED, BROKEN_RULE),
    (reason::INVALID_GENDER, BROKEN_RULE),
    (reason::INVALID_METHOD, INVALID_METHOD),
    (reason::INVALID_NHS_NUMBER, INVALID_RESOURCE_ID),
    (reason::INVALID_PATCH_OPERATION, INVALID_VALUE),
    (reason::INVALID_REQUEST_ID, INVALID_VALUE),
    (reason::INVALID_RESOURCE_TYPE, BROKEN_RULE),
    (reason::INVALID_SEARCH_DATA, INVALID_SEARCH_DATA),
    (reason::INVALID_UPDATE, INVALID_UPDATE),
    (reason::INVALID_VALUE, INVALID_VALUE),
    (reason::INVALIDATED_RESOURCE, INVALIDATED_RESOURCE),
    (reason::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED),
    (reason::LEVEL_TOO_LOW, NOT_YET),
    (reason::MISSING_USUAL_NAME, BROKEN_RULE),
    (reason::MISSING_VALUE, MISSING_VALUE),
    (reason::MULTIPLE_MATCHES, MULTIPLE_MATCHES),
    (reason::PAGE_SIZE_OUT_OF_RANGE, INVALID_VALUE),
    (reason::PRECONDITION_FAILED, PRECONDITION_FAILED),
    (reason::RECORD_TOO_LARGE, TOO_LARGE),
    (reason::REQUEST_TIMED_OUT, UNABLE_TO_CALL_SERVICE),
    (reason::SEARCH_NOT_SINGLE, NOT_SINGLE),
    (reason::SINGLE_MATCH, SINGLE_MATCH),
    (reason::TOO_MANY_VALUES, TOO_MANY_VALUES),
    (reason::UNSUPPORTED_MEDIA_TYPE, UNSUPPORTED_MEDIA_TYPE),
    (reason::UNSUPPORTED_SERVICE, UNSUPPORTED_SERVICE),
    (reason::VERSION_MISMATCH, RESOURCE_VERSION_MISMATCH),
];

/// The row of a kind.
#[must_use]
pub const fn of_kind(kind: ErrorKind) -> &'static Row {
    &ROWS[kind as usize - 1]
}

/// How a failure is told as FHIR.
#[must_use]
pub fn outcome_of(error: &SpineError) -> Outcome {
    of_reason(&error.reason).unwrap_or_else(|| of_kind(error.kind).outcome)
}

/// How a reason is told as FHIR, where that is more exact than its kind.
#[must_use]
pub fn of_reason(word: &str) -> Option<Outcome> {
    REASONS
        .iter()
        .find(|(reason, _)| *reason == word)
        .map(|(_, outcome)| *outcome)
}

#[cfg(test)]
mod tests {
    use super::{REASONS, ROWS, of_kind, outcome_of};
    use crate::error::{ErrorKind, SpineError};
    use crate::reason;

    #[test]
    fn every_kind_has_its_row_on_every_transport() {
        for (kind, row) in ErrorKind::ALL.into_iter().zip(ROWS) {
            assert!(of_kind(kind) == &row && row.kind == kind, "{kind:?}");
            assert_eq!(kind.grpc_code(), row.grpc);
            assert!((1..=16).contains(&row.grpc) && !row.to_do.is_empty(), "{kind:?}");
            let outcome = row.outcome;
            for http in [outcome.http, outcome.plain_http] {
                assert!((400..=599).contains(&http), "{kind:?}");
                // What is worth sending again as it is, and nothing else, has a status that says so.
                let again = matches!(http, 429 | 503);
                let odd = matches!(kind, ErrorKind::Unsupported | ErrorKind::Corrupt);
                assert!(
                    odd || again == kind.is_transient(),
                    "{kind:?} is answered with {http}"
                );
            }
            assert!(matches!(outcome.severity, "error" | "information"), "{kind:?}");
        }
    }

    #[test]
    fn exact_reasons_exist_and_stand_once() {
        for (at, (word, outcome)) in REASONS.iter().enumerate() {
            let known = reason::find(word).expect("a reason of the list");
            let error = SpineError::new(known.kind, known.word, "text");
            assert_eq!(outcome_of(&error), *outcome);
            assert!(REASONS[..at].iter().all(|(other, _)| other != word), "{word}");
            // More exact, and no other advice: a refusal never becomes worth sending again.
            assert!(!matches!(outcome.http, 429 | 503), "{word}");
        }
    }
}
