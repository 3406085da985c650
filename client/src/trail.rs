//! What became of each try of a call, told to the log where the call took long. A call that is answered at once leaves
//! nothing here.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::address::Address;
use crate::options::{SLOW_CALL, SLOW_CALL_TARGET};
use crate::retry::Verdict;

/// Tries remembered; of a longer call the first ones.
const STEPS_MAX: usize = 16;

/// The tries of one call.
pub(crate) struct Trail {
    began: Instant,
    steps: Vec<Step>,
    /// Tries beyond those remembered.
    more: usize,
}

struct Step {
    asked: Instant,
    ended: Instant,
    node: Address,
    outcome: String,
}

impl Trail {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            steps: Vec::new(),
            more: 0,
        }
    }

    /// A try that began at `asked` has just failed.
    pub(crate) fn failed(&mut self, asked: Instant, node: &Address, verdict: &Verdict) {
        self.note(asked, node, || outcome(verdict));
    }

    /// A try is given up for another, without a word from the node.
    pub(crate) fn silent(&mut self, asked: Instant, node: &Address) {
        self.note(asked, node, || "silent".to_owned());
    }

    fn note(&mut self, asked: Instant, node: &Address, outcome: impl FnOnce() -> String) {
        if self.steps.len() == STEPS_MAX {
            self.more += 1;
            return;
        }
        self.steps.push(Step {
            asked,
            ended: Instant::now(),
            node: node.clone(),
            outcome: outcome(),
        });
    }

    /// The last try, which began at `asked`, was answered: tells the call where it was slow.
    pub(crate) fn answered(&self, asked: Instant, node: &Address) {
        let took = self.began.elapsed();
        if took >= SLOW_CALL && tracing::enabled!(target: SLOW_CALL_TARGET, tracing::Level::DEBUG) {
            let tries = self.text(asked, node, Instant::now());
            tracing::debug!(target: SLOW_CALL_TARGET, ms = millis(took), %tries, "slow call");
        }
    }

    /// Times in ms since the call's begin, and words of fixed lists: no personal data.
    fn text(&self, asked: Instant, node: &Address, now: Instant) -> String {
        let since = |at: Instant| millis(at.saturating_duration_since(self.began));
        let mut text = String::new();
        for step in &self.steps {
            let (asked, ended) = (since(step.asked), since(step.ended));
            let _ = write!(text, "{asked}-{ended} {}: {}; ", step.node, step.outcome);
        }
        if self.more > 0 {
            let _ = write!(text, "{} more; ", self.more);
        }
        let _ = write!(text, "{}-{} {node}: answered", since(asked), since(now));
        text
    }
}

fn outcome(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Final(error) => error.reason.clone(),
        Verdict::NotSent => "not sent".to_owned(),
        Verdict::Unanswered(error) => format!("{} (unanswered)", error.reason),
        Verdict::Elsewhere { leader, error, .. } => match leader {
            Some(leader) => format!("{}, {leader} leads", error.reason),
            None => error.reason.clone(),
        },
        Verdict::Wait { after, error, .. } => format!("{}, wait {} ms", error.reason, millis(*after)),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[tokio::test(start_paused = true)]
    async fn a_trail_tells_each_try_and_stays_short() {
        let ms = |ms| tokio::time::advance(Duration::from_millis(ms));
        let (one, two) = (Address::parse("a:1").unwrap(), Address::parse("b:2").unwrap());
        let mut trail = Trail::new();
        let asked = Instant::now();
        ms(3).await;
        let moved = Verdict::Elsewhere {
            leader: Some(two.clone()),
            shard: 1,
            error: Error::local(ErrorKind::Unavailable, "NOT_LEADER", "for people"),
        };
        trail.failed(asked, &one, &moved);
        let asked = Instant::now();
        ms(120).await;
        trail.silent(asked, &two);
        let asked = Instant::now();
        ms(7).await;
        let text = trail.text(asked, &one, Instant::now());
        assert_eq!(
            text,
            "0-3 a:1: NOT_LEADER, b:2 leads; 3-123 b:2: silent; 123-130 a:1: answered"
        );
        for _ in 0..20 {
            trail.failed(asked, &one, &Verdict::NotSent);
        }
        assert!(trail.text(asked, &one, asked).contains("; 6 more; "), "bounded");
    }
}
