//! Snapshots that hold a checkpoint: while one does, the engine does not change.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Names one pin of one replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PinId(u64);

#[derive(Default)]
pub(crate) struct Pins {
    next: u64,
    deadlines: BTreeMap<PinId, Instant>,
}

impl Pins {
    pub(crate) fn add(&mut self, deadline: Instant) -> PinId {
        let id = PinId(self.next);
        self.next += 1;
        self.deadlines.insert(id, deadline);
        id
    }

    pub(crate) fn remove(&mut self, id: PinId) {
        self.deadlines.remove(&id);
    }

    pub(crate) fn holds(&self, id: PinId) -> bool {
        self.deadlines.contains_key(&id)
    }

    /// Drops what has expired, or everything if `all`; true if nothing is left.
    pub(crate) fn release(&mut self, now: Instant, all: bool) -> bool {
        self.deadlines.retain(|_, deadline| !all && *deadline > now);
        self.deadlines.is_empty()
    }
}
