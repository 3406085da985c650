//! The watchdog's view of engine calls: what runs now, and since when.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::EngineError;
use super::brisk::Brisk;

/// A call into an engine made by the checkpoint worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineCall {
    /// Sorted changes are written.
    Write,
    /// What was written is made durable.
    Sync,
    /// The engine is closed and opened, to give memory back.
    Reopen,
}

const CALLS: [EngineCall; 3] = [EngineCall::Write, EngineCall::Sync, EngineCall::Reopen];

/// Publishes the running engine call, so that the node can alarm when one hangs.
#[derive(Clone)]
pub struct EngineWatch {
    inner: Arc<Inner>,
}

struct Inner {
    /// tokio's clock, which a simulation controls and which works on a plain thread too.
    base: Instant,
    /// 0 = idle, else the position in [`CALLS`] plus one.
    call: AtomicUsize,
    started_ms: AtomicU64,
    /// For work that callers wait for; without it, whoever calls does it.
    brisk: Option<Brisk>,
}

impl Default for EngineWatch {
    fn default() -> Self {
        Self::new(None)
    }
}

impl EngineWatch {
    fn new(brisk: Option<Brisk>) -> Self {
        let inner = Inner {
            base: Instant::now(),
            call: AtomicUsize::new(0),
            started_ms: AtomicU64::new(0),
            brisk,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// With a thread of the caller's priority, for [`Self::run_briskly`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn with_thread() -> io::Result<Self> {
        Ok(Self::new(Some(Brisk::start()?)))
    }

    /// The running call and for how long it has been running.
    #[must_use]
    pub fn running(&self) -> Option<(EngineCall, Duration)> {
        let call = self.inner.call.load(Ordering::Acquire);
        let started = Duration::from_millis(self.inner.started_ms.load(Ordering::Acquire));
        let call = CALLS.get(call.checked_sub(1)?)?;
        Some((*call, self.inner.base.elapsed().saturating_sub(started)))
    }

    /// As [`Self::run`], for a call whose end others wait for: on the thread of [`Self::with_thread`].
    pub(crate) fn run_briskly(
        &self,
        call: EngineCall,
        work: impl FnOnce() -> Result<(), EngineError> + Send + 'static,
    ) -> Result<(), EngineError> {
        self.run(call, || match &self.inner.brisk {
            Some(brisk) => brisk.run(work)?,
            None => work(),
        })
    }

    /// Runs `work` as the published call. One call at a time: there is one checkpoint worker.
    pub(crate) fn run<T>(&self, call: EngineCall, work: impl FnOnce() -> T) -> T {
        let now = u64::try_from(self.inner.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.inner.started_ms.store(now, Ordering::Release);
        let number = CALLS
            .iter()
            .position(|known| *known == call)
            .map_or(0, |at| at + 1);
        self.inner.call.store(number, Ordering::Release);
        let result = work();
        self.inner.call.store(0, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_running_call_and_its_age() {
        let watch = EngineWatch::default();
        assert!(watch.running().is_none());
        watch.run(EngineCall::Sync, || {
            std::thread::sleep(Duration::from_millis(20));
            let (call, age) = watch.running().expect("a call runs");
            assert_eq!(call, EngineCall::Sync);
            assert!(age >= Duration::from_millis(15), "{age:?}");
        });
        assert!(watch.running().is_none());
    }
}
