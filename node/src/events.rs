//! The last things that happened to this node, for operators who look after a fault. Bounded; lost with the process.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Events kept; older ones are forgotten.
pub const EVENTS_MAX: usize = 64;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// This node leads a shard now.
    TookOver,
    /// This node leads a shard no longer.
    HandedOver,
    /// The disk stalls.
    DiskStalled,
    /// The disk is full.
    DiskFull,
    /// The disk works again.
    DiskHealthy,
    /// The clock differs from the peers'.
    ClockApart,
    /// It agrees again.
    ClockAgreed,
    /// A replica stopped or did not open.
    ReplicaStopped,
    /// A replica serves again as it was.
    ReplicaReopened,
    /// A replica's state was built anew.
    ReplicaRepaired,
    /// A replica's digest is not that of another one at the same index.
    DigestsDiffer,
    /// A replica that a majority of its group differs from: it is to be built anew.
    ReplicaDiverged,
    /// The log was damaged: a new one was begun, and its replicas are lost.
    LogReplaced,
    /// An older copy of the data directory was put back: its replicas are lost.
    OldCopyFound,
    /// The cluster goes on from what this node had.
    IncarnationBegun,
    /// A replica is to live here from now on.
    ReplicaCame,
    /// A replica has moved to another node.
    ReplicaLeft,
}

impl EventKind {
    /// A word for status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TookOver => "took-over",
            Self::HandedOver => "handed-over",
            Self::DiskStalled => "disk-stalled",
            Self::DiskFull => "disk-full",
            Self::DiskHealthy => "disk-healthy",
            Self::ClockApart => "clock-apart",
            Self::ClockAgreed => "clock-agreed",
            Self::ReplicaStopped => "replica-stopped",
            Self::ReplicaReopened => "replica-reopened",
            Self::ReplicaRepaired => "replica-repaired",
            Self::DigestsDiffer => "digests-differ",
            Self::ReplicaDiverged => "replica-diverged",
            Self::LogReplaced => "log-replaced",
            Self::OldCopyFound => "old-copy-found",
            Self::IncarnationBegun => "incarnation-begun",
            Self::ReplicaCame => "replica-came",
            Self::ReplicaLeft => "replica-left",
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// By this node's clock, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What happened.
    pub kind: EventKind,
    /// What led to it: a word, or nothing where there is one way only.
    pub reason: &'static str,
    /// To which shard, if to one.
    pub shard: Option<u32>,
}

/// The ring.
#[derive(Default)]
pub struct Events {
    last: Mutex<VecDeque<Event>>,
}

impl Events {
    /// Remembers an event.
    pub fn note(&self, event: Event) {
        let mut last = self.last.lock();
        if last.len() >= EVENTS_MAX {
            last.pop_front();
        }
        last.push_back(event);
    }

    /// All that are remembered, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.last.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_events_are_kept() {
        let events = Events::default();
        for at_ms in 0..100 {
            events.note(Event {
                at_ms,
                kind: EventKind::TookOver,
                reason: "",
                shard: Some(1),
            });
        }
        let all = events.all();
        assert_eq!(all.len(), EVENTS_MAX);
        assert_eq!((all[0].at_ms, all[EVENTS_MAX - 1].at_ms), (36, 99));
    }
}
