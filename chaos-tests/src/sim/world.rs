//! The clock, the network and what is watched at every tick: what all kinds of simulated runs share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use turmoil::Sim;

use super::faults::{Faults, LATENCY_MAX, LATENCY_MIN, Order};
use super::invariants::{Invariants, ReplicaView};
use super::panics;
use super::releases::Releases;
use super::trace::Trace;
use crate::scenario::Step;

/// A run that takes longer than this has hung.
const VIRTUAL_TIME_MAX: Duration = Duration::from_secs(3_600);
/// Segments buffered for one simulated connection.
const TCP_CAPACITY: usize = 4_096;
/// Virtual time between two notes of all replicas in the trace.
const NOTE_EVERY_MS: u64 = 100;

/// Shows all replicas of the nodes that are up.
pub(super) type Views = Box<dyn Fn(&Faults) -> Vec<ReplicaView>>;

/// Milliseconds since a run began; ticks with it.
pub(super) type ClockMs = Arc<AtomicU64>;

/// Everything that moves with virtual time.
pub(super) struct World {
    sim: Sim<'static>,
    faults: Faults,
    views: Views,
    clock_ms: ClockMs,
    trace: Trace,
    /// When faults began and ended, ms.
    pub(super) events_ms: Vec<(u64, u64)>,
    pub(super) invariants: Invariants,
    /// Whoever is to be restarted stands there.
    pub(super) releases: Option<Releases>,
}

/// An empty network; everything random in it comes from the seed.
pub(super) fn network(seed: u64) -> Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(VIRTUAL_TIME_MAX)
        .min_message_latency(LATENCY_MIN)
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(TCP_CAPACITY)
        .enable_random_order()
        .build()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    pub(super) fn new(
        sim: Sim<'static>,
        faults: Faults,
        views: Views,
        clock_ms: ClockMs,
        trace: Trace,
    ) -> Self {
        Self {
            sim,
            faults,
            views,
            clock_ms,
            trace,
            events_ms: Vec::new(),
            invariants: Invariants::default(),
            releases: None,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    /// A line of the trace.
    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        self.trace.note(self.now_ms(), what);
    }

    /// Begins a fault now.
    pub(super) fn begin(&mut self, step: &Step) -> Vec<Order> {
        self.faults.begin(&mut self.sim, step)
    }

    /// Ends a fault now.
    pub(super) fn end(&mut self, step: &Step) {
        self.faults.end(&mut self.sim, step);
    }

    /// Carries all steps out, to the end of the last fault.
    pub(super) fn go_wrong(&mut self, steps: &[Step], mut order: impl FnMut(Order)) -> Result<(), String> {
        let began = self.now_ms();
        let mut begins: Vec<(u64, &Step)> = steps.iter().map(|step| (began + ms(step.at), step)).collect();
        begins.sort_by_key(|(at, _)| *at);
        begins.reverse();
        let mut ends: Vec<(u64, &Step)> = Vec::new();
        while !(begins.is_empty() && ends.is_empty()) {
            let now = self.now_ms();
            while let Some((_, step)) = begins.pop_if(|(at, _)| *at <= now) {
                self.trace.note(now, format_args!("begin {}", step.fault));
                self.faults
                    .begin(&mut self.sim, step)
                    .into_iter()
                    .for_each(&mut order);
                self.events_ms.push((now, now + ms(step.lasts)));
                ends.push((now + ms(step.lasts), step));
            }
            if let Some(due) = ends.iter().position(|(at, _)| *at <= now) {
                let (_, step) = ends.remove(due);
                self.trace.note(now, format_args!("end {}", step.fault));
                self.faults.end(&mut self.sim, step);
                continue;
            }
            self.step()?;
        }
        Ok(())
    }

    /// Lets time pass until something is so, at most `limit`.
    pub(super) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        reached: impl Fn(&Invariants) -> bool,
    ) -> Result<(), String> {
        let end = self.now_ms() + ms(limit);
        while !reached(&self.invariants) {
            if self.now_ms() >= end {
                let seen = self.invariants.describe();
                return Err(format!(
                    "waited {} s of virtual time until {what}: {seen}",
                    limit.as_secs()
                ));
            }
            self.step()?;
        }
        self.trace.note(self.now_ms(), format_args!("{what}"));
        Ok(())
    }

    /// One tick of one millisecond, then every invariant.
    fn step(&mut self) -> Result<(), String> {
        self.sim
            .step()
            .map_err(|error| format!("a host ended: {error}"))?;
        self.faults.take_fallen(&mut self.sim)?;
        for node in self.releases.iter().flat_map(Releases::take_restarts) {
            self.faults.restart(&mut self.sim, node);
        }
        let now = self.clock_ms.fetch_add(1, Ordering::Relaxed) + 1;
        if panics::count() > 0 {
            return Err("a task panicked, see above".to_owned());
        }
        for view in (self.views)(&self.faults) {
            if now.is_multiple_of(NOTE_EVERY_MS) {
                self.trace.note(now, format_args!("{view:?}"));
            }
            let (node, shard, term) = (view.node + 1, view.shard, view.term);
            let known = self.invariants.terms_led();
            self.invariants.look(now, view)?;
            if self.invariants.terms_led() > known {
                self.trace
                    .note(now, format_args!("n{node} leads shard {shard} in term {term}"));
            }
        }
        Ok(())
    }
}
