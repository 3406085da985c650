//! Heavy work that gives way to everything else on the machine.

use std::cell::Cell;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{Builder, available_parallelism, scope, sleep};
use std::time::{Duration, Instant};

use crate::Driver;

/// Steps down in the scheduler's priority.
pub(crate) const NICE_INCREMENT: i32 = 5;

/// Gives the calling thread, and those that it will start, less of the processor than others get. For good: to take it
/// back needs rights that a node has not.
pub(crate) fn step_back() {
    // Without the right to it the thread runs at the usual priority.
    rustix::process::nice(NICE_INCREMENT).ok();
}

/// Work on a machine of this many processors goes on without a rest, on one of two it rests as long as it works.
const PROCESSORS_FULL: u32 = 16;
/// A shorter rest waits for the next one: the scheduler would not notice.
const REST_MIN: Duration = Duration::from_millis(1);
/// No piece of work is so long that a longer one would be right.
const REST_MAX: Duration = Duration::from_millis(50);

/// Lets heavy work rest. Low priority alone gives little way where processors are few: the scheduler spreads threads by
/// their number, so that one of them works beside all the others on the second processor.
pub struct Gentle {
    processors: u32,
    /// When the piece began that is under way.
    began: Cell<Instant>,
}

impl Gentle {
    fn new(processors: u32) -> Self {
        Self {
            processors,
            began: Cell::new(Instant::now()),
        }
    }

    /// For work that nothing waits beside, and where time is simulated.
    #[must_use]
    pub fn never() -> Self {
        Self::new(PROCESSORS_FULL)
    }

    fn of_this_machine() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self::new(u32::try_from(processors).unwrap_or(PROCESSORS_FULL))
    }

    /// Called between two pieces of work of a few milliseconds each; blocks for a moment.
    pub fn rest(&self) {
        let rest = rest_after(self.began.get().elapsed(), self.processors);
        if rest >= REST_MIN {
            sleep(rest);
            self.began.set(Instant::now());
        }
    }
}

fn rest_after(worked: Duration, processors: u32) -> Duration {
    let idle = PROCESSORS_FULL.saturating_sub(processors);
    (worked * idle / (7 * processors.max(1))).min(REST_MAX)
}

/// Does a node's work of coming back on a thread that steps back: whoever serves meanwhile goes first. Blocks until it
/// is done. Where time is simulated there are no threads.
///
/// # Errors
/// No thread could be started.
pub fn gently<T: Send>(driver: Driver, work: impl FnOnce(&Gentle) -> T + Send) -> io::Result<T> {
    if matches!(driver, Driver::Tasks { .. }) {
        return Ok(work(&Gentle::never()));
    }
    let gentle = || {
        step_back();
        work(&Gentle::of_this_machine())
    };
    scope(|threads| {
        let thread = Builder::new()
            .name("recovery".into())
            .spawn_scoped(threads, gentle)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the calling thread, from the kernel: the 17th field behind its name.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux tells");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let nice = fields.split_whitespace().nth(16).expect("a field");
        nice.parse().expect("a number")
    }

    #[test]
    fn only_the_work_steps_back() {
        let before = niceness();
        let during = gently(Driver::Threads, |_| niceness()).expect("a thread");
        assert_eq!(during, (before + NICE_INCREMENT).min(19));
        assert_eq!(niceness(), before);
    }

    #[test]
    fn a_small_machine_rests_more_and_none_for_long() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(ms(8), 1), ms(17) + Duration::from_nanos(142_857));
        assert_eq!(rest_after(ms(7), 2), ms(7));
        assert_eq!(rest_after(ms(7), 8), ms(1));
        assert_eq!(rest_after(ms(7), 16), ms(0));
        assert_eq!(rest_after(ms(7), 64), ms(0));
        assert_eq!(rest_after(ms(800), 2), REST_MAX);
    }
}
