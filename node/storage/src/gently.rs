//! Heavy work that gives way to everything else on the machine.

use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, scope};

use crate::Driver;

/// Steps down in the scheduler's priority.
pub(crate) const NICE_INCREMENT: i32 = 5;

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
        let during = gently(Driver::Threads, niceness).expect("a thread");
        assert_eq!(during, (before + NICE_INCREMENT).min(19));
        assert_eq!(niceness(), before);
    }
}
