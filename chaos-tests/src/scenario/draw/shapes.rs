//! Faults that only mean something as several steps.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::mix::Dice;
use crate::scenario::{Fault, Node, Step};

/// A link is up, and down, for so long at a time, milliseconds.
const FLAP_MS: std::ops::Range<u64> = 20..150;
const FLAPS: std::ops::Range<u32> = 3..8;
/// Between one link clogged, or unclogged, and the next, milliseconds.
const SWIZZLE_MS: std::ops::Range<u64> = 20..150;

/// A link that comes and goes, one way or both.
pub(super) fn flapping(dice: &mut Dice, mut at: u64, steps: &mut Vec<Step>) {
    dice.pick();
    let (one, other) = (dice.one, dice.other);
    let both = dice.random.random_bool(0.5);
    for _ in 0..dice.random.random_range(FLAPS) {
        let down = dice.random.random_range(FLAP_MS);
        steps.push(Step::of(at, down, Fault::OneWay(one, other)));
        if both {
            steps.push(Step::of(at, down, Fault::OneWay(other, one)));
        }
        at += down + dice.random.random_range(FLAP_MS);
    }
}

/// Some links are clogged one by one, and unclogged in another order: each order leaves other halves of the cluster
/// together on the way.
pub(super) fn swizzle(dice: &mut Dice, at: u64, steps: &mut Vec<Step>) {
    let mut links: Vec<(Node, Node)> = (0..dice.nodes)
        .flat_map(|from| (0..dice.nodes).map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
        .collect();
    links.shuffle(&mut dice.random);
    links.truncate(dice.random.random_range(1..=links.len()));
    let mut clogged: Vec<(u64, (Node, Node))> = Vec::new();
    let mut now = at;
    for link in links {
        clogged.push((now, link));
        now += dice.random.random_range(SWIZZLE_MS);
    }
    clogged.shuffle(&mut dice.random);
    for (begin, (from, to)) in clogged {
        steps.push(Step::of(begin, now - begin, Fault::OneWay(from, to)));
        now += dice.random.random_range(SWIZZLE_MS);
    }
}
