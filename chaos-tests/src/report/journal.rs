//! What is noted of a run while it goes on, for the report if it fails.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use crate::checkers::Violation;
use crate::history::{Clock, Operation};

/// Faults kept; the oldest go first.
const FAULTS_MAX: usize = 4_096;

/// One fault, as the timeline shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultEvent {
    /// Nanoseconds of the run's clock.
    pub at_ns: u64,
    /// None = it had no end, or not yet.
    pub until_ns: Option<u64>,
    pub text: String,
}

/// Shared by everything that takes part in a run; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    clock: Clock,
    inner: Arc<Mutex<Noted>>,
}

/// What was noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    first: u64,
    pub(super) faults: Vec<FaultEvent>,
    pub(super) operations: Vec<Operation>,
    pub(super) violations: Vec<Violation>,
}

/// A fault that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ongoing(u64);

impl Default for Journal {
    fn default() -> Self {
        Self::on_real_time()
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            inner: Arc::default(),
        }
    }

    /// A journal on the machine's monotonic clock.
    #[must_use]
    pub fn on_real_time() -> Self {
        let began = Instant::now();
        Self::new(Arc::new(move || {
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }))
    }

    /// The run's clock, for a recorder whose times fit the faults.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Arc::clone(&self.clock)
    }

    /// Something that happened at once.
    pub fn note(&self, text: impl Into<String>) {
        let _ = self.begin(text);
    }

    /// Something that goes on until [`Self::end`].
    pub fn begin(&self, text: impl Into<String>) -> Ongoing {
        let event = FaultEvent {
            at_ns: (self.clock)(),
            until_ns: None,
            text: text.into(),
        };
        let mut inner = self.inner.lock();
        if inner.faults.len() >= FAULTS_MAX {
            inner.faults.remove(0);
            inner.first += 1;
        }
        inner.faults.push(event);
        Ongoing(inner.first + inner.faults.len() as u64 - 1)
    }

    /// It is over.
    pub fn end(&self, ongoing: Ongoing) {
        let now = (self.clock)();
        let mut inner = self.inner.lock();
        let at = ongoing
            .0
            .checked_sub(inner.first)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(event) = at.and_then(|at| inner.faults.get_mut(at)) {
            event.until_ns = Some(now);
        }
    }

    /// What clients were told.
    pub fn keep_history(&self, operations: &[Operation], violations: &[Violation]) {
        let mut inner = self.inner.lock();
        inner.operations = operations.to_vec();
        inner.violations = violations.to_vec();
    }

    /// Notes what a run planned or what a simulation did, with its own times.
    pub fn keep_faults(&self, faults: Vec<FaultEvent>) {
        self.inner.lock().faults = faults;
    }

    /// Forgets everything, for the next part of a long run.
    pub fn clear(&self) {
        *self.inner.lock() = Noted::default();
    }

    pub(super) fn noted(&self) -> Noted {
        self.inner.lock().clone()
    }
}
