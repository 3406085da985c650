//! Three releases rolled over a cluster under random faults, by the library that `spinectl upgrade` is: forward, back,
//! its tool ended anywhere, levels raised in the middle. Nodes of two releases run side by side most of the time.

mod roller;

use std::time::Duration;

use super::report::{Plan, finish};
use super::run::Stage;
use super::supports::supports;
use super::thread::alone;
use super::trace::Trace;
use super::{SimOptions, SimReport};

pub(super) use roller::{ClientOf, Roller, Rolls, run as roll};

/// Once nothing goes wrong any more, the last release is everywhere and its level in force within this.
const FINISH_TIME: Duration = Duration::from_secs(180);

/// Runs one seed: its own faults, and rolls meanwhile.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    let options = SimOptions {
        rolls: true,
        ..options.clone()
    };
    alone(&options, run_here)
}

fn run_here(options: &SimOptions) -> SimReport {
    let trace = Trace::new(options.keep_trace);
    let plan = Plan::of(&options.scenario(), supports);
    plan.note(&trace);
    let mut stage = Stage::new(options, trace.clone());
    let ended = stage.play(|stage| {
        let (desk, rolls) = (stage.desk.clone(), stage.rolls.clone());
        rolls.borrow_mut().begun = true;
        stage.world.go_wrong(&plan.scenario.steps, |order| {
            desk.borrow_mut().orders.push_back(order);
        })?;
        rolls.borrow_mut().finish = true;
        stage.world.note(format_args!("{:?}", rolls.borrow()));
        let what = "the last release is everywhere and finalized";
        stage
            .world
            .until(FINISH_TIME, what, |_| rolls.borrow().finished.is_some())
            .map_err(|error| format!("{error}; {:?}", rolls.borrow()))?;
        let finished = rolls.borrow_mut().finished.take();
        let level = finished.unwrap_or_else(|| Err("nothing".to_owned()))?;
        stage.all_follow(level)
    });
    finish(&plan, ended, &stage.world, &stage.recorder, &trace)
}

impl Stage {
    /// Every replica of every node, and nothing of it stopped.
    fn all_follow(&self, level: u32) -> Result<(), String> {
        for node in 0..self.nodes {
            let inner = self.machines.inner(node).ok_or("a node is down")?;
            for shard in inner.host.all() {
                let status = shard.group.store().status();
                if status.level != level || status.halted.is_some() {
                    let number = shard.group.identity().shard;
                    return Err(format!(
                        "shard {number} of n{}: level {} instead of {level}, halted: {:?}",
                        node + 1,
                        status.level,
                        status.halted
                    ));
                }
            }
        }
        Ok(())
    }
}
