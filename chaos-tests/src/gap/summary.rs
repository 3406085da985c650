//! The gaps of many faults in a few numbers.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Calls for keys that other nodes lead share processors with whoever takes over and comes back: beside a
/// fault they may take so many times as long as any call without one ...
const ELSEWHERE_FACTOR: f64 = 3.0;
/// ... and so long in any case.
const ELSEWHERE_MS_MIN: f64 = 50.0;

/// The most that the 99th percentile of calls for keys led elsewhere may be, where that of all calls without
/// a fault is so much; milliseconds.
#[must_use]
pub fn elsewhere_limit_ms(quiet_p99_ms: f64) -> f64 {
    (ELSEWHERE_FACTOR * quiet_p99_ms).max(ELSEWHERE_MS_MIN)
}

/// Milliseconds; the 99th percentile of 100 faults is the second largest.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub faults: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Summary {
    #[must_use]
    pub fn of(gaps: &[Duration]) -> Self {
        let mut sorted = gaps.to_vec();
        sorted.sort_unstable();
        let at = |from_top: usize| {
            let index = sorted.len().checked_sub(1 + from_top);
            let gap = index.and_then(|index| sorted.get(index)).copied();
            (gap.unwrap_or_default().as_secs_f64() * 10_000.0).round() / 10.0
        };
        Self {
            faults: sorted.len(),
            p50_ms: at(sorted.len() / 2),
            p99_ms: at(sorted.len() / 100),
            max_ms: at(0),
        }
    }

    /// Of what was set aside because of the disk, where anything was.
    pub(super) fn write_aside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults == 0 {
            return Ok(());
        }
        let Self {
            faults,
            p50_ms,
            max_ms,
            ..
        } = self;
        write!(
            f,
            "; {faults} more beside a disk that itself was slow: p50 {p50_ms} max {max_ms} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p99_of_a_hundred_is_the_second_largest() {
        let gaps: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let summary = Summary::of(&gaps);
        assert_eq!(
            (summary.p50_ms, summary.p99_ms, summary.max_ms),
            (50.0, 99.0, 100.0)
        );
        let few = Summary::of(&gaps[..8]);
        assert_eq!((few.p99_ms, few.max_ms, few.faults), (8.0, 8.0, 8));
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn calls_led_elsewhere_are_held_against_those_without_a_fault() {
        assert_eq!([5.0, 42.0].map(elsewhere_limit_ms), [50.0, 126.0]);
    }
}
