//! Whether this node's disk lets it lead and write, for everybody on the node who must know.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spine_services::{ErrorKind, SpineError};
use tokio::sync::watch;

/// A caller whom a full disk turns away may come back after this long, milliseconds: room takes somebody's time.
const ROOM_AFTER_MS: u32 = 1_000;
/// ... and one whom a stalled disk does: within it another node leads, or the disk moves again.
const MOVES_AFTER_MS: u32 = 200;

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A sync of the log hangs, or did a moment ago.
    DiskStalled,
    /// There is too little room left.
    DiskFull,
}

impl Trouble {
    /// All of them, for metrics.
    pub const ALL: [Self; 2] = [Self::DiskStalled, Self::DiskFull];

    /// A word for metrics and status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskStalled => "disk_stalled",
            Self::DiskFull => "disk_full",
        }
    }

    /// What a caller is told who wants to write here.
    #[must_use]
    pub fn error(self) -> SpineError {
        let (reason, message, retry_after_ms) = match self {
            Self::DiskStalled => (
                "DISK_STALLED",
                "the disk of this node does not answer; ask another node",
                MOVES_AFTER_MS,
            ),
            Self::DiskFull => (
                "DISK_FULL",
                "the disk of this node is full; ask another node",
                ROOM_AFTER_MS,
            ),
        };
        let mut error = SpineError::new(ErrorKind::Unavailable, reason, message);
        error.retry_after_ms = retry_after_ms;
        error
    }

    /// The trouble that an error of another node names.
    #[must_use]
    pub fn of_reason(reason: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|trouble| trouble.error().reason == reason)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskStalled => "the disk stalls; this node leads nothing until it works again",
            Self::DiskFull => {
                "the disk is full; this node leads nothing and takes no writes until there is room"
            }
        })
    }
}

/// What is known of this node's own disk. Clones share it.
#[derive(Clone)]
pub struct Fitness {
    trouble: watch::Sender<Option<Trouble>>,
    exhausted: Arc<AtomicBool>,
}

impl Default for Fitness {
    fn default() -> Self {
        Self {
            trouble: watch::Sender::new(None),
            exhausted: Arc::default(),
        }
    }
}

impl Fitness {
    /// What is wrong now.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        *self.trouble.borrow()
    }

    /// Says what is wrong now.
    pub fn set(&self, trouble: Option<Trouble>) {
        self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            *known = trouble;
            changed
        });
    }

    /// Whether entries of leaders elsewhere are refused.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Acquire)
    }

    /// Says whether they are.
    pub fn set_exhausted(&self, exhausted: bool) {
        self.exhausted.store(exhausted, Ordering::Release);
    }

    /// Whether consensus here may wait for the disk without an end, so that nothing should wait for it.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.trouble() == Some(Trouble::DiskStalled)
    }

    /// Returns when the disk stalls; at once if it does.
    pub async fn stalled(&self) {
        let mut trouble = self.trouble.subscribe();
        let seen = trouble
            .wait_for(|trouble| *trouble == Some(Trouble::DiskStalled))
            .await
            .map(|_| ());
        if seen.is_err() {
            // The sender lives as long as this; then nothing is known any more.
            std::future::pending::<()>().await;
        }
    }
}
