//! Loops that look at things now and then look in the same moments: an idle processor is woken once for all of them.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Waits for the next multiple of `interval` since the node's start.
pub async fn beat(started: Instant, interval: Duration) {
    sleep_until(next(started, Instant::now(), interval)).await;
}

/// The first multiple of `interval` since `started` that comes after `now`.
#[must_use]
pub fn next(started: Instant, now: Instant, interval: Duration) -> Instant {
    let passed = now.saturating_duration_since(started).as_nanos();
    let over = passed.checked_rem(interval.as_nanos()).unwrap_or(0);
    now + interval.saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn all_intervals_meet() {
        let started = Instant::now();
        let at = |now: u32, interval: u32| next(started, started + now * MS, interval * MS) - started;
        assert_eq!(at(0, 50), 50 * MS);
        assert_eq!(at(49, 50), 50 * MS);
        assert_eq!(at(50, 50), 100 * MS, "never the same moment twice");
        assert_eq!(at(151, 250), 250 * MS);
        assert_eq!(at(151, 100), 200 * MS);
        assert_eq!(at(7, 0), 7 * MS);
    }
}
