//! The one error of every call, from a business rule to the gateway.
//!
//! A [`SpineError`] says what kind of failure it is, a stable reason for programs, and what the caller should do next.
//! Its message is for people and never holds personal data. Every reason stands in `docs/errors.md`.

use std::borrow::Cow;
use std::fmt;

use prost::Message;
use spine_proto::common::v1::{Advice, ErrorDetail};
use spine_proto::internal::shard::v1::Failure as WireFailure;

use crate::{error_table, reason};

/// What sort of failure a call met. The numbers travel between nodes and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ErrorKind {
    /// The request is wrong as it stands.
    Invalid = 1,
    /// Nobody is known to be calling.
    Unauthenticated = 2,
    /// The caller may not do this.
    Forbidden = 3,
    /// What was asked for does not exist.
    NotFound = 4,
    /// What was to be created exists.
    AlreadyExists = 5,
    /// What the caller had read has changed since.
    Conflict = 6,
    /// The request id was used before with another body.
    RequestIdReused = 7,
    /// More than this node takes at once.
    RateLimited = 8,
    /// Not now, perhaps elsewhere.
    Unavailable = 9,
    /// This node does not lead the shard.
    NotLeader = 10,
    /// It may or may not have happened.
    OutcomeUnknown = 11,
    /// This node or cluster level does not know the request.
    Unsupported = 12,
    /// Stored bytes are damaged; an operator is needed.
    Corrupt = 13,
    /// The caller's time ran out before anything was proposed.
    DeadlineExceeded = 14,
    /// A fault of ours.
    Internal = 15,
    /// The session of the call is forgotten; nothing was executed now.
    SessionExpired = 16,
}

impl ErrorKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::RequestIdReused,
        Self::RateLimited,
        Self::Unavailable,
        Self::NotLeader,
        Self::OutcomeUnknown,
        Self::Unsupported,
        Self::Corrupt,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::SessionExpired,
    ];

    /// The stable number, as in `spine.internal.shard.v1.Failure.kind`.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The kind with this number; `None` for a number this release does not know.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// A word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::RequestIdReused => "request_id_reused",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::NotLeader => "not_leader",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
            Self::SessionExpired => "session_expired",
        }
    }

    /// Whether nothing is wrong with the request itself: sent again with the same request id, it may succeed.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Unavailable
            | Self::NotLeader
            | Self::OutcomeUnknown
            | Self::Unsupported
            | Self::Corrupt
            | Self::DeadlineExceeded => true,
            Self::Invalid
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::RequestIdReused
            | Self::SessionExpired
            | Self::Internal => false,
        }
    }

    /// Whether the same call may fare otherwise at another moment: what was found then decided.
    pub const fn rests_on_state(self) -> bool {
        matches!(
            self,
            Self::NotFound | Self::AlreadyExists | Self::Conflict | Self::SessionExpired
        )
    }

    /// The gRPC status code (google.rpc.Code) every failure of this kind is answered with.
    pub const fn grpc_code(self) -> i32 {
        error_table::of_kind(self).grpc
    }

    /// What a caller should do unless the failure says otherwise.
    pub const fn advice(self) -> Advice {
        error_table::of_kind(self).advice
    }
}

/// A failed call. Small enough to be returned by value everywhere. Holds no personal data: it is logged and sent as it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct SpineError {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// A stable upper-case word; see `docs/errors.md`.
    pub reason: Cow<'static, str>,
    /// For people: lower case, no full stop, no personal data.
    pub message: String,
    /// What the caller should do next.
    pub advice: Advice,
    /// The request field at fault, as a dotted path; empty where none is.
    pub field: Cow<'static, str>,
    /// The business rule that said no, for example `PDS-4`; empty for failures.
    pub rule: Box<str>,
    /// With [`Advice::Wait`]: how long, in milliseconds.
    pub retry_after_ms: u32,
    /// The shard concerned; 0 where none is.
    pub shard: u32,
    /// gRPC address of the node believed to lead the shard: a hint.
    pub leader_address: Box<str>,
}

impl SpineError {
    /// An error with the usual advice of its kind.
    pub fn new(kind: ErrorKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            advice: kind.advice(),
            field: Cow::Borrowed(""),
            rule: Box::default(),
            retry_after_ms: 0,
            shard: 0,
            leader_address: Box::default(),
        }
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = field.into();
        self
    }

    /// Names the business rule that said no.
    #[must_use]
    pub fn with_rule(mut self, rule: &'static str) -> Self {
        self.rule = rule.into();
        self
    }

    /// Replaces the usual advice of the kind.
    #[must_use]
    pub fn with_advice(mut self, advice: Advice) -> Self {
        self.advice = advice;
        self
    }

    /// Says how long to wait before the next try, in milliseconds.
    #[must_use]
    pub fn with_retry_after_ms(mut self, retry_after_ms: u32) -> Self {
        self.retry_after_ms = retry_after_ms;
        self
    }

    /// Names the shard and, where known, the address of its leader.
    #[must_use]
    pub fn with_leader(mut self, shard: u32, leader_address: impl Into<Box<str>>) -> Self {
        self.shard = shard;
        self.leader_address = leader_address.into();
        self
    }

    /// The machine-readable part, as it travels in status details.
    pub fn to_detail(&self) -> ErrorDetail {
        ErrorDetail {
            reason: self.reason.to_string(),
            advice: self.advice.into(),
            field: self.field.to_string(),
            retry_after_ms: self.retry_after_ms,
            shard: self.shard,
            leader_address: self.leader_address.to_string(),
            rule: self.rule.to_string(),
        }
    }

    /// The error that was sent as `kind`, `message` and `detail`.
    pub fn from_detail(kind: ErrorKind, message: String, detail: ErrorDetail) -> Self {
        let advice = match Advice::try_from(detail.advice) {
            Ok(Advice::Unspecified) | Err(_) => kind.advice(),
            Ok(advice) => advice,
        };
        Self {
            kind,
            reason: Cow::Owned(detail.reason),
            message,
            advice,
            field: Cow::Owned(detail.field),
            rule: detail.rule.into(),
            retry_after_ms: detail.retry_after_ms,
            shard: detail.shard,
            leader_address: detail.leader_address.into(),
        }
    }

    /// The gRPC status code number (google.rpc.Code).
    pub const fn grpc_code(&self) -> i32 {
        self.kind.grpc_code()
    }

    /// The encoded [`ErrorDetail`], for gRPC status details.
    pub fn detail_bytes(&self) -> Vec<u8> {
        self.to_detail().encode_to_vec()
    }

    /// As a leader answers a forwarded call.
    pub fn to_failure(&self) -> WireFailure {
        WireFailure {
            kind: self.kind.number(),
            message: self.message.clone(),
            detail: self.detail_bytes().into(),
        }
    }

    /// As a forwarding node reads a leader's answer. A kind of a newer release becomes `Internal` and keeps its detail.
    pub fn from_failure(failure: &WireFailure) -> Self {
        let kind = ErrorKind::from_number(failure.kind).unwrap_or(ErrorKind::Internal);
        match ErrorDetail::decode(failure.detail.clone()) {
            Ok(detail) => Self::from_detail(kind, failure.message.clone(), detail),
            Err(_) => Self::new(kind, reason::MALFORMED_FAILURE, failure.message.clone()),
        }
    }
}

impl fmt::Debug for SpineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} {self} [{}]",
            self.kind,
            self.advice.as_str_name()
        )
    }
}

impl fmt::Display for SpineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message)?;
        if !self.rule.is_empty() {
            write!(formatter, " (rule {})", self.rule)?;
        }
        if !self.field.is_empty() {
            write!(formatter, " (field {})", self.field)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpineError {}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, SpineError};
    use spine_proto::common::v1::Advice;
    use spine_proto::internal::shard::v1::Failure as WireFailure;

    #[test]
    fn numbers_are_frozen_and_unique() {
        for (kind, number) in ErrorKind::ALL.into_iter().zip(1..) {
            assert_eq!(kind.number(), number);
            assert_eq!(ErrorKind::from_number(number), Some(kind));
        }
        assert_eq!(ErrorKind::from_number(0), None);
        assert_eq!(ErrorKind::from_number(17), None);
    }

    #[test]
    fn errors_travel_unchanged() {
        for kind in ErrorKind::ALL {
            let error = SpineError::new(kind, "NOT_LEADER", "text")
                .with_field("a.b[1]")
                .with_rule("PDS-4")
                .with_retry_after_ms(20)
                .with_leader(3, "127.0.0.1:7000");
            assert_eq!(SpineError::from_failure(&error.to_failure()), error);
            let advised = error.with_advice(Advice::Wait);
            assert_eq!(SpineError::from_failure(&advised.to_failure()), advised);
        }
    }

    #[test]
    fn what_a_newer_node_sends_is_understood_as_far_as_possible() {
        let mut newer = SpineError::new(ErrorKind::Conflict, "GUARD_FAILED", "text");
        newer.reason = "NEWER_WORD".into();
        let newer = WireFailure {
            kind: 99,
            ..newer.to_failure()
        };
        let error = SpineError::from_failure(&newer);
        assert_eq!((error.kind, &*error.reason), (ErrorKind::Internal, "NEWER_WORD"));
        let broken = WireFailure {
            kind: 1,
            message: "text".to_owned(),
            detail: vec![0xff].into(),
        };
        assert_eq!(SpineError::from_failure(&broken).reason, "MALFORMED_FAILURE");
    }

    #[test]
    fn only_an_unknown_outcome_has_its_code() {
        let sharing = |code| {
            ErrorKind::ALL
                .into_iter()
                .filter(|kind| kind.grpc_code() == code)
                .count()
        };
        assert_eq!(sharing(ErrorKind::OutcomeUnknown.grpc_code()), 1);
        assert!(
            ErrorKind::ALL
                .into_iter()
                .all(|kind| (1..=16).contains(&kind.grpc_code()))
        );
    }
}
