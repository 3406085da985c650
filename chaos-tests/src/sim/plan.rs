//! What goes wrong in a run, and when: drawn from the seed before the run begins, so that it can be printed
//! first and read beside the trace.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::trace::Trace;
use crate::workload::seeded;

/// A node of the run, from 0.
pub type Node = usize;

/// One thing that goes wrong and then stops going wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The process dies; what it wrote stays.
    Kill(Vec<Node>),
    /// The power fails: what was not synced is gone.
    PowerCut(Vec<Node>),
    /// These nodes hear the others no more, nor are heard. Bytes are lost, connections break when it ends.
    Isolate(Vec<Node>),
    /// Bytes from the first to the second are lost; the other way works.
    OneWay(Node, Node),
    /// Bytes between these nodes and the others are late until it ends, and none is lost.
    Hold(Vec<Node>),
    /// All connections of two nodes break at once; both live.
    Reset(Node, Node),
    /// Clients cannot reach this node; its peers can.
    HideFromClients(Node),
    /// Every message takes up to this long.
    Slow(Duration),
    /// Forged evidence: all connections of a node break and connects to it are refused, as if its process had ended;
    /// it lives.
    Forge(Node),
    /// All others hear this node and it them, but not each other.
    Bridge(Node),
    /// A node's disk answers no sync until it ends.
    DiskStall(Node),
    /// A node's wall clock is wrong by this, milliseconds, until it ends.
    ClockJump { node: Node, ms: i64 },
    /// What a node answers to clients is lost; what they ask arrives.
    LostReplies(Node),
    /// Shards of this node are checkpointed and their logs purged, while another is down.
    PurgeWhileDown { down: Node },
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since faults began.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    pub fault: Fault,
}

/// Which kinds a run may draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Focus {
    /// Every kind.
    #[default]
    All,
    /// Only power cuts, of one node and of all.
    PowerCuts,
    /// What looks like something else: forged evidence, stalled disks, lost replies, bridges, among kills and cuts.
    Gray,
    /// Only forged evidence.
    Forged,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub steps: Vec<Step>,
}

/// Pauses between the start of one fault and the next.
const GAP_MIN_MS: u64 = 150;
const GAP_MAX_MS: u64 = 1_500;
const LASTS_MIN_MS: u64 = 50;
const LASTS_MAX_MS: u64 = 2_500;

impl Plan {
    /// The plan of a seed, for faults within `time`. Faults may overlap.
    #[must_use]
    pub fn of(seed: u64, nodes: usize, time: Duration, focus: Focus) -> Self {
        let mut random = seeded(seed, "plan");
        let mut steps = Vec::new();
        let mut at = 0;
        let end = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        loop {
            at += random.random_range(GAP_MIN_MS..GAP_MAX_MS);
            if at >= end {
                break;
            }
            // Short faults are as likely as long ones; an even draw would make nearly all long.
            let longest = LASTS_MAX_MS.min(end - at).max(LASTS_MIN_MS + 1);
            let bound = random.random_range(LASTS_MIN_MS + 1..=longest);
            let lasts = random.random_range(LASTS_MIN_MS..bound);
            let fault = draw(&mut random, nodes, focus);
            let (at, lasts) = (Duration::from_millis(at), Duration::from_millis(lasts));
            steps.push(Step { at, lasts, fault });
        }
        Self { seed, nodes, steps }
    }

    /// Puts every step at the head of a trace.
    pub(super) fn note(&self, trace: &Trace) {
        for step in &self.steps {
            trace.note(0, format_args!("plan {step}"));
        }
    }
}

fn draw(random: &mut ChaCha8Rng, nodes: usize, focus: Focus) -> Fault {
    let one = random.random_range(0..nodes);
    let other = (one + random.random_range(1..nodes.max(2))) % nodes;
    if focus == Focus::PowerCuts {
        let all = random.random_range(0..3) == 0;
        return Fault::PowerCut(if all { (0..nodes).collect() } else { vec![one] });
    }
    match focus {
        Focus::Gray => return gray(random, one, nodes),
        Focus::Forged => return Fault::Forge(one),
        Focus::All | Focus::PowerCuts => {}
    }
    match random.random_range(0..20) {
        0..4 => Fault::Kill(vec![one]),
        4 => Fault::Kill((0..nodes).collect()),
        5..7 => Fault::PowerCut(vec![one]),
        7 => Fault::PowerCut((0..nodes).collect()),
        8..11 => Fault::Isolate(side(random, nodes)),
        11..13 => Fault::OneWay(one, other),
        13..15 => Fault::Hold(side(random, nodes)),
        15 => Fault::Reset(one, other),
        16 => Fault::HideFromClients(one),
        17 => Fault::Slow(Duration::from_millis(random.random_range(5..60))),
        _ => Fault::PurgeWhileDown { down: one },
    }
}

/// Clocks are a little wrong, or by decades: a dead battery, a mistyped year.
const CLOCK_JUMPS_MS: [i64; 6] = [-40 * YEAR_MS, -10_000, -400, 700, 30 * 60_000, 30 * YEAR_MS];
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

fn gray(random: &mut ChaCha8Rng, one: Node, nodes: usize) -> Fault {
    match random.random_range(0..19) {
        0..3 => Fault::Forge(one),
        3..5 => Fault::Bridge(one),
        5..9 => Fault::DiskStall(one),
        9..11 => Fault::LostReplies(one),
        11..13 => Fault::Kill(vec![one]),
        13 => Fault::PowerCut(vec![one]),
        14 => Fault::PowerCut((0..nodes).collect()),
        15..18 => Fault::ClockJump {
            node: one,
            ms: CLOCK_JUMPS_MS[random.random_range(0..CLOCK_JUMPS_MS.len())],
        },
        _ => Fault::PurgeWhileDown { down: one },
    }
}

/// Some nodes, never none and never all.
fn side(random: &mut ChaCha8Rng, nodes: usize) -> Vec<Node> {
    let mut all: Vec<Node> = (0..nodes).collect();
    all.shuffle(random);
    let count = random.random_range(1..nodes.max(2));
    all.truncate(count);
    all.sort_unstable();
    all
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "+{} ms for {} ms: {:?}",
            self.at.as_millis(),
            self.lasts.as_millis(),
            self.fault
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(Plan::of(5, 3, TIME, Focus::All), Plan::of(5, 3, TIME, Focus::All));
        assert_ne!(
            Plan::of(5, 3, TIME, Focus::All).steps,
            Plan::of(6, 3, TIME, Focus::All).steps
        );
    }

    #[test]
    fn plans_stay_in_their_time_and_cover_every_kind() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..100 {
            for step in Plan::of(seed, 3, TIME, Focus::All).steps {
                assert!(step.at < TIME && step.lasts <= Duration::from_millis(LASTS_MAX_MS));
                kinds.insert(format!("{:?}", std::mem::discriminant(&step.fault)));
            }
            for step in Plan::of(seed, 3, TIME, Focus::Gray).steps {
                kinds.insert(format!("{:?}", std::mem::discriminant(&step.fault)));
            }
            let cuts = Plan::of(seed, 3, TIME, Focus::PowerCuts).steps;
            assert!(cuts.iter().all(|step| matches!(step.fault, Fault::PowerCut(_))));
        }
        assert_eq!(kinds.len(), 14);
    }
}
