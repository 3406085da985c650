//! Callers over a warm-up and a window that counts.
//!
//! Closed loop: every caller has one call under way, and its time begins when it is made. Open loop: calls are due at a
//! fixed rate, whoever is free makes the next one, and its time begins when it was due; so a store that stalls is
//! charged with the calls that waited, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::measured::Measured;
use super::work::{Caller, Draw};
use crate::exit::Failure;
use crate::output::progress;

/// How long and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) warm_up: Duration,
    pub(super) lasts: Duration,
    /// Operations per second of an open loop; `None`: a closed one.
    pub(super) rate: Option<f64>,
}

struct Shared {
    began: Instant,
    from: Instant,
    until: Instant,
    rate: Option<f64>,
    next: AtomicU64,
}

impl Shared {
    /// When the next call begins to count.
    fn due(&self) -> Instant {
        let Some(rate) = self.rate else {
            return Instant::now();
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.began + Duration::from_secs_f64(number as f64 / rate)
    }
}

/// Runs all callers. `look` is asked at the begin and at the end of the window.
pub(super) async fn measure<C: Caller, T>(
    callers: Vec<(C, Draw)>,
    pace: Pace,
    look: impl AsyncFn() -> T,
) -> Result<(Measured, f64, [T; 2]), Failure> {
    let began = Instant::now();
    let from = began + pace.warm_up;
    let shared = Arc::new(Shared {
        began,
        from,
        until: from + pace.lasts,
        rate: pace.rate,
        next: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for (caller, draw) in callers {
        tasks.spawn(one(caller, draw, Arc::clone(&shared)));
    }
    sleep_until(from).await;
    let before = look().await;
    let bar = progress(pace.lasts.as_secs(), "seconds");
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    while Instant::now() < shared.until {
        tokio::select! {
            _ = tick.tick() => bar.set_position(from.elapsed().as_secs()),
            () = sleep_until(shared.until) => {}
        }
    }
    bar.finish_and_clear();
    let after = look().await;
    let mut all = Measured::new();
    while let Some(ended) = tasks.join_next().await {
        all.add(&ended.map_err(|error| Failure::generic(error.to_string()))?);
    }
    Ok((all, pace.lasts.as_secs_f64(), [before, after]))
}

/// What ended inside the window counts.
async fn one<C: Caller>(mut caller: C, mut draw: Draw, shared: Arc<Shared>) -> Measured {
    let mut measured = Measured::new();
    loop {
        let due = shared.due();
        if due >= shared.until {
            return measured;
        }
        sleep_until_precisely(due).await;
        let work = draw.next();
        let kind = work.kind;
        let outcome = caller.act(work).await;
        let now = Instant::now();
        if now >= shared.from && now < shared.until {
            measured.record(kind, now - due, outcome);
        }
    }
}

async fn sleep_until_precisely(due: Instant) {
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Mix;
    use crate::commands::bench::work::Work;

    /// Stalls once, for long.
    struct Stalls {
        calls: u32,
    }

    impl Caller for Stalls {
        async fn act(&mut self, _: Work) -> Result<(), String> {
            self.calls += 1;
            let time = if self.calls == 50 { 500 } else { 1 };
            tokio::time::sleep(Duration::from_millis(time)).await;
            Ok(())
        }
    }

    async fn p50_us(rate: Option<f64>) -> u64 {
        let pace = Pace {
            warm_up: Duration::ZERO,
            lasts: Duration::from_secs(1),
            rate,
        };
        let callers = vec![(Stalls { calls: 0 }, Draw::new(Mix::Put, 1, 1, 1, 0))];
        let (measured, ..) = measure(callers, pace, async || {}).await.expect("it runs");
        measured.quantile_us(0.5)
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_charges_the_calls_that_waited_behind_a_stall() {
        assert!(p50_us(None).await < 5_000, "a closed loop omits them");
        assert!(p50_us(Some(200.0)).await > 50_000);
    }
}
