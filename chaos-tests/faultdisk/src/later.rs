//! Operations that wait. The kernel waits for each answer, so there are at most as many as threads that use the disk.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::faults::Wait;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    waiting: Mutex<Vec<(Option<Instant>, Job)>>,
    changed: Condvar,
}

/// Runs jobs when they are due, on a thread of its own; cheap to clone.
#[derive(Clone)]
pub(crate) struct Later(Arc<Inner>);

impl Later {
    pub(crate) fn start() -> std::io::Result<Self> {
        let inner = Arc::new(Inner::default());
        let own = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("later".to_owned())
            .spawn(move || own.run())?;
        Ok(Self(inner))
    }

    pub(crate) fn run(&self, wait: Wait, job: impl FnOnce() + Send + 'static) {
        let due = match wait {
            Wait::Not => return job(),
            Wait::For(time) => Some(Instant::now() + time),
            Wait::UntilHealed => None,
        };
        self.0.waiting.lock().push((due, Box::new(job)));
        self.0.changed.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.waiting.lock().len()
    }

    /// Runs everything that waits now.
    pub(crate) fn release(&self) {
        let jobs = std::mem::take(&mut *self.0.waiting.lock());
        for (_, job) in jobs {
            job();
        }
    }
}

impl Inner {
    fn run(&self) {
        let mut waiting = self.waiting.lock();
        loop {
            let now = Instant::now();
            let due = waiting
                .iter()
                .position(|(due, _)| due.is_some_and(|due| due <= now));
            if let Some(at) = due {
                let (_, job) = waiting.remove(at);
                parking_lot::MutexGuard::unlocked(&mut waiting, job);
                continue;
            }
            match waiting.iter().filter_map(|(due, _)| *due).min() {
                Some(next) => {
                    let _ = self.changed.wait_until(&mut waiting, next);
                }
                None => self.changed.wait(&mut waiting),
            }
        }
    }
}
