//! Rolling upgrades in which a node dies at a step of the tool.

use std::fmt;

use serde::Serialize;
use spine_client::upgrade::Step;

use super::rolling::{CLIENTS, kept, options, shared};
use super::support::block_on;
use crate::gap::{Begins, Lasts, RollFault, RolledThrough, Target, Thrown, Victim, rolls_with_faults};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "roll-steps",
    issue: 5,
    claim: "a node is killed at each step of the tool, the one that is moved or another one, while all nodes are rolled: \
            callers do not notice, and the tool ends when begun again",
    target: "0 failed calls, 0 lost, every kill at its step, every roll done within 5 runs of the tool",
    run,
};

const STEPS: [Step; 7] = [
    Step::Drain,
    Step::Restart,
    Step::Answer,
    Step::CatchUp,
    Step::Lead,
    Step::Canary,
    Step::Moved,
];
/// Two of three nodes are away for a moment.
const QUICK: Begins = Begins::At(Step::Restart, Victim::Other);
/// Which node is the first, second or last one to be moved when it happens.
const SEED: u64 = 5;

#[derive(Serialize)]
struct Measured(RolledThrough);

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let rolled = &self.0;
        rolled.rolls > 0 && rolled.not_thrown == 0 && rolled.failed == 0 && rolled.lost == 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let plan = if context.quick { vec![killed(QUICK)] } else { all() };
    block_on(async move {
        let cluster = Cluster::start_with_defaults(&options(context)).await?;
        let target = Target::new(shared(cluster, context), None);
        match rolls_with_faults(&target, CLIENTS, &plan, SEED).await {
            Ok(rolled) => Finding::of(&Measured(rolled)),
            Err(error) => Err(kept(target.cluster(), &error).await),
        }
    })
}

/// Each step, with each victim.
fn all() -> Vec<Thrown> {
    let with_each = |step| [Victim::Moved, Victim::Other].map(|victim| killed(Begins::At(step, victim)));
    STEPS.into_iter().flat_map(with_each).collect()
}

fn killed(begins: Begins) -> Thrown {
    Thrown {
        fault: RollFault::Kill,
        lasts: Lasts::Moment,
        begins,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_run_kills_both_kinds_of_node_at_every_step() {
        let plan = all();
        assert_eq!(plan.len(), STEPS.len() * 2);
        for thrown in &plan {
            assert_eq!(
                plan.iter().filter(|other| *other == thrown).count(),
                1,
                "{thrown:?}"
            );
        }
        assert!(plan.contains(&killed(QUICK)));
    }

    #[test]
    fn a_kill_that_did_not_come_proves_nothing() {
        let mut rolled = RolledThrough {
            rolls: 1,
            ..RolledThrough::default()
        };
        assert!(Measured(rolled.clone()).met());
        rolled.not_thrown = 1;
        assert!(!Measured(rolled).met());
    }
}
