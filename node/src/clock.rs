//! Wall time, for retention and for what people read. No read or commit depends on it.

use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since 1970 UTC.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that `cluster time --advance` can push forward, in development mode only.
pub struct AdvancedClock {
    inner: std::sync::Arc<dyn Clock>,
    advanced_ms: AtomicI64,
}

impl AdvancedClock {
    /// Starts level with `inner`.
    #[must_use]
    pub fn new(inner: std::sync::Arc<dyn Clock>) -> Self {
        Self {
            inner,
            advanced_ms: AtomicI64::new(0),
        }
    }

    /// Moves time forward and returns the new time.
    pub fn advance(&self, by_ms: i64) -> i64 {
        self.advanced_ms.fetch_add(by_ms.max(0), Ordering::Relaxed);
        self.now_ms()
    }

    /// By how much time was moved, milliseconds.
    #[must_use]
    pub fn advanced_ms(&self) -> i64 {
        self.advanced_ms.load(Ordering::Relaxed)
    }
}

impl Clock for AdvancedClock {
    fn now_ms(&self) -> i64 {
        self.inner.now_ms().saturating_add(self.advanced_ms())
    }
}
