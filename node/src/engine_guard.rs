//! Watches the calls of the checkpoint thread into engines. One that never comes back is how sled 1.0 alpha was seen to fail
//! (`docs/adr/0003-which-sled.md`): no checkpoint would be made any more, and the changes in memory would grow until nothing
//! can be written. A start from the last checkpoint and the log heals it.

use std::sync::Arc;
use std::time::Duration;

use spine_storage::wal::Wal;
use tokio::time::timeout;

use crate::beat::beat;
use crate::node::Inner;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A call that takes longer is told: with a million records one takes a second or two.
const SLOW_AFTER: Duration = Duration::from_secs(30);
/// A call that takes longer does not come back.
const HUNG_AFTER: Duration = Duration::from_secs(300);
/// A log that does not answer within this says that it is the disk that hangs, which no start heals (`disk_guard.rs`).
const LOG_WAITS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Slow,
    Hung,
}

/// What a call means that has run for `call`, during `beside` of which the log was seen to work.
fn judge(call: Duration, beside: Duration) -> Verdict {
    if beside >= HUNG_AFTER {
        Verdict::Hung
    } else if call >= SLOW_AFTER {
        Verdict::Slow
    } else {
        Verdict::Well
    }
}

/// Runs until the node stops.
pub async fn run(node: Arc<Inner>) {
    let (mut before, mut beside) = (Verdict::Well, Duration::ZERO);
    loop {
        beat(node.started, LOOK_EVERY).await;
        let Some(running) = node.running() else {
            continue;
        };
        let call = running.checkpoints.watch().running();
        let took = call.map_or(Duration::ZERO, |(_, took)| took);
        let seconds = took.as_secs();
        node.metrics.storage.engine_call_seconds.set(seconds);
        if took < LOOK_EVERY {
            beside = Duration::ZERO;
        } else if took < SLOW_AFTER || log_works(&running.wal).await {
            // Look by look: a process that was frozen has not seen anything meanwhile.
            beside += LOOK_EVERY;
        }
        let now = judge(took, beside);
        match now {
            Verdict::Slow if before == Verdict::Well => {
                tracing::warn!(
                    ?call,
                    seconds,
                    "slow engine: a call of the checkpoint thread goes on"
                );
            }
            Verdict::Hung if before != Verdict::Hung => {
                let why = "engine: a call of the checkpoint thread does not come back; start the node again";
                node.fatal.send_replace(Some(why.to_string()));
            }
            _ => {}
        }
        before = now;
    }
}

/// An idle log proves nothing, so it is made to answer.
async fn log_works(wal: &Wal) -> bool {
    matches!(timeout(LOG_WAITS, wal.probe()).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_does_not_come_back_ends_the_node_unless_the_disk_hangs() {
        let second = Duration::from_secs(1);
        assert_eq!(judge(Duration::ZERO, Duration::ZERO), Verdict::Well);
        assert_eq!(judge(29 * second, 29 * second), Verdict::Well);
        assert_eq!(judge(30 * second, 30 * second), Verdict::Slow);
        assert_eq!(judge(300 * second, 300 * second), Verdict::Hung);
        assert_eq!(
            judge(300 * second, 299 * second),
            Verdict::Slow,
            "the disk hung for a while"
        );
        assert_eq!(
            judge(900 * second, Duration::ZERO),
            Verdict::Slow,
            "the process was frozen"
        );
    }
}
