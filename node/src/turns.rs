//! When the driver takes its next turn: soon while something happens, seldom while nothing does.

use std::time::Duration;

use tokio::time::Instant;

use crate::beat;
use crate::calm::CALM_AFTER;

/// Pause between two looks at all groups; a change of a peer's liveness is looked at sooner.
pub const DRIVER_INTERVAL: Duration = Duration::from_millis(20);
/// The same while nothing happens: fewer wakes of a processor that could rest.
const QUIET_INTERVAL: Duration = Duration::from_millis(100);

/// The turns of one driver.
#[derive(Debug)]
pub struct Turns {
    /// When the node started.
    started: Instant,
    /// Turns are short until then.
    busy_until: Instant,
    /// Whether this node should not lead, as it was noticed last.
    unfit: bool,
}

impl Turns {
    /// Of a node that started then; short at first.
    #[must_use]
    pub fn new(started: Instant, now: Instant) -> Self {
        Self {
            started,
            busy_until: now + CALM_AFTER,
            unfit: false,
        }
    }

    /// Something happens: turns are short for a while.
    pub fn stir(&mut self, now: Instant) {
        self.busy_until = now + CALM_AFTER;
    }

    /// Whether this node should not lead now. A change is something that happens to every group of it.
    pub fn notice(&mut self, now: Instant, unfit: bool) {
        if std::mem::replace(&mut self.unfit, unfit) != unfit {
            self.stir(now);
        }
    }

    /// Something happened a moment ago: every group is looked at in every turn.
    #[must_use]
    pub fn are_busy(&self, now: Instant) -> bool {
        now < self.busy_until
    }

    /// While nothing happens it comes together with whatever else looks at things now and then.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        if self.are_busy(now) {
            now + DRIVER_INTERVAL
        } else {
            beat::next(self.started, now, QUIET_INTERVAL)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of a node to which nothing has happened for long, and a moment in it.
    fn quiet() -> (Turns, Instant) {
        let started = Instant::now();
        let now = started + CALM_AFTER + Duration::from_millis(1_007);
        let turns = Turns::new(started, started);
        assert!(!turns.are_busy(now));
        (turns, now)
    }

    #[test]
    fn turns_are_short_while_something_happens() {
        let (mut turns, now) = quiet();
        assert_eq!(turns.next(now) - now, Duration::from_millis(93), "on the beat");
        turns.stir(now);
        assert_eq!(turns.next(now) - now, DRIVER_INTERVAL);
        assert!(!turns.are_busy(now + CALM_AFTER));
    }

    #[test]
    fn a_node_that_becomes_unfit_or_fit_looks_at_all_groups_at_once() {
        let (mut turns, now) = quiet();
        for unfit in [true, false] {
            turns.notice(now, unfit);
            assert!(turns.are_busy(now));
            turns.notice(now + CALM_AFTER, unfit);
            assert!(!turns.are_busy(now + CALM_AFTER), "the same is no news");
        }
    }
}
