//! The troubles in force.

use std::time::Duration;

use crate::command::FailSync;

#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// How long a sync waits; the inner `None` is until healed.
    pub(crate) stall: Option<Option<Duration>>,
    pub(crate) fail_sync: Option<FailSync>,
    pub(crate) slow: Option<Duration>,
    pub(crate) corrupt_read: Option<String>,
}

impl Faults {
    /// Whether this sync of a file fails; `Once` is used up by it.
    pub(crate) fn file_sync_fails(&mut self) -> bool {
        match self.fail_sync {
            None => false,
            Some(FailSync::Always) => true,
            Some(FailSync::Once) => {
                self.fail_sync = None;
                true
            }
        }
    }

    pub(crate) fn dir_sync_fails(&self) -> bool {
        self.fail_sync == Some(FailSync::Always)
    }

    /// How long a sync waits before it begins: not at all, so long, or until healed.
    pub(crate) fn sync_wait(&self) -> Wait {
        match (self.stall, self.slow) {
            (Some(None), _) => Wait::UntilHealed,
            (Some(Some(stall)), slow) => Wait::For(stall + slow.unwrap_or_default()),
            (None, Some(slow)) => Wait::For(slow),
            (None, None) => Wait::Not,
        }
    }

    pub(crate) fn transfer_wait(&self) -> Wait {
        self.slow.map_or(Wait::Not, Wait::For)
    }
}

/// How long an operation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Not,
    For(Duration),
    UntilHealed,
}
