//! One Raft group of three replicas without the rest of a node: log, state, links and elections under the same
//! faults, asked where the replicas are. Finds the reason of a failure faster than a whole cluster.

mod caller;
mod node;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spine_storage::disk::SimDisk;
use turmoil::Sim;

use super::faults::{CutPower, Faults, LATENCY_MAX, LATENCY_MIN};
use super::invariants::{Invariants, ReplicaView};
use super::net::{SimNet, Wires};
use super::plan::{Plan, Step};
use super::trace::Trace;
use super::{SimOptions, SimReport, panics};
use crate::checkers::durability::Replica;
use crate::checkers::linearizability::Limits;
use crate::checkers::{FinalState, Report, check};
use crate::history::Recorder;
use crate::oracle::Oracle;
use node::{GroupNode, Slot};

const NODES: usize = 3;
const PEER_PORT: u16 = 7501;
/// The group must answer within this, at first and after the faults.
const SERVE_TIME: Duration = Duration::from_secs(20);
const EQUAL_TIME: Duration = Duration::from_secs(20);
const NOTE_EVERY_MS: u64 = 100;

/// Runs one seed; the numbers of nodes, shards and clients are fixed here.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    panics::watch();
    let seed = options.seed;
    spine_consensus::seed_this_thread(seed);
    let trace = Trace::new(options.keep_trace);
    let plan = Plan::of(seed, NODES, options.fault_time, options.focus);
    for step in &plan.steps {
        trace.note(0, format_args!("plan {step}"));
    }
    let mut stage = Stage::new(seed, trace.clone());
    let ended = stage.play(&plan);
    for operation in stage.recorder.operations() {
        trace.note(operation.invoked_ns / 1_000_000, format_args!("{operation:?}"));
    }
    let problem = match &ended {
        Ok(report) => report.violations.first().map(ToString::to_string),
        Err(problem) => Some(problem.clone()),
    };
    SimReport {
        seed,
        hash: trace.hash(),
        virtual_ms: stage.now_ms(),
        faults: plan.steps.len(),
        terms: stage.invariants.terms_led(),
        report: ended.ok(),
        problem,
        lines: trace.take_lines(),
    }
}

struct Stage {
    sim: Sim<'static>,
    faults: Faults,
    slots: Vec<Rc<RefCell<Slot>>>,
    invariants: Invariants,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    clock_ms: Arc<AtomicU64>,
    trace: Trace,
}

impl Stage {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(LATENCY_MIN)
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(4_096)
            .enable_random_order()
            .build();
        let wires = Wires::default();
        let names: Vec<String> = (1..=NODES).map(|node| format!("n{node}")).collect();
        let peers: Vec<String> = names
            .iter()
            .map(|name| format!("{}:{PEER_PORT}", sim.lookup(&**name)))
            .collect();
        let clock_ms = Arc::new(AtomicU64::new(0));
        let clock = clock_ms.clone();
        let recorder = Recorder::new(Arc::new(move || clock.load(Ordering::Relaxed) * 1_000_000));
        let stop = Arc::new(AtomicBool::new(false));
        let mut slots = Vec::new();
        let mut power: Vec<CutPower> = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let disk = SimDisk::new(seed.wrapping_mul(31).wrapping_add(number as u64));
            let slot = Rc::new(RefCell::new(Slot::default()));
            slots.push(slot.clone());
            let net = SimNet {
                wires: wires.clone(),
                own: sim.lookup(&**name),
            };
            let host = GroupNode {
                number,
                seed,
                disk: disk.clone(),
                net,
                peers: peers.clone(),
                slot,
                recorder: recorder.clone(),
                stop: stop.clone(),
            };
            sim.host(&**name, move || host.clone().run());
            power.push(Rc::new(move |whole| {
                if whole {
                    disk.power_cut()
                } else {
                    disk.process_crash()
                }
            }));
        }
        let faults = Faults::new(wires, power, names, Vec::new());
        Self {
            sim,
            faults,
            slots,
            invariants: Invariants::default(),
            recorder,
            stop,
            clock_ms,
            trace,
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    fn play(&mut self, plan: &Plan) -> Result<Report, String> {
        self.serves("at first")?;
        self.go_wrong(plan)?;
        self.serves("after the faults")?;
        self.stop.store(true, Ordering::Relaxed);
        let end = self.now_ms() + 6_000;
        while self.now_ms() < end {
            self.step()?;
        }
        self.until(EQUAL_TIME, "all replicas are equal", |stage| {
            stage.invariants.all_equal(NODES)
        })?;
        let operations = self.recorder.operations();
        let oracle = Oracle::of(&operations);
        let replicas: Vec<Replica> = self
            .slots
            .iter()
            .enumerate()
            .map(|(node, slot)| caller::replica(node, slot, &oracle))
            .collect();
        let limits = Limits {
            configurations: 1_000_000,
            time: Duration::from_secs(60),
        };
        let last = FinalState { replicas };
        Ok(check(&operations, Some(&last), self.invariants.digests(), limits))
    }

    fn serves(&mut self, when: &str) -> Result<(), String> {
        let began = self
            .recorder
            .operations()
            .iter()
            .filter(|operation| operation.seen().is_some())
            .count();
        self.until(SERVE_TIME, &format!("calls are answered {when}"), |stage| {
            let now = stage
                .recorder
                .operations()
                .iter()
                .filter(|call| call.seen().is_some())
                .count();
            now >= began + 20
        })
    }

    fn go_wrong(&mut self, plan: &Plan) -> Result<(), String> {
        let began = self.now_ms();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut begins: Vec<(u64, &Step)> = plan
            .steps
            .iter()
            .map(|step| (began + ms(step.at), step))
            .collect();
        begins.reverse();
        let mut ends: Vec<(u64, &Step)> = Vec::new();
        while !(begins.is_empty() && ends.is_empty()) {
            let now = self.now_ms();
            while let Some((_, step)) = begins.pop_if(|(at, _)| *at <= now) {
                self.trace.note(now, format_args!("begin {:?}", step.fault));
                self.faults.begin(&mut self.sim, step);
                ends.push((now + ms(step.lasts), step));
            }
            if let Some(due) = ends.iter().position(|(at, _)| *at <= now) {
                let (_, step) = ends.remove(due);
                self.trace.note(now, format_args!("end {:?}", step.fault));
                self.faults.end(&mut self.sim, step);
                continue;
            }
            self.step()?;
        }
        Ok(())
    }

    fn until(&mut self, limit: Duration, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = self.now_ms() + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        while !(self.now_ms().is_multiple_of(20) && reached(self)) {
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

    fn step(&mut self) -> Result<(), String> {
        self.sim
            .step()
            .map_err(|error| format!("a host ended: {error}"))?;
        let now = self.clock_ms.fetch_add(1, Ordering::Relaxed) + 1;
        if panics::count() > 0 {
            return Err("a task panicked, see above".to_owned());
        }
        let up: Vec<ReplicaView> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(node, _)| self.faults.is_up(*node))
            .filter_map(|(node, slot)| slot.borrow().view(node))
            .collect();
        for view in up {
            if now.is_multiple_of(NOTE_EVERY_MS) {
                self.trace.note(now, format_args!("{view:?}"));
            }
            self.invariants.look(view)?;
        }
        Ok(())
    }
}
