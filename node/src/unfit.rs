//! Why this node asks not to be elected: a set of reasons, each with one owner who gives it and takes it back. The flag
//! that peers see is derived, so that nobody overwrites what another one said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// One reason. What keeps a node from leading *some* shards is not here: peers are told of those by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A group may be up long before the driver that makes it lead. Owner: `node.rs`.
    Starting,
    /// An operator or a planned stop asked for it. Owner: `drain.rs`.
    Draining,
    /// The disk hangs or is full. Owner: `disk_guard.rs`.
    Disk,
}

/// All reasons that hold now.
#[derive(Debug)]
pub struct Unfit {
    reasons: Mutex<Vec<Reason>>,
    flag: Arc<AtomicBool>,
}

impl Default for Unfit {
    /// Of a node that starts.
    fn default() -> Self {
        Self {
            reasons: Mutex::new(vec![Reason::Starting]),
            flag: Arc::new(AtomicBool::new(true)),
        }
    }
}

impl Unfit {
    /// Gives a reason or takes it back; as often as one likes.
    pub fn set(&self, reason: Reason, holds: bool) {
        let mut reasons = self.reasons.lock();
        reasons.retain(|known| *known != reason);
        if holds {
            reasons.push(reason);
        }
        // Under the lock: of two who change it at once the later one has the last word here, too.
        self.flag.store(!reasons.is_empty(), Ordering::Release);
    }

    /// Whether this reason holds.
    #[must_use]
    pub fn has(&self, reason: Reason) -> bool {
        self.reasons.lock().contains(&reason)
    }

    /// Whether any holds.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// The same, for whoever tells the peers.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_starts_is_unfit_until_it_runs() {
        let unfit = Unfit::default();
        assert!(unfit.is_any());
        unfit.set(Reason::Disk, false);
        assert!(unfit.is_any(), "a sound disk is no reason to lead");
        unfit.set(Reason::Starting, false);
        assert!(!unfit.is_any());
    }

    #[test]
    fn nobody_takes_back_what_another_one_said() {
        let unfit = Unfit::default();
        let flag = unfit.flag();
        unfit.set(Reason::Draining, true);
        unfit.set(Reason::Starting, false);
        unfit.set(Reason::Disk, true);
        unfit.set(Reason::Disk, true);
        unfit.set(Reason::Draining, false);
        assert!(flag.load(Ordering::Acquire), "the disk is as bad as before");
        assert!(!unfit.has(Reason::Draining));
        unfit.set(Reason::Disk, false);
        assert!(!flag.load(Ordering::Acquire), "however often it was said");
    }
}
