//! Scenarios drawn from a seed: how often what goes wrong, and how it comes together.

mod mix;
mod shapes;

use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use self::mix::{Dice, Mix};
use super::{Scenario, Step};
use crate::workload::seeded;

/// Which kinds a run may draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Focus {
    /// Every kind that leaves the state of a node whole, alone and together.
    #[default]
    All,
    /// Only power cuts, of one node and of all.
    PowerCuts,
    /// What looks like something else: forged evidence, troubled disks, lost and late replies, bridges, pauses, damaged
    /// state, among kills and cuts.
    Gray,
    /// Only forged evidence.
    Forged,
    /// What real processes and their links can be made to suffer without a disk of our own.
    Processes,
}

/// Times of a focus, milliseconds.
struct Pace {
    /// Between the start of one fault and the next.
    gap: std::ops::Range<u64>,
    lasts_min: u64,
    lasts_max: u64,
    /// Of 100 draws so many are two faults at once,
    pairs: u32,
    /// so many a link that comes and goes,
    flaps: u32,
    /// so many links clogged one by one and unclogged in another order.
    swizzles: u32,
}

/// Single faults only: what these runs count must have one cause.
const ALONE: Pace = Pace {
    gap: 150..1_500,
    lasts_min: 50,
    lasts_max: 2_500,
    pairs: 0,
    flaps: 0,
    swizzles: 0,
};
const TOGETHER: Pace = Pace {
    pairs: 15,
    flaps: 5,
    swizzles: 5,
    ..ALONE
};
/// Real time is slower to tell a fault's effects apart.
const REAL: Pace = Pace {
    gap: 600..3_000,
    lasts_min: 80,
    lasts_max: 3_000,
    pairs: 40,
    flaps: 4,
    swizzles: 4,
};
/// The second of a pair comes up to this much later.
const PAIR_LATER_MS: u64 = 200;

impl Focus {
    fn pace(self) -> &'static Pace {
        match self {
            Self::PowerCuts | Self::Forged => &ALONE,
            Self::All | Self::Gray => &TOGETHER,
            Self::Processes => &REAL,
        }
    }

    fn mix(self) -> Mix {
        match self {
            Self::All => mix::ALL,
            Self::PowerCuts => mix::POWER_CUTS,
            Self::Gray => mix::GRAY,
            Self::Forged => mix::FORGED,
            Self::Processes => mix::PROCESSES,
        }
    }
}

impl Scenario {
    /// The scenario of a seed, for faults that begin within `time`. Faults may overlap.
    #[must_use]
    pub fn draw(seed: u64, nodes: usize, shards: u32, time: Duration, focus: Focus) -> Self {
        let pace = focus.pace();
        let end = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut dice = Dice::new(seeded(seed, "plan"), nodes);
        let (mut steps, mut at) = (Vec::new(), 0);
        loop {
            at += dice.random.random_range(pace.gap.clone());
            if at >= end {
                break;
            }
            draw_at(&mut dice, focus, at, end, &mut steps);
        }
        steps.retain(|step| step.at < time);
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            nodes,
            shards,
            time,
            steps,
        }
    }
}

fn draw_at(dice: &mut Dice, focus: Focus, at: u64, end: u64, steps: &mut Vec<Step>) {
    let pace = focus.pace();
    let percent = if pace.pairs > 0 && dice.nodes > 1 {
        dice.random.random_range(0..100)
    } else {
        100
    };
    let (flaps, swizzles) = (pace.pairs + pace.flaps, pace.pairs + pace.flaps + pace.swizzles);
    if percent < pace.pairs {
        let later = dice.random.random_range(0..PAIR_LATER_MS);
        steps.push(single(dice, focus, at, end));
        steps.push(single(dice, focus, at + later, end));
    } else if percent < flaps {
        shapes::flapping(dice, at, steps);
    } else if percent < swizzles {
        shapes::swizzle(dice, at, steps);
    } else {
        steps.push(single(dice, focus, at, end));
    }
}

fn single(dice: &mut Dice, focus: Focus, at: u64, end: u64) -> Step {
    let lasts = lasts(&mut dice.random, focus.pace(), end.saturating_sub(at));
    let fault = dice.fault(focus.mix());
    Step::of(at, lasts, fault)
}

/// Short faults are as likely as long ones; an even draw would make nearly all long.
fn lasts(random: &mut ChaCha8Rng, pace: &Pace, left: u64) -> u64 {
    let longest = pace.lasts_max.min(left).max(pace.lasts_min + 1);
    let bound = random.random_range(pace.lasts_min + 1..=longest);
    random.random_range(pace.lasts_min..bound)
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
