//! Calls into an engine that never come back and use a processor meanwhile. sled goes round for ever where a leaf is not the
//! one that its index speaks of, as after a write that went to the wrong place: it takes that for a split under way.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls of one thread.
#[derive(Default)]
pub(crate) struct Calls {
    begun: AtomicU64,
    ended: AtomicU64,
}

thread_local! {
    static CALLS: RefCell<Option<Arc<Calls>>> = const { RefCell::new(None) };
}

impl Calls {
    /// From now on this thread's calls are noted here.
    pub(crate) fn of_this_thread(self: &Arc<Self>) {
        CALLS.with_borrow_mut(|calls| *calls = Some(Arc::clone(self)));
    }

    /// The number of the call under way, if one is.
    pub(crate) fn under_way(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        (begun > ended).then_some(begun)
    }
}

/// Notes a call where somebody watches this thread.
pub(crate) fn noted<T>(work: impl FnOnce() -> T) -> T {
    let calls = CALLS.with_borrow(Clone::clone);
    let Some(calls) = calls else { return work() };
    calls.begun.fetch_add(1, Ordering::AcqRel);
    let done = work();
    calls.ended.fetch_add(1, Ordering::AcqRel);
    done
}
