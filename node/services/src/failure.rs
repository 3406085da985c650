//! Why an operation did not answer: the business said no, the request is malformed, or the store cannot be read.

use std::borrow::Cow;

use spine_statemachine::store::ReadError;

use crate::error::{ErrorKind, SpineError};
use crate::reason;

/// Why an operation did not answer. Never holds personal data.
#[derive(Debug)]
pub enum Failure {
    /// The business says no: a rule looked at the request and the records, and refuses.
    Rejection {
        /// Id of the rule, for example `PDS-4`; empty where the refusal has no numbered rule.
        rule: &'static str,
        /// Stable upper-case word; see `docs/errors.md`.
        reason: &'static str,
        /// For people: lower case, no full stop.
        message: Cow<'static, str>,
        /// Dotted path of the field at fault; empty where none is.
        field: Cow<'static, str>,
        /// What sort of refusal it is.
        kind: ErrorKind,
    },
    /// The request is malformed, whatever the records say.
    Invalid {
        /// Stable upper-case word; see `docs/errors.md`.
        reason: &'static str,
        /// Dotted path of the field at fault; empty where none is.
        field: Cow<'static, str>,
        /// For people: lower case, no full stop.
        message: Cow<'static, str>,
    },
    /// The store cannot be read, or holds what this release cannot understand.
    Read(ReadError),
}

impl Failure {
    /// A malformed request.
    pub fn invalid(
        reason: &'static str,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid {
            reason,
            field: field.into(),
            message: message.into(),
        }
    }

    /// A refusal without a numbered rule.
    pub fn refused(
        kind: ErrorKind,
        reason: &'static str,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Rejection {
            rule: "",
            reason,
            message: message.into(),
            field: field.into(),
            kind,
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Whoever is told that an index is not ready may ask again after this long, milliseconds: that takes minutes, and each
/// try asks every shard.
const INDEX_AGAIN_AFTER_MS: u32 = 1_000;

impl From<Failure> for SpineError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejection {
                rule,
                reason,
                message,
                field,
                kind,
            } => {
                let is_index = reason == reason::INDEX_NOT_READY;
                Self::new(kind, reason, message)
                    .with_field(field)
                    .with_rule(rule)
                    .with_retry_after_ms(if is_index { INDEX_AGAIN_AFTER_MS } else { 0 })
            }
            Failure::Invalid {
                reason,
                field,
                message,
            } => Self::new(ErrorKind::Invalid, reason, message).with_field(field),
            // What the store said is for the log of the node that read it, not for a caller.
            Failure::Read(_) => Self::new(
                ErrorKind::Corrupt,
                reason::STORE_DAMAGED,
                "this replica cannot read its store",
            ),
        }
    }
}
