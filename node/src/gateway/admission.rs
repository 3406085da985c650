//! How many calls a node takes on at a time.
//!
//! A call that waits longer for its turn than its caller has patience is work for nothing, and its caller asks again:
//! a node that takes everything on serves nobody. So the number of calls under way follows what they take. While most
//! answers come in time it grows as far as it is used; when most are late it falls below what is under way. Whoever is
//! refused is told to wait, and longer the more there are of them.

use std::time::Duration;

use parking_lot::Mutex;
use spine_services::SpineError;
use tokio::time::Instant;

use crate::dispatch::failure::{BUSY_PAUSE, busy};
use crate::telemetry::metrics::GatewayMetrics;

/// An answer after this is late. Half of what the client library gives one try.
const LATE: Duration = Duration::from_millis(500);
/// How long answers are counted before the limit is looked at again.
const WINDOW: Duration = Duration::from_millis(100);
/// Never fewer calls at a time than this, or than the configured limit where that is lower: in a shard without a leader
/// all calls are late, and those to others must go on.
const LIMIT_MIN: usize = 256;
/// Where a node begins.
const LIMIT_FIRST: usize = 1_024;
/// What a refused caller is told to wait.
const RETRY_AFTER_MIN: Duration = BUSY_PAUSE;
/// And at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// Lets calls in.
pub struct Admission {
    state: Mutex<State>,
    metrics: GatewayMetrics,
    bounds: Bounds,
}

#[derive(Clone, Copy)]
struct Bounds {
    min: usize,
    max: usize,
}

struct State {
    under_way: usize,
    limit: usize,
    retry_after: Duration,
    began: Instant,
    seen: Seen,
}

/// What a window saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    in_time: usize,
    late: usize,
    refused: usize,
    /// Most calls under way.
    peak: usize,
}

/// A call under way; its end is counted when this goes.
pub struct Admitted<'a> {
    admission: &'a Admission,
    began: Instant,
}

impl Admission {
    /// Never more than `max` calls at a time.
    #[must_use]
    pub fn new(max: usize, metrics: GatewayMetrics) -> Self {
        let bounds = Bounds {
            min: LIMIT_MIN.min(max),
            max,
        };
        let limit = LIMIT_FIRST.min(max);
        metrics.calls_limit.set(limit as u64);
        let state = State {
            under_way: 0,
            limit,
            retry_after: RETRY_AFTER_MIN,
            began: Instant::now(),
            seen: Seen::default(),
        };
        Self {
            state: Mutex::new(state),
            metrics,
            bounds,
        }
    }

    /// Takes a call on, or says at once that too many are under way.
    ///
    /// # Errors
    /// `BUSY`, with the time to wait.
    pub fn admit(&self) -> Result<Admitted<'_>, SpineError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        self.turn(&mut state, now);
        if state.under_way >= state.limit {
            state.seen.refused += 1;
            return Err(busy(state.retry_after));
        }
        state.under_way += 1;
        state.seen.peak = state.seen.peak.max(state.under_way);
        Ok(Admitted {
            admission: self,
            began: now,
        })
    }

    fn ended(&self, took: Duration) {
        let mut state = self.state.lock();
        state.under_way -= 1;
        if took > LATE {
            state.seen.late += 1;
        } else {
            state.seen.in_time += 1;
        }
    }

    /// Ends the window if it is time.
    fn turn(&self, state: &mut State, now: Instant) {
        if now - state.began < WINDOW {
            return;
        }
        let limit = state.seen.next_limit(state.limit, self.bounds);
        if limit != state.limit {
            state.limit = limit;
            self.metrics.calls_limit.set(limit as u64);
        }
        state.retry_after = state.seen.next_retry_after(state.retry_after);
        state.began = now;
        state.seen = Seen {
            peak: state.under_way,
            ..Seen::default()
        };
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.admission.ended(self.began.elapsed());
    }
}

impl Seen {
    /// Fast down, from what was really under way; up by what share was refused for nothing.
    fn next_limit(self, limit: usize, bounds: Bounds) -> usize {
        let next = if self.late > self.in_time {
            limit.min(self.peak) * 7 / 10
        } else if self.refused == 0 {
            limit
        } else if self.late * 10 > self.in_time {
            limit + limit / 20
        } else {
            limit + limit / 2
        };
        next.clamp(bounds.min, bounds.max)
    }

    /// So that about as many ask as are served.
    fn next_retry_after(self, now: Duration) -> Duration {
        let served = self.in_time + self.late;
        let next = if self.refused > served {
            now * 3 / 2
        } else if self.refused * 4 < served {
            now / 2
        } else {
            now
        };
        next.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::telemetry::Metrics;

    fn admission(max: usize) -> Admission {
        Admission::new(max, Metrics::new().gateway)
    }

    fn take_all(admission: &Admission) -> (Vec<Admitted<'_>>, SpineError) {
        let mut taken = Vec::new();
        loop {
            match admission.admit() {
                Ok(one) => taken.push(one),
                Err(error) => return (taken, error),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_the_limit_is_refused_until_a_call_ends() {
        let admission = admission(2);
        let (mut taken, error) = take_all(&admission);
        assert_eq!((taken.len(), error.reason.as_ref()), (2, "BUSY"));
        taken.pop();
        assert!(admission.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_grows_while_answers_come_in_time_and_never_above_what_is_configured() {
        let admission = admission(5_000);
        let mut most = 0;
        for _ in 0..20 {
            let (taken, _) = take_all(&admission);
            most = most.max(taken.len());
            advance(WINDOW).await;
        }
        assert_eq!(most, 5_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_falls_when_most_answers_are_late_and_refusals_ask_for_more_patience() {
        let admission = admission(5_000);
        let (mut fewest, mut longest) = (usize::MAX, 0);
        for _ in 0..20 {
            let (taken, error) = take_all(&admission);
            (fewest, longest) = (fewest.min(taken.len()), longest.max(error.retry_after_ms));
            // Each caller asks twice.
            for _ in 0..taken.len() {
                assert!(admission.admit().is_err());
            }
            advance(2 * LATE).await;
        }
        assert_eq!(fewest, LIMIT_MIN);
        assert_eq!(Duration::from_millis(longest.into()), RETRY_AFTER_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_of_few_calls_keep_nobody_out() {
        let admission = admission(5_000);
        for _ in 0..20 {
            let taken: Vec<_> = (0..64).map(|_| admission.admit().unwrap()).collect();
            advance(2 * LATE).await;
            drop(taken);
        }
        let (taken, error) = take_all(&admission);
        assert_eq!(taken.len(), LIMIT_MIN);
        assert_eq!(
            Duration::from_millis(error.retry_after_ms.into()),
            RETRY_AFTER_MIN
        );
    }
}
