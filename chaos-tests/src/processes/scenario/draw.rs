//! Random plans for processes: single faults and pairs that overlap.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::deed::{Deed, DeedStep};
use crate::sim::plan::Node;
use crate::workload::seeded;

/// Between the start of one fault, or pair, and the next.
const GAP_MIN_MS: u64 = 600;
const GAP_MAX_MS: u64 = 3_000;
const LASTS_MIN_MS: u64 = 80;
const LASTS_MAX_MS: u64 = 3_000;
/// Of 100 faults so many come with a second one.
const PAIRS_PERCENT: u32 = 40;
/// A request id is remembered for 15 minutes; jumps together must stay below.
const JUMP_MAX_SECONDS: u64 = 60;

/// The plan of a seed, for faults that begin within `time`.
#[must_use]
pub fn draw(seed: u64, nodes: usize, time: Duration) -> Vec<DeedStep> {
    draw_of(seed, nodes, time, |_| true)
}

/// The same with chosen deeds only.
#[must_use]
pub fn draw_of(seed: u64, nodes: usize, time: Duration, chosen: impl Fn(&Deed) -> bool) -> Vec<DeedStep> {
    let mut random = seeded(seed, "deeds");
    let end = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (mut steps, mut at) = (Vec::new(), 0);
    loop {
        at += random.random_range(GAP_MIN_MS..GAP_MAX_MS);
        if at >= end {
            return steps;
        }
        let pair = random.random_range(0..100) < PAIRS_PERCENT;
        for _ in 0..=u32::from(pair) {
            let later = random.random_range(0..200);
            let deed = deed(&mut random, nodes);
            let step = DeedStep {
                at: Duration::from_millis(at + later),
                lasts: lasts(&mut random),
                deed,
            };
            if chosen(&step.deed) {
                steps.push(step);
            }
        }
    }
}

/// Short ones are as likely as long ones.
fn lasts(random: &mut ChaCha8Rng) -> Duration {
    let bound = random.random_range(LASTS_MIN_MS + 1..=LASTS_MAX_MS);
    Duration::from_millis(random.random_range(LASTS_MIN_MS..bound))
}

fn deed(random: &mut ChaCha8Rng, nodes: usize) -> Deed {
    let one = random.random_range(0..nodes);
    let other = (one + random.random_range(1..nodes.max(2))) % nodes;
    match random.random_range(0..30) {
        0..4 => Deed::Kill(vec![one]),
        4 => Deed::Kill((0..nodes).collect()),
        5 => Deed::Kill(side(random, nodes)),
        6..9 => Deed::Pause(vec![one]),
        9 => Deed::Pause(side(random, nodes)),
        10..12 => Deed::Isolate(side(random, nodes)),
        12..15 => Deed::OneWay(one, other),
        15..17 => Deed::Bridge(one, other),
        17..19 => Deed::Hold(side(random, nodes)),
        19 => Deed::Reset(one, other),
        20..22 => Deed::ForgeDeath(one),
        22 => Deed::HalfClose(one, other),
        23 => Deed::Truncate(one, other),
        24 => Deed::HideFromClients(one),
        25 => Deed::Slow(Duration::from_millis(random.random_range(2..40))),
        26 => Deed::Narrow(one, random.random_range(20_000..200_000)),
        27 => Deed::ClientStorm(random.random_range(16..64)),
        28 => Deed::PurgeWhileDown(one),
        _ => Deed::ClockJump(
            one,
            Duration::from_secs(random.random_range(1..=JUMP_MAX_SECONDS)),
        ),
    }
}

/// Some nodes, never none and never all.
fn side(random: &mut ChaCha8Rng, nodes: usize) -> Vec<Node> {
    let mut all: Vec<Node> = (0..nodes).collect();
    all.shuffle(random);
    all.truncate(random.random_range(1..nodes.max(2)));
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_plans_cover_every_deed() {
        let time = Duration::from_secs(30);
        assert_eq!(draw(7, 3, time), draw(7, 3, time));
        assert_ne!(draw(7, 3, time), draw(8, 3, time));
        let kinds: std::collections::BTreeSet<_> = (0..60)
            .flat_map(|seed| draw(seed, 3, time))
            .map(|step| format!("{:?}", std::mem::discriminant(&step.deed)))
            .collect();
        assert_eq!(kinds.len(), 16);
    }
}
