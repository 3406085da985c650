//! How often each kind is drawn.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::scenario::{Fault, Node};

/// Kinds with their weights.
pub(super) type Mix = &'static [(u32, fn(&mut Dice) -> Fault)];

/// A request id is remembered for 15 minutes; jumps together must stay below.
const JUMP_MAX_SECONDS: i64 = 60;

/// The chance of one scenario, and the nodes of the fault that is drawn now.
pub(super) struct Dice {
    pub(super) random: ChaCha8Rng,
    pub(super) nodes: usize,
    pub(super) one: Node,
    pub(super) other: Node,
    /// The one node whose state may be damaged: what all three lose is lost.
    damaged: Option<Node>,
}

impl Dice {
    pub(super) fn new(random: ChaCha8Rng, nodes: usize) -> Self {
        Self {
            random,
            nodes,
            one: 0,
            other: 0,
            damaged: None,
        }
    }

    /// Draws two nodes, different ones where there are two.
    pub(super) fn pick(&mut self) {
        self.one = self.random.random_range(0..self.nodes);
        self.other = (self.one + self.random.random_range(1..self.nodes.max(2))) % self.nodes;
    }

    pub(super) fn fault(&mut self, mix: Mix) -> Fault {
        self.pick();
        let total: u32 = mix.iter().map(|(weight, _)| weight).sum();
        let mut left = if mix.len() > 1 {
            self.random.random_range(0..total)
        } else {
            0
        };
        for (weight, kind) in mix {
            if left < *weight {
                return kind(self);
            }
            left -= weight;
        }
        Fault::Kill(vec![self.one])
    }

    fn all(&self) -> Vec<Node> {
        (0..self.nodes).collect()
    }

    /// Some nodes, never none and never all.
    fn side(&mut self) -> Vec<Node> {
        let mut all = self.all();
        all.shuffle(&mut self.random);
        all.truncate(self.random.random_range(1..self.nodes.max(2)));
        all.sort_unstable();
        all
    }

    fn ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }
}

pub(super) const ALL: Mix = &[
    (4, |dice| Fault::Kill(vec![dice.one])),
    (1, |dice| Fault::Kill(dice.all())),
    (2, |dice| Fault::PowerCut(vec![dice.one])),
    (1, |dice| Fault::PowerCut(dice.all())),
    (3, |dice| Fault::Isolate(dice.side())),
    (2, |dice| Fault::OneWay(dice.one, dice.other)),
    (2, |dice| Fault::Hold(dice.side())),
    (1, |dice| Fault::Reset(dice.one, dice.other)),
    (1, |dice| Fault::HideFromClients(dice.one)),
    (1, |dice| Fault::Slow(dice.ms(5..60))),
    (2, |dice| Fault::PurgeWhileDown(dice.one)),
    (2, |dice| Fault::Forge(dice.one)),
    (1, |dice| Fault::Bridge(dice.one)),
    (2, |dice| Fault::DiskStall(dice.one)),
    (1, |dice| Fault::LostReplies(dice.one)),
    (1, |dice| Fault::LateReplies(dice.one, dice.ms(20..400))),
    (1, |dice| Fault::Pause(vec![dice.one])),
    (1, |dice| Fault::Pause(dice.side())),
    (1, |dice| Fault::DiskFull(dice.one)),
    (1, |dice| Fault::FsyncFails(dice.one)),
    (1, |dice| Fault::ClientStorm(dice.random.random_range(4..12))),
];

pub(super) const POWER_CUTS: Mix = &[
    (1, |dice| Fault::PowerCut(dice.all())),
    (2, |dice| Fault::PowerCut(vec![dice.one])),
];

pub(super) const GRAY: Mix = &[
    (3, |dice| Fault::Forge(dice.one)),
    (2, |dice| Fault::Bridge(dice.one)),
    (4, |dice| Fault::DiskStall(dice.one)),
    (2, |dice| Fault::LostReplies(dice.one)),
    (1, |dice| Fault::LateReplies(dice.one, dice.ms(20..1_000))),
    (2, |dice| Fault::Pause(vec![dice.one])),
    (2, |dice| Fault::DiskFull(dice.one)),
    (2, |dice| Fault::FsyncFails(dice.one)),
    (2, |dice| {
        let one = dice.one;
        Fault::CorruptState(*dice.damaged.get_or_insert(one))
    }),
    (2, |dice| Fault::Kill(vec![dice.one])),
    (1, |dice| Fault::PowerCut(vec![dice.one])),
    (1, |dice| Fault::PowerCut(dice.all())),
    (1, |dice| Fault::PurgeWhileDown(dice.one)),
    (3, |dice| {
        let jump = CLOCK_JUMPS_MS[dice.random.random_range(0..CLOCK_JUMPS_MS.len())];
        Fault::ClockJump(dice.one, jump)
    }),
];

/// Clocks are a little wrong, or by decades: a dead battery, a mistyped year.
const CLOCK_JUMPS_MS: [i64; 6] = [-40 * YEAR_MS, -10_000, -400, 700, 30 * 60_000, 30 * YEAR_MS];
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

pub(super) const FORGED: Mix = &[(1, |dice| Fault::Forge(dice.one))];

pub(super) const PROCESSES: Mix = &[
    (4, |dice| Fault::Kill(vec![dice.one])),
    (1, |dice| Fault::Kill(dice.all())),
    (1, |dice| Fault::Kill(dice.side())),
    (3, |dice| Fault::Pause(vec![dice.one])),
    (1, |dice| Fault::Pause(dice.side())),
    (2, |dice| Fault::Isolate(dice.side())),
    (3, |dice| Fault::OneWay(dice.one, dice.other)),
    (2, |dice| Fault::Bridge(dice.one)),
    (2, |dice| Fault::Hold(dice.side())),
    (1, |dice| Fault::Reset(dice.one, dice.other)),
    (2, |dice| Fault::Forge(dice.one)),
    (1, |dice| Fault::HalfClose(dice.one, dice.other)),
    (1, |dice| Fault::Truncate(dice.one, dice.other)),
    (1, |dice| Fault::HideFromClients(dice.one)),
    (1, |dice| Fault::LostReplies(dice.one)),
    (1, |dice| Fault::LateReplies(dice.one, dice.ms(20..400))),
    (1, |dice| Fault::Slow(dice.ms(2..40))),
    (1, |dice| {
        Fault::Narrow(dice.one, dice.random.random_range(20_000..200_000))
    }),
    (1, |dice| Fault::ClientStorm(dice.random.random_range(16..64))),
    (1, |dice| Fault::PurgeWhileDown(dice.one)),
    (1, |dice| {
        let seconds = dice.random.random_range(1..=JUMP_MAX_SECONDS);
        Fault::ClockJump(dice.one, seconds * 1_000)
    }),
];
