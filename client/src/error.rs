//! What a call that did not succeed tells its caller.

use spine_proto::common::v1 as wire;
use spine_proto::common::v1::ErrorDetail;
use tonic::Code;

/// What kind of failure it was. The numbers are the same in the node, the gateway and here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request breaks a rule of its form; sending it again fails again.
    Invalid,
    /// The cluster does not know who calls.
    Unauthenticated,
    /// The principal may not do this.
    Forbidden,
    /// No such record or patient.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// A guard did not hold, or the version is stale: read again, then decide.
    Conflict,
    /// The request id was used before with another body.
    RequestIdReused,
    /// The session of the call is forgotten; the library opens another by itself.
    SessionExpired,
    /// The cluster sheds load.
    RateLimited,
    /// No node that could answer was reached within the deadline. Nothing happened.
    Unavailable,
    /// Nodes were reached, but none led the shard within the deadline. Nothing happened.
    NotLeader,
    /// The deadline ended while it was unknown whether a change had taken effect. Sending it again
    /// with the same request id is safe and tells.
    OutcomeUnknown,
    /// The cluster does not offer this operation.
    Unsupported,
    /// The stored data is damaged; an operator must look.
    Corrupt,
    /// A read was not answered within the deadline.
    DeadlineExceeded,
    /// A fault in the node or in this library.
    Internal,
}

/// What a caller should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// The request is wrong; sending it again fails again.
    FixRequest,
    /// Read again, then decide.
    ReadAgain,
    /// Send again, with the same request id. The client has done so until its deadline.
    RetrySameId,
    /// Send again with the same request id, after a while.
    Wait,
    /// Another node could answer. The client has asked those it knows until its deadline.
    Elsewhere,
    /// It may have happened: send again with the same request id to learn it.
    OutcomeUnknown,
    /// A person must look.
    Operator,
}

impl Advice {
    /// `None` where there is none, or one that this release does not know.
    pub(crate) fn of(wire: i32) -> Option<Self> {
        match wire::Advice::try_from(wire) {
            Ok(wire::Advice::FixRequest) => Some(Self::FixRequest),
            Ok(wire::Advice::ReadAgain) => Some(Self::ReadAgain),
            Ok(wire::Advice::RetrySameId) => Some(Self::RetrySameId),
            Ok(wire::Advice::Wait) => Some(Self::Wait),
            Ok(wire::Advice::Elsewhere) => Some(Self::Elsewhere),
            Ok(wire::Advice::OutcomeUnknown) => Some(Self::OutcomeUnknown),
            Ok(wire::Advice::Operator) => Some(Self::Operator),
            Ok(wire::Advice::Unspecified) | Err(_) => None,
        }
    }
}

/// A failed call. Its text never holds patient data: nodes promise the same of their messages.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Error {
    /// What kind of failure it was.
    pub kind: ErrorKind,
    /// Stable upper-case word for programs, for example `RECORD_TOO_LARGE`.
    pub reason: String,
    /// What to do next.
    pub advice: Advice,
    /// For people.
    pub message: String,
    /// The request field at fault, as a dotted path; empty where none is.
    pub field: String,
    /// The business rule that said no, for example `PDS-4`; empty for failures.
    pub rule: String,
    /// Tries made, the last one included.
    pub attempts: u32,
    /// Tries that were sent and never answered. Where it is 0, this error is all that happened.
    pub unanswered: u32,
}

/// The result of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn local(kind: ErrorKind, reason: &str, message: impl Into<String>) -> Self {
        let advice = match kind {
            ErrorKind::Invalid | ErrorKind::Unsupported => Advice::FixRequest,
            ErrorKind::OutcomeUnknown => Advice::OutcomeUnknown,
            ErrorKind::Internal | ErrorKind::Corrupt => Advice::Operator,
            _ => Advice::RetrySameId,
        };
        Self {
            kind,
            reason: reason.to_owned(),
            advice,
            message: message.into(),
            field: String::new(),
            rule: String::new(),
            attempts: 0,
            unanswered: 0,
        }
    }

    pub(crate) fn invalid(reason: &str, field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            ..Self::local(ErrorKind::Invalid, reason, message)
        }
    }

    /// An answer that breaks the protocol: a field that must be there is missing.
    pub(crate) fn malformed_answer(what: &str) -> Self {
        Self::local(
            ErrorKind::Internal,
            "MALFORMED_ANSWER",
            format!("the answer lacks {what}"),
        )
    }

    pub(crate) fn answered(code: Code, message: &str, detail: Option<ErrorDetail>) -> Self {
        let detail = detail.unwrap_or_default();
        let kind = kind_of(code, &detail);
        let mut error = Self::local(kind, reason_of(code), message);
        if !detail.reason.is_empty() {
            error.reason = detail.reason;
        }
        if let Some(advice) = Advice::of(detail.advice) {
            error.advice = advice;
        }
        error.field = detail.field;
        error.rule = detail.rule;
        error
    }

    pub(crate) fn counted(mut self, attempts: u32, unanswered: u32) -> Self {
        self.attempts = attempts;
        self.unanswered = unanswered;
        self
    }

    /// Nothing of that name exists.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Somebody else was first: read again, then decide.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self.kind, ErrorKind::Conflict | ErrorKind::AlreadyExists)
    }

    /// The change may have taken effect. Send it again with the same request id to learn it.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        self.kind == ErrorKind::OutcomeUnknown
    }

    /// The same call, with the same request id, may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable
                | ErrorKind::NotLeader
                | ErrorKind::RateLimited
                | ErrorKind::DeadlineExceeded
                | ErrorKind::OutcomeUnknown
        )
    }

    /// The request itself is at fault.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Invalid
                | ErrorKind::Unauthenticated
                | ErrorKind::Forbidden
                | ErrorKind::RequestIdReused
                | ErrorKind::Unsupported
        )
    }

    /// For certain nothing happened by this call: it was refused, and no try went unanswered.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !self.is_outcome_unknown() && self.unanswered == 0
    }
}

fn kind_of(code: Code, detail: &ErrorDetail) -> ErrorKind {
    match detail.reason.as_str() {
        "REQUEST_ID_REUSED" => return ErrorKind::RequestIdReused,
        "SESSION_EXPIRED" => return ErrorKind::SessionExpired,
        "NOT_LEADER" => return ErrorKind::NotLeader,
        _ => {}
    }
    if Advice::of(detail.advice) == Some(Advice::OutcomeUnknown) {
        return ErrorKind::OutcomeUnknown;
    }
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::FailedPrecondition | Code::Aborted => ErrorKind::Conflict,
        Code::ResourceExhausted => ErrorKind::RateLimited,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::DeadlineExceeded,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    }
}

fn reason_of(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument | Code::OutOfRange => "INVALID",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "FORBIDDEN",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition | Code::Aborted => "CONFLICT",
        Code::ResourceExhausted => "RATE_LIMITED",
        Code::Unavailable => "UNAVAILABLE",
        Code::Unimplemented => "UNSUPPORTED",
        Code::DataLoss => "CORRUPT",
        Code::DeadlineExceeded | Code::Cancelled => "DEADLINE_EXCEEDED",
        Code::Ok | Code::Unknown | Code::Internal => "INTERNAL",
    }
}
