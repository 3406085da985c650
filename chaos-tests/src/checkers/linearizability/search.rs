//! The search itself: depth first, never twice through one configuration.

use std::collections::HashSet;

use super::events::{At, Events};
use super::model::{Call, State};

/// How many steps pass between two looks at the clock.
const STEPS_BETWEEN_CLOCKS: u32 = 4096;

pub(super) enum Found {
    Order,
    /// Calls that were open where the longest partial order ended.
    NoOrder {
        stuck: Vec<usize>,
    },
    Limit,
}

/// A configuration is the set of calls already ordered, as a 128-bit Zobrist sum, and the content after them.
type Configuration = (u128, State);

pub(super) struct Search<'a> {
    calls: &'a [Call],
    events: Events,
    marks: Vec<u128>,
    seen: HashSet<Configuration>,
    configurations_max: usize,
    chosen: Vec<(At, State)>,
    longest: usize,
    stuck: Vec<usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(calls: &'a [Call], configurations_max: usize) -> Self {
        Self {
            calls,
            events: Events::new(calls),
            marks: (0..calls.len() as u64).map(mark).collect(),
            seen: HashSet::new(),
            configurations_max,
            chosen: Vec::new(),
            longest: 0,
            stuck: Vec::new(),
        }
    }

    /// Ends when all calls that returned are ordered, when nothing is left to try, or at a limit.
    pub(super) fn run(&mut self, out_of_time: impl Fn() -> bool) -> Found {
        let mut left = self.calls.iter().filter(|call| call.returned.is_some()).count();
        let mut state: State = None;
        let mut ordered: u128 = 0;
        let mut at = self.events.first();
        let mut steps: u32 = 0;
        while left > 0 {
            steps = steps.wrapping_add(1);
            let late = steps.is_multiple_of(STEPS_BETWEEN_CLOCKS) && out_of_time();
            if late || self.seen.len() > self.configurations_max {
                return Found::Limit;
            }
            let candidate = at
                .map(|at| (at, self.events.get(at)))
                .filter(|(_, event)| !event.is_return);
            if let Some((here, event)) = candidate {
                let next = self.calls[event.call].step(state);
                let with = ordered ^ self.marks[event.call];
                if let Some(next) = next.filter(|next| self.seen.insert((with, *next))) {
                    self.chosen.push((here, state));
                    self.events.lift(here);
                    left -= usize::from(event.matching.is_some());
                    (state, ordered) = (next, with);
                    at = self.events.first();
                } else {
                    at = self.events.after(here);
                }
                continue;
            }
            // A return whose call is not yet ordered (or the end): nothing later may come first.
            self.note_progress();
            let Some((undone, before)) = self.chosen.pop() else {
                return Found::NoOrder {
                    stuck: std::mem::take(&mut self.stuck),
                };
            };
            let event = self.events.get(undone);
            self.events.restore(undone);
            left += usize::from(event.matching.is_some());
            (state, ordered) = (before, ordered ^ self.marks[event.call]);
            at = self.events.after(undone);
        }
        Found::Order
    }

    fn note_progress(&mut self) {
        if self.chosen.len() < self.longest && !self.stuck.is_empty() {
            return;
        }
        self.longest = self.chosen.len();
        self.stuck.clear();
        let mut at = self.events.first();
        while let Some(here) = at {
            let event = self.events.get(here);
            self.stuck.push(event.call);
            if event.is_return {
                break;
            }
            at = self.events.after(here);
        }
        self.stuck.sort_unstable();
        self.stuck.dedup();
    }
}

/// A fixed random-looking number per call.
fn mark(call: u64) -> u128 {
    let hash = blake3::hash(&call.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}
