//! Why a log cannot be opened or read.

use std::io;

use thiserror::Error;

/// Why a log does not open.
#[derive(Debug, Error)]
pub enum WalError {
    /// The disk said no.
    #[error("log: {0}")]
    Io(#[from] io::Error),
    /// The directory belongs to another store.
    #[error("log belongs to another store")]
    AnotherStore,
    /// Written by a release that this one cannot read.
    #[error("log has format {0}, which this release does not know")]
    Format(u32),
    /// Something that was durable is not there as it was written. The log may not be used: it may have lost votes.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A setting is out of its range.
    #[error("log option {0} is out of range")]
    Option(&'static str),
}

/// Where a log is damaged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("log damaged at segment {segment} offset {offset}: {reason}")]
pub struct Damage {
    /// Number of the segment, 0 if it concerns none.
    pub segment: u64,
    /// Byte in the segment.
    pub offset: u64,
    /// What is wrong.
    pub reason: &'static str,
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        Self::new(io::ErrorKind::InvalidData, damage)
    }
}

/// The answer to everything after a failed write or sync: what reached the disk is unknown, the process must end.
pub(super) fn poisoned(reason: &str) -> io::Error {
    io::Error::other(format!("log stopped after a disk error: {reason}"))
}

/// The answer after the log was closed.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "log is closed")
}
