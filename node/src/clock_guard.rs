//! Tells operators when this node's clock leaves its peers' and when it comes back.

use std::sync::Arc;
use std::time::Duration;

use crate::beat::beat;
use crate::clock_agreement::{ClockVerdict, LeaderTime};
use crate::events::EventKind;
use crate::node::Inner;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at the clock until the node stops: metrics each time, log and event where the verdict changes. A verdict that
/// is not known is no news: it begins every start, and goes with peers that are missed for other reasons.
pub async fn run(node: Arc<Inner>, time: LeaderTime) {
    let mut apart = false;
    loop {
        let verdict = time.verdict();
        let metrics = &node.metrics.node;
        metrics.clock_agreed.set(u64::from(verdict.is_agreed()));
        metrics.clock_offset_ms.set(verdict.offset_ms());
        match verdict {
            ClockVerdict::Apart { offset_ms } if !apart => {
                apart = true;
                tracing::warn!(
                    offset_ms,
                    "clock differs from the peers': what time does by itself stops here"
                );
                node.note(EventKind::ClockApart, None);
            }
            ClockVerdict::Agreed { .. } if apart => {
                apart = false;
                tracing::info!("clock agrees with the peers' again");
                node.note(EventKind::ClockAgreed, None);
            }
            _ => {}
        }
        beat(node.started, LOOK_EVERY).await;
    }
}
