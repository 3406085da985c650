//! Short work that callers wait for, asked for by a thread that has stepped back: on two busy processors it would take that
//! thread several times as long.

use std::sync::mpsc::{self, Sender, sync_channel};
use std::{io, thread};

use super::EngineError;

type Job = Box<dyn FnOnce() + Send>;

/// A thread of the usual priority that waits for work. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub(super) struct Brisk {
    jobs: Sender<Job>,
}

impl Brisk {
    /// Starts the thread, which gets the priority of the caller.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || queue.into_iter().for_each(|job| job());
        thread::Builder::new().name("reopen".into()).spawn(work)?;
        Ok(Self { jobs })
    }

    /// Does the work there and waits for it.
    ///
    /// # Errors
    /// [`EngineError::Damaged`]: the work panicked, now or earlier.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (done, result) = sync_channel(1);
        let job: Job = Box::new(move || {
            // Whoever asked waits for it.
            done.send(work()).ok();
        });
        let panicked = || EngineError::Damaged("the thread that reopens engines panicked".into());
        self.jobs.send(job).map_err(|_| panicked())?;
        result.recv().map_err(|_| panicked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gently::{NICE_INCREMENT, niceness, step_back};

    #[test]
    fn work_for_a_thread_that_has_stepped_back_does_not_step_back() {
        let (before, brisk) = (niceness(), Brisk::start().expect("a thread"));
        let gentle = move || {
            step_back();
            (niceness(), brisk.run(niceness).expect("no panic"))
        };
        let (own, lent) = thread::spawn(gentle).join().expect("no panic");
        assert_eq!((own, lent), ((before + NICE_INCREMENT).min(19), before));
    }

    #[test]
    fn work_that_panics_is_an_error_and_so_is_what_comes_after_it() {
        let brisk = Brisk::start().expect("a thread");
        assert_eq!(brisk.run(|| 7).expect("no panic"), 7);
        for _ in 0..2 {
            let failed = brisk.run(|| assert_eq!(1, 2, "on purpose"));
            assert!(matches!(failed, Err(EngineError::Damaged(_))), "{failed:?}");
        }
    }
}
