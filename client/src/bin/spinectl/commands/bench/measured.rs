//! Latencies and errors of one measurement.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::work::Kind;

/// Latencies above are counted as this, microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Decimal digits kept of a latency.
const DIGITS: u8 = 3;

/// What some callers saw.
pub(super) struct Measured {
    pub(super) kinds: BTreeMap<Kind, Histogram<u64>>,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Measured {
    pub(super) fn new() -> Self {
        Self {
            kinds: BTreeMap::new(),
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, kind: Kind, took: Duration, outcome: Result<(), String>) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX).max(1);
        match outcome {
            Ok(()) => self.of(kind).saturating_record(took_us),
            Err(reason) => *self.errors.entry(reason).or_default() += 1,
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Histogram<u64> {
        self.kinds.entry(kind).or_insert_with(histogram)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, histogram) in &other.kinds {
            // Same bounds on both sides, so neither can refuse.
            let _ = self.of(*kind).add(histogram);
        }
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.kinds.values().map(Histogram::len).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether anything was written.
    pub(super) fn wrote(&self) -> bool {
        self.kinds.keys().any(|kind| kind.writes())
    }

    /// Over operations of every kind.
    #[cfg(any(test, feature = "bench-etcd"))]
    pub(super) fn quantile_us(&self, quantile: f64) -> u64 {
        let mut all = histogram();
        for histogram in self.kinds.values() {
            let _ = all.add(histogram);
        }
        all.value_at_quantile(quantile)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are constants in order")
}
