//! Heavy work that gives way to everything else on the machine.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{Builder, scope};
use std::time::Duration;

use rustix::thread::gettid;

use crate::Driver;
use crate::engine::Calls;

/// Steps down in the scheduler's priority.
pub(crate) const NICE_INCREMENT: i32 = 5;
/// A read of an engine that has used a processor for so long does not come back: one takes microseconds.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How often a thread that is watched is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Gives the calling thread, and those that it will start, less of the processor than others get. For good: to take it
/// back needs rights that a node has not.
pub(crate) fn step_back() {
    // Without the right to it the thread runs at the usual priority.
    rustix::process::nice(NICE_INCREMENT).ok();
}

/// Does a node's work of coming back on a thread that steps back: whoever serves meanwhile goes first. Blocks until it
/// is done. Where time is simulated there are no threads.
///
/// # Errors
/// No thread could be started.
pub fn gently<T: Send>(driver: Driver, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if matches!(driver, Driver::Tasks { .. }) {
        return Ok(work());
    }
    let gentle = || {
        step_back();
        work()
    };
    scope(|threads| {
        let thread = Builder::new()
            .name("recovery".into())
            .spawn_scoped(threads, gentle)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// The same, watched: `is_stuck` is called once, when a single read of an engine has used a processor for
/// [`STUCK_AFTER`]. A disk that hangs and a process that is frozen use none.
///
/// # Errors
/// No thread could be started.
pub fn gently_watched<T: Send>(
    driver: Driver,
    work: impl FnOnce() -> T + Send,
    is_stuck: impl FnOnce(),
) -> io::Result<T> {
    if matches!(driver, Driver::Tasks { .. }) {
        return Ok(work());
    }
    watched(STUCK_AFTER, work, is_stuck)
}

fn watched<T: Send>(
    limit: Duration,
    work: impl FnOnce() -> T + Send,
    is_stuck: impl FnOnce(),
) -> io::Result<T> {
    let (calls, number) = (Arc::<Calls>::default(), AtomicI32::new(0));
    let (ends, ended) = mpsc::channel::<()>();
    let gentle = || {
        // Dropped at the end, however that comes.
        let _ends = ends;
        step_back();
        number.store(gettid().as_raw_nonzero().get(), Ordering::Release);
        calls.of_this_thread();
        work()
    };
    scope(|threads| {
        let thread = Builder::new()
            .name("recovery".into())
            .spawn_scoped(threads, gentle)?;
        let (mut is_stuck, mut seen) = (Some(is_stuck), None);
        while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let call = calls.under_way();
            let used = processor_time(number.load(Ordering::Acquire)).unwrap_or_default();
            seen = match (seen, call) {
                (Some((same, since)), Some(call)) if same == call => Some((call, since)),
                (_, Some(call)) => Some((call, used)),
                (_, None) => None,
            };
            if seen.is_some_and(|(_, since)| used.saturating_sub(since) >= limit)
                && let Some(is_stuck) = is_stuck.take()
            {
                is_stuck();
            }
        }
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// What a thread of this process has used; nothing where the kernel does not tell.
fn processor_time(thread: i32) -> Option<Duration> {
    let told = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let nanoseconds = told.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Priority of the calling thread, from the kernel: the 17th field behind its name.
#[cfg(test)]
pub(crate) fn niceness() -> i32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux tells");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let nice = fields.split_whitespace().nth(16).expect("a field");
    nice.parse().expect("a number")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;
    use crate::engine::noted;

    /// Whether this work is told.
    fn is_told(limit: Duration, work: impl FnOnce() + Send) -> bool {
        let told = AtomicBool::new(false);
        watched(limit, work, || told.store(true, Ordering::Release)).expect("a thread");
        told.into_inner()
    }

    #[test]
    fn a_read_that_uses_a_processor_for_too_long_is_told() {
        let busy = |time: Duration| {
            let began = Instant::now();
            move || while began.elapsed() < time {}
        };
        let waits = |time: Duration| move || std::thread::sleep(time);
        let (limit, long) = (2 * LOOK_EVERY, 12 * LOOK_EVERY);
        assert!(is_told(limit, || noted(busy(long))));
        assert!(!is_told(limit, || noted(waits(long))), "a disk that hangs");
        assert!(!is_told(limit, busy(long)), "no read");
        let many = || (0..24).for_each(|_| noted(busy(LOOK_EVERY / 2)));
        assert!(!is_told(limit, many), "reads that end");
        let result = watched(limit, || 7, || ());
        assert_eq!(result.ok(), Some(7));
    }

    #[test]
    fn only_the_work_steps_back() {
        let before = niceness();
        let during = gently(Driver::Threads, niceness).expect("a thread");
        assert_eq!(during, (before + NICE_INCREMENT).min(19));
        assert_eq!(niceness(), before);
    }
}
