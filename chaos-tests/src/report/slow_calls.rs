//! The slowest calls of the client library in this process, with what became of their tries: of a gap that a row
//! measured, the length alone tells nobody why.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use spine_client::options::SLOW_CALL_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Calls kept: the slowest.
const KEPT: usize = 8;

/// A call of the client library.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SlowCall {
    pub ms: u64,
    pub tries: String,
}

impl fmt::Display for SlowCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms: {}", self.ms, self.tries)
    }
}

/// Cheap to clone; all copies see the same calls.
#[derive(Clone, Debug, Default)]
pub struct SlowCalls(Arc<Mutex<Vec<SlowCall>>>);

impl SlowCalls {
    /// Listens to every client of this process from now on. Where somebody listens already, nothing is ever kept.
    #[must_use]
    pub fn listen() -> Self {
        let calls = Self::default();
        let only = Targets::new().with_target(SLOW_CALL_TARGET, Level::DEBUG);
        let layer = Ear(calls.clone()).with_filter(only);
        // A test may have a subscriber of its own.
        let _ = tracing_subscriber::registry().with(layer).try_init();
        calls
    }

    /// The slowest since the last question, the slowest first.
    #[must_use]
    pub fn take(&self) -> Vec<SlowCall> {
        std::mem::take(&mut *self.0.lock())
    }

    fn keep(&self, call: SlowCall) {
        let mut kept = self.0.lock();
        kept.push(call);
        kept.sort_unstable_by(|one, other| other.cmp(one));
        kept.truncate(KEPT);
    }
}

struct Ear(SlowCalls);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut call = SlowCall::default();
        event.record(&mut call);
        self.0.keep(call);
    }
}

impl Visit for SlowCall {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "ms" {
            self.ms = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "tries" {
            self.tries = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_calls_are_kept_and_nothing_else() {
        let calls = SlowCalls::default();
        let only = Targets::new().with_target(SLOW_CALL_TARGET, Level::DEBUG);
        let subscriber = tracing_subscriber::registry().with(Ear(calls.clone()).with_filter(only));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("of something else");
            for ms in 100_u64..120 {
                tracing::debug!(target: SLOW_CALL_TARGET, ms, tries = %format!("try {ms}"), "slow call");
            }
        });
        let kept: Vec<String> = calls.take().iter().map(ToString::to_string).collect();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0], "119 ms: try 119");
        assert!(calls.take().is_empty(), "each row has its own");
    }
}
