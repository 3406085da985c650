//! Notes every change of leadership of this node's groups, and what led to it: for events and metrics only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spine_consensus::elections::Action;
use spine_consensus::group::GroupStatus;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::events::{Event, EventKind, Events};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Election, LeaderChange};

/// What this node did for a group explains what happens to it within this time.
const EXPLAINS_FOR: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Seen {
    leading: bool,
    /// The last action of this node for the group, and when.
    did: Option<(Action, Instant)>,
}

/// See the module.
pub struct LeaderLog {
    events: Arc<Events>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    groups: BTreeMap<u32, Seen>,
}

impl LeaderLog {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(events: Arc<Events>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            events,
            metrics,
            clock,
            groups: BTreeMap::new(),
        }
    }

    /// This node does something about who leads a group.
    pub fn acts(&mut self, shard: u32, action: Action) {
        let reason = match action {
            Action::TakeOver => "dead_leader",
            Action::Elect => "no_leader",
            Action::TransferTo(_) => "preferred_leader",
        };
        let label = Election { reason };
        self.metrics.shard.elections.get_or_create(&label).inc();
        self.groups.entry(shard).or_default().did = Some((action, Instant::now()));
    }

    /// A group as it looks now; `fit` says whether this node may lead.
    pub fn sees(&mut self, shard: u32, status: &GroupStatus, fit: bool) {
        let seen = self.groups.entry(shard).or_default();
        if seen.leading == status.leading {
            return;
        }
        seen.leading = status.leading;
        let did = seen
            .did
            .filter(|(_, at)| at.elapsed() < EXPLAINS_FOR)
            .map(|(action, _)| action);
        let (kind, reason) = if status.leading {
            (EventKind::TookOver, won(did))
        } else {
            (EventKind::HandedOver, lost(did, fit))
        };
        let label = LeaderChange {
            change: kind.as_str(),
            reason,
        };
        self.metrics.shard.leader_changes.get_or_create(&label).inc();
        self.events.note(Event {
            at_ms: self.clock.now_ms(),
            kind,
            reason,
            shard: Some(shard),
        });
    }
}

fn won(did: Option<Action>) -> &'static str {
    match did {
        Some(Action::TakeOver) => "dead_leader",
        Some(Action::Elect) => "no_leader",
        // It did nothing itself: a leader handed over.
        Some(Action::TransferTo(_)) | None => "given",
    }
}

fn lost(did: Option<Action>, fit: bool) -> &'static str {
    match did {
        _ if !fit => "unfit",
        Some(Action::TransferTo(_)) => "preferred_leader",
        Some(Action::TakeOver | Action::Elect) | None => "replaced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Midnight;

    impl Clock for Midnight {
        fn now_ms(&self) -> i64 {
            7
        }
    }

    fn status(leading: bool) -> GroupStatus {
        GroupStatus {
            term: 1,
            leader: None,
            leading,
            stopped: None,
            last_log_index: 1,
            committed_index: 1,
            committed_term: 1,
            purged_index: 0,
        }
    }

    #[test]
    fn every_change_is_noted_once_with_what_led_to_it() {
        let events = Arc::new(Events::default());
        let metrics = Arc::new(Metrics::new());
        let mut log = LeaderLog::new(Arc::clone(&events), Arc::clone(&metrics), Arc::new(Midnight));
        log.sees(1, &status(false), true);
        log.acts(1, Action::TakeOver);
        log.sees(1, &status(true), true);
        log.sees(1, &status(true), true);
        log.sees(1, &status(false), true);
        log.sees(2, &status(true), true);
        log.sees(2, &status(false), false);
        let seen: Vec<(&str, &str, Option<u32>)> = events
            .all()
            .iter()
            .map(|event| (event.kind.as_str(), event.reason, event.shard))
            .collect();
        assert_eq!(
            seen,
            [
                ("took-over", "dead_leader", Some(1)),
                ("handed-over", "replaced", Some(1)),
                ("took-over", "given", Some(2)),
                ("handed-over", "unfit", Some(2)),
            ]
        );
        let text = metrics.encode();
        assert!(
            text.contains(r#"spine_shard_elections_total{reason="dead_leader"} 1"#),
            "{text}"
        );
    }
}
