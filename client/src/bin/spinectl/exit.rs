//! Exit codes. They are a promise: scripts rest on them, and docs/cli.md lists them.

use std::fmt::Display;
use std::process::ExitCode;

use spine_client::local_cluster::LocalClusterError;
use spine_client::{Error, ErrorKind};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Generic = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Unavailable = 5,
    Timeout = 6,
    Permission = 7,
    Partial = 8,
}

/// `cluster status` has codes of its own.
impl Exit {
    pub(crate) const HEALTHY: Self = Self::Ok;
    pub(crate) const DEGRADED: Self = Self::Generic;
    pub(crate) const NOT_SERVING: Self = Self::Usage;
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Ends the program with a message.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }

    pub(crate) fn generic(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Generic,
            message: message.into(),
        }
    }

    /// A file or stream that cannot be used.
    pub(crate) fn io(what: impl Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                std::io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Generic,
            };
            Self {
                exit,
                message: format!("{what}: {error}"),
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        if !error.field.is_empty() {
            message = format!("{message} (field {})", error.field);
        }
        if !error.rule.is_empty() {
            message = format!("{message} [{}]", error.rule);
        }
        Self {
            exit: exit_of(error.kind),
            message,
        }
    }
}

impl From<LocalClusterError> for Failure {
    fn from(error: LocalClusterError) -> Self {
        match error {
            LocalClusterError::Call(error) => error.into(),
            LocalClusterError::TimedOut(message) => Self {
                exit: Exit::Timeout,
                message,
            },
            other => Self::generic(other.to_string()),
        }
    }
}

fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Invalid => Exit::Usage,
        ErrorKind::NotFound => Exit::NotFound,
        ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::RequestIdReused => Exit::Conflict,
        ErrorKind::Unavailable | ErrorKind::NotLeader | ErrorKind::RateLimited => Exit::Unavailable,
        ErrorKind::DeadlineExceeded | ErrorKind::OutcomeUnknown => Exit::Timeout,
        ErrorKind::Forbidden | ErrorKind::Unauthenticated => Exit::Permission,
        _ => Exit::Generic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes = [
            (ErrorKind::Invalid, 2),
            (ErrorKind::NotFound, 3),
            (ErrorKind::Conflict, 4),
            (ErrorKind::AlreadyExists, 4),
            (ErrorKind::RequestIdReused, 4),
            (ErrorKind::Unavailable, 5),
            (ErrorKind::NotLeader, 5),
            (ErrorKind::DeadlineExceeded, 6),
            (ErrorKind::OutcomeUnknown, 6),
            (ErrorKind::Forbidden, 7),
            (ErrorKind::Internal, 1),
        ];
        for (kind, code) in codes {
            assert_eq!(exit_of(kind) as u8, code, "{kind:?}");
        }
        assert_eq!(
            [Exit::HEALTHY as u8, Exit::DEGRADED as u8, Exit::NOT_SERVING as u8],
            [0, 1, 2]
        );
        assert_eq!(Exit::Partial as u8, 8);
    }
}
