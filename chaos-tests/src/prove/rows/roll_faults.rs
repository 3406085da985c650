//! Rolling upgrades while something else goes wrong.

use std::fmt;

use serde::Serialize;
use spine_faultdisk::{Availability, availability};

use super::rolling::{CLIENTS, kept, options, shared};
use super::support::block_on;
use crate::gap::{Begins, Lasts, RollFault, RolledThrough, Target, Thrown, rolls_with_faults};
use crate::processes::{Cluster, Disks};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "roll-faults",
    issue: 5,
    claim: "a node killed, stopped by somebody else, frozen, cut off both ways or one way, its connections reset, its \
            disk stalled or full, for a moment or for longer than the tool waits, while all nodes are rolled: \
            callers do not notice, and the tool ends when begun again",
    target: "0 failed calls, 0 lost, every roll done within 5 runs of the tool; it gives up where a node \
             stays frozen, cut off or its disk stalled",
    run,
};

/// On disks that a program holds in memory.
const CLIENTS_ON_DISKS: usize = 16;
/// With each fault. There and back twice: the next fault finds the program that ran at first.
const ROLLS: &[Lasts] = &[Lasts::Moment, Lasts::Moment, Lasts::Moment, Lasts::TooLong];
const ROLLS_QUICK: &[Lasts] = &[Lasts::Moment];
/// Of a quick run one, by the seed. None needs disks of its own, and with [`SEED`] a node is cut off.
const QUICK: [RollFault; 7] = [
    RollFault::Kill,
    RollFault::Terminate,
    RollFault::Pause,
    RollFault::Mute,
    RollFault::Deaf,
    RollFault::Resets,
    RollFault::Silence,
];
/// No restart undoes these: where they outlast the patience of the tool, it must give up.
const STAYING: [RollFault; 3] = [RollFault::Pause, RollFault::Silence, RollFault::Stall];
/// Of every run ...
const SEED: u64 = 6;
/// ... unless this says another one.
const SEED_VARIABLE: &str = "SPINE_ROLL_SEED";

#[derive(Default, Serialize)]
struct Measured {
    seed: u64,
    /// Why no disk was stalled or full.
    no_disks: Option<&'static str>,
    /// Faults that outlasted the patience of the tool: where it gave up, and where it went on.
    gave_up_at: Vec<&'static str>,
    went_on_at: Vec<&'static str>,
    #[serde(flatten)]
    rolled: RolledThrough,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rolled.fmt(f)?;
        for (what, faults) in [("gave up", &self.gave_up_at), ("went on", &self.went_on_at)] {
            if !faults.is_empty() {
                write!(f, "; {what}: {}", faults.join(", "))?;
            }
        }
        if let Some(why) = self.no_disks {
            write!(f, "; SKIPPED the disk that stalls or is full: {why}")?;
        }
        write!(f, "; {SEED_VARIABLE}={}", self.seed)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let rolled = &self.rolled;
        let went_on = |fault: &RollFault| self.went_on_at.contains(&fault.name());
        rolled.rolls > 0 && rolled.failed == 0 && rolled.lost == 0 && !STAYING.iter().any(went_on)
    }
}

impl Measured {
    /// Rolls with one fault after another.
    async fn throw(
        &mut self,
        target: &Target,
        clients: usize,
        faults: &[RollFault],
        rolls: &[Lasts],
    ) -> Result<(), RowError> {
        // Each fault has a seed of its own, so that not all of them come at the same moments.
        for (fault, turn) in faults.iter().copied().zip(0_u64..) {
            let plan = planned(fault, rolls);
            let seed = self.seed.wrapping_add(turn);
            match rolls_with_faults(target, clients, &plan, seed).await {
                Ok(rolled) => self.note(fault, rolled),
                Err(error) => {
                    let (why, seed) = (kept(target.cluster(), &error).await, self.seed);
                    return Err(RowError::because(format!("{why}; {SEED_VARIABLE}={seed}")));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, fault: RollFault, rolled: RolledThrough) {
        if rolled.outlasting > 0 {
            let at = if rolled.gave_up == rolled.outlasting {
                &mut self.gave_up_at
            } else {
                &mut self.went_on_at
            };
            at.push(fault.name());
        }
        self.rolled.include(rolled);
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seed = seed()?;
    let no_disks = match availability() {
        Availability::Missing(why) if !context.quick => Some(why),
        Availability::Missing(_) | Availability::Ready => None,
    };
    let (faults, rolls) = if context.quick {
        (vec![quick(seed)], ROLLS_QUICK)
    } else {
        (all(no_disks.is_none()), ROLLS)
    };
    let needs_disks = |fault: &RollFault| fault.needs_disks();
    let (on_disks, on_links): (Vec<_>, Vec<_>) = faults.into_iter().partition(needs_disks);
    block_on(async move {
        let mut measured = Measured {
            seed,
            no_disks,
            ..Measured::default()
        };
        if !on_links.is_empty() {
            let cluster = Cluster::start_linked_with_defaults(&options(context), seed).await?;
            let target = Target::new(shared(cluster, context), None);
            measured.throw(&target, CLIENTS, &on_links, rolls).await?;
        }
        if !on_disks.is_empty() {
            let (cluster, disks) = Disks::with_cluster(&options(context), &[]).await?;
            let target = Target::new(shared(cluster, context), Some(disks));
            let clients = CLIENTS_ON_DISKS;
            measured.throw(&target, clients, &on_disks, rolls).await?;
        }
        Finding::of(&measured)
    })
}

/// Those of a full run.
fn all(with_disks: bool) -> Vec<RollFault> {
    let mut faults = RollFault::ALL.to_vec();
    faults.retain(|fault| with_disks || !fault.needs_disks());
    faults
}

fn quick(seed: u64) -> RollFault {
    let turn = usize::try_from(seed % QUICK.len() as u64).unwrap_or(0);
    QUICK[turn]
}

fn planned(fault: RollFault, rolls: &[Lasts]) -> Vec<Thrown> {
    let thrown = |lasts| Thrown {
        fault,
        lasts,
        begins: Begins::Anytime,
    };
    rolls.iter().copied().map(thrown).collect()
}

fn seed() -> Result<u64, RowError> {
    let Ok(text) = std::env::var(SEED_VARIABLE) else {
        return Ok(SEED);
    };
    let number = text.parse::<u64>();
    number.map_err(|_| RowError::because(format!("{SEED_VARIABLE} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlasting(gave_up: u32) -> RolledThrough {
        RolledThrough {
            rolls: 1,
            outlasting: 1,
            gave_up,
            ..RolledThrough::default()
        }
    }

    #[test]
    fn a_full_run_throws_each_fault_for_a_moment_and_for_too_long() {
        assert_eq!(all(true), RollFault::ALL);
        assert_eq!(all(false).len(), RollFault::ALL.len() - 2);
        assert!(!all(false).iter().any(|fault| fault.needs_disks()));
        let plan = planned(RollFault::Mute, ROLLS);
        assert!(plan.iter().all(|thrown| thrown.fault == RollFault::Mute));
        let times = |lasts: Lasts| plan.iter().filter(|thrown| thrown.lasts == lasts).count();
        assert_eq!([Lasts::Moment, Lasts::TooLong].map(times), [3, 1]);
        assert!(plan.len().is_multiple_of(2), "as often back as there");
    }

    #[test]
    fn a_quick_run_cuts_a_node_off_unless_another_seed_is_given() {
        assert_eq!(quick(SEED), RollFault::Silence);
        for fault in all(false) {
            assert!((0..7).any(|seed| quick(seed) == fault), "{fault:?}");
        }
        assert!(!QUICK.iter().any(|fault| fault.needs_disks()));
    }

    #[test]
    fn the_tool_must_give_up_where_no_restart_helps() {
        for fault in RollFault::ALL {
            let mut measured = Measured::default();
            measured.note(fault, outlasting(1));
            assert!(measured.met(), "{measured}");
            measured.note(fault, outlasting(0));
            assert_eq!(measured.met(), !STAYING.contains(&fault), "{measured}");
        }
    }

    #[test]
    fn the_text_says_where_the_tool_gave_up_and_ends_with_the_seed() {
        let mut measured = Measured {
            seed: 7,
            no_disks: Some("why"),
            ..Measured::default()
        };
        measured.note(RollFault::Pause, outlasting(1));
        measured.note(RollFault::Silence, outlasting(1));
        measured.note(RollFault::Kill, outlasting(0));
        let text = measured.to_string();
        let end = "; gave up: frozen, cut off; went on: killed; SKIPPED the disk that stalls or is full: why; \
                   SPINE_ROLL_SEED=7";
        assert!(text.ends_with(end), "{text}");
    }
}
