//! What goes wrong in a run, and when: one language for the simulation and for real processes. A scenario is drawn
//! from a seed or read from a text; either way it is there before the run begins, so that it can be printed first.

mod draw;
mod fault;
mod text;

use std::time::Duration;

pub use draw::Focus;
pub use fault::{Fault, Node, Step};
pub use text::ParseError;

/// Everything that makes one run another than the next, but for what runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Of the run's own chance: workload, latencies, elections.
    pub seed: u64,
    pub nodes: usize,
    pub shards: u32,
    /// Faults begin within this time, which starts once the cluster serves. Whole milliseconds.
    pub time: Duration,
    pub steps: Vec<Step>,
}

/// A step that a runner cannot carry out.
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    pub step: Step,
    /// For people.
    pub why: &'static str,
}

/// Whether a runner can carry a fault out, and why not.
pub type Supports = fn(&Fault) -> Result<(), &'static str>;

impl Scenario {
    /// What a runner can carry out, and what it must say that it leaves out.
    #[must_use]
    pub fn split(&self, supports: Supports) -> (Self, Vec<Skipped>) {
        let (mut kept, mut skipped) = (Vec::new(), Vec::new());
        for step in self.steps.iter().cloned() {
            match supports(&step.fault) {
                Ok(()) => kept.push(step),
                Err(why) => skipped.push(Skipped { step, why }),
            }
        }
        let kept = Self {
            steps: kept,
            ..self.clone()
        };
        (kept, skipped)
    }
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "skipped {}: {}", self.step, self.why)
    }
}
