//! What happened on nodes of late, for `node status` and `cluster status`.

use serde_json::{Value, json};
use spine_proto::admin::v1::NodeEvent;

use crate::output::table;

/// Events below a table; JSON has all of them.
const ROWS_MAX: usize = 20;

pub(super) fn to_json(event: &NodeEvent) -> Value {
    json!({
        "at_ms": event.at_ms,
        "node_id": event.node_id,
        "kind": event.kind,
        "shard": event.has_shard.then_some(event.shard),
        "reason": event.reason,
    })
}

/// A table of the last events, with an empty line before it; nothing where nothing happened.
pub(super) fn to_table(events: &[NodeEvent]) -> String {
    if events.is_empty() {
        return String::new();
    }
    let last = &events[events.len().saturating_sub(ROWS_MAX)..];
    let rows = last.iter().map(|event| {
        [
            time_of_day(event.at_ms),
            event.node_id.to_string(),
            event.kind.clone(),
            if event.has_shard {
                event.shard.to_string()
            } else {
                String::new()
            },
            event.reason.clone(),
        ]
    });
    format!(
        "\n\n{}",
        table(["TIME (UTC)", "NODE", "EVENT", "SHARD", "REASON"], rows)
    )
}

fn time_of_day(at_ms: i64) -> String {
    let ms = at_ms.rem_euclid(86_400_000);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: i64, shard: Option<u32>) -> NodeEvent {
        NodeEvent {
            at_ms,
            kind: "took-over".to_owned(),
            reason: "dead_leader".to_owned(),
            has_shard: shard.is_some(),
            shard: shard.unwrap_or(0),
            node_id: 2,
        }
    }

    #[test]
    fn a_table_shows_the_last_events_with_their_time() {
        assert_eq!(to_table(&[]), "");
        let events: Vec<NodeEvent> = (0..30)
            .map(|n| event(86_400_000 + 3_661_000 + n, Some(7)))
            .collect();
        let text = to_table(&events);
        assert_eq!(text.trim().lines().count(), 1 + ROWS_MAX);
        assert!(text.contains("01:01:01.029"), "{text}");
        assert!(!text.contains("01:01:01.009"), "{text}");
    }

    #[test]
    fn the_meta_group_is_told_from_the_whole_node() {
        assert_eq!(to_json(&event(1, Some(0)))["shard"], 0);
        assert_eq!(to_json(&event(1, None))["shard"], Value::Null);
    }
}
