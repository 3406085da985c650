//! How far a leader moves a shard's log time. Pure.
//!
//! Request ids are remembered for a window of log time. Where log time stood still for an hour and then jumped to the
//! clock, an id of the last second would count as an hour old, and its repetition would take effect twice. So from
//! one proposal to the next log time moves by little more than the time that passed; what it lags behind the clock is
//! made up bit by bit. Lagging harms nobody: ids are remembered a little longer.

use tokio::time::Instant;

/// Log time moves at most this much faster than time: 5 to 4. A window of 15 minutes lasts at least 12.
const FASTER: (i64, i64) = (5, 4);

/// This node's clock at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Never jumps.
    pub at: Instant,
    /// Milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// How much of it a test has added, milliseconds.
    pub advanced_ms: i64,
    /// Whether the clock is believed.
    pub agreed: bool,
}

/// The log time of one shard, as its leader here stamped it last.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    /// Another leader may have moved log time, or kept it, between two terms of ours.
    term: u64,
    /// Microseconds since 1970: proposals come more often than every millisecond.
    log_us: i64,
    at: Instant,
    /// Of what a test had added, how much is in `log_us`, or was there before.
    advanced_ms: i64,
}

impl Pace {
    /// What to stamp on an entry now, milliseconds since 1970 UTC. `log_time_ms` gives the shard's log time, and is
    /// asked once in a term.
    pub fn stamp(&mut self, now: Moment, term: u64, log_time_ms: impl FnOnce() -> i64) -> i64 {
        let last = match self.last.take() {
            Some(last) if last.term == term => last,
            _ => Last::begin(now, term, log_time_ms()),
        };
        // While the clock is not believed nothing moves, but for what a test adds: that is caught up with later.
        let next = if now.agreed {
            let wall_us = now.wall_ms.saturating_mul(1_000);
            Last {
                log_us: last.log_us.max(wall_us.min(last.reach_us(now))),
                at: now.at,
                advanced_ms: now.advanced_ms,
                ..last
            }
        } else {
            Last { at: now.at, ..last }
        };
        let stamp_ms = next.log_us / 1_000;
        self.last = Some(next);
        stamp_ms
    }
}

impl Last {
    fn begin(now: Moment, term: u64, log_time_ms: i64) -> Self {
        // A new shard has no log time to keep. It must begin with some clock at once: ids that are remembered at time
        // 0 would be forgotten at the first true stamp.
        let log_ms = if log_time_ms == 0 {
            now.wall_ms
        } else {
            log_time_ms
        };
        Self {
            term,
            log_us: log_ms.saturating_mul(1_000),
            at: now.at,
            advanced_ms: now.advanced_ms,
        }
    }

    fn reach_us(&self, now: Moment) -> i64 {
        let passed = now.at.saturating_duration_since(self.at).as_micros();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let added = now.advanced_ms.saturating_sub(self.advanced_ms);
        self.log_us
            .saturating_add(passed.saturating_mul(FASTER.0) / FASTER.1)
            .saturating_add(added.saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BEGIN: i64 = 1_767_225_600_000;
    const HOUR: i64 = 3_600_000;

    struct Scene {
        pace: Pace,
        start: Instant,
        term: u64,
        /// As replicas have it.
        log_ms: i64,
    }

    impl Scene {
        fn new(log_ms: i64) -> Self {
            Self {
                pace: Pace::default(),
                start: Instant::now(),
                term: 1,
                log_ms,
            }
        }
        /// An entry at so many milliseconds, by a clock that is wrong by `off`.
        fn stamp(&mut self, ms: i64, off: i64, agreed: bool) -> i64 {
            let now = Moment {
                at: self.start + Duration::from_millis(u64::try_from(ms).unwrap()),
                wall_ms: BEGIN.saturating_add(ms).saturating_add(off),
                advanced_ms: 0,
                agreed,
            };
            let log_ms = self.log_ms;
            self.log_ms = log_ms.max(self.pace.stamp(now, self.term, || log_ms));
            self.log_ms - BEGIN
        }
    }

    #[test]
    fn a_believed_clock_is_the_log_time() {
        let mut scene = Scene::new(BEGIN);
        assert_eq!(scene.stamp(0, 0, true), 0);
        assert_eq!(scene.stamp(1, 0, true), 1);
        assert_eq!(scene.stamp(HOUR, 0, true), HOUR);
    }

    #[test]
    fn entries_within_a_millisecond_move_it_too() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut stamp = 0;
        for us in 0..100_000_u64 {
            let now = Moment {
                at: start + Duration::from_micros(us),
                wall_ms: BEGIN + i64::try_from(us / 1_000).unwrap(),
                advanced_ms: 0,
                agreed: true,
            };
            stamp = pace.stamp(now, 1, || BEGIN) - BEGIN;
        }
        assert_eq!(stamp, 99);
    }

    #[test]
    fn a_clock_that_is_not_believed_keeps_log_time_still() {
        let mut scene = Scene::new(BEGIN);
        scene.stamp(0, 0, true);
        assert_eq!(scene.stamp(10, 0, true), 10);
        for off in [i64::MAX, 2 * HOUR, 0, -2 * HOUR, i64::MIN] {
            assert_eq!(scene.stamp(20, off, false), 10, "{off}");
        }
    }

    #[test]
    fn after_standing_still_log_time_does_not_jump() {
        let mut scene = Scene::new(BEGIN);
        scene.stamp(0, 0, true);
        scene.stamp(10, 0, true);
        for second in 1..3_600 {
            scene.stamp(second * 1_000, HOUR, false);
        }
        assert_eq!(scene.stamp(HOUR, 0, true), 10 + 1_250);
        assert_eq!(scene.stamp(HOUR + 1_000, 0, true), 10 + 2_500);
        assert_eq!(scene.stamp(9 * HOUR, 0, true), 9 * HOUR, "made up in the end");
    }

    #[test]
    fn nor_under_the_next_leader() {
        let mut scene = Scene::new(BEGIN);
        scene.stamp(10, 0, true);
        scene.log_ms = BEGIN + 10;
        scene.term = 3;
        assert_eq!(scene.stamp(HOUR, 0, true), 10);
        assert_eq!(scene.stamp(HOUR + 4, 0, true), 15);
    }

    #[test]
    fn log_time_never_goes_back() {
        let mut scene = Scene::new(BEGIN + HOUR);
        assert_eq!(scene.stamp(1, 0, true), HOUR);
    }

    #[test]
    fn a_new_shard_begins_with_the_clock_it_has() {
        for agreed in [true, false] {
            assert_eq!(Scene::new(0).stamp(7, 0, agreed), 7);
        }
    }

    #[test]
    fn what_a_test_adds_counts_as_passed() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let mut now = Moment {
            at: start,
            wall_ms: BEGIN,
            advanced_ms: 0,
            agreed: true,
        };
        assert_eq!(pace.stamp(now, 1, || BEGIN), BEGIN);
        now.wall_ms += HOUR;
        now.advanced_ms += HOUR;
        // The other nodes are moved a moment later.
        now.agreed = false;
        assert_eq!(pace.stamp(now, 1, || BEGIN), BEGIN);
        now.agreed = true;
        assert_eq!(pace.stamp(now, 1, || BEGIN), BEGIN + HOUR);
    }
}
