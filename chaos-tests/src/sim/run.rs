//! One run of one seed: faults, then healing, then every check.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use turmoil::Sim;

use super::clients::Callers;
use super::cluster::{Nodes, Settings};
use super::faults::{Faults, LATENCY_MAX, LATENCY_MIN};
use super::invariants::Invariants;
use super::net::Wires;
use super::operator::{Addresses, Desk};
use super::options::SimOptions;
use super::panics;
use super::plan::{Plan, Step};
use super::trace::Trace;
use crate::checkers::linearizability::Limits;
use crate::checkers::{FinalState, Report, check};
use crate::history::{Operation, Recorder};

/// Ports of every simulated node.
const GRPC_PORT: u16 = 7401;
const PEER_PORT: u16 = 7501;
const ADMIN_PORT: u16 = 7601;
/// The cluster must be made and serve within this.
const START_TIME: Duration = Duration::from_secs(20);
/// After the last fault the cluster must serve every shard within this.
const HEAL_TIME: Duration = Duration::from_secs(30);
/// Then all replicas must be equal within this.
const EQUAL_TIME: Duration = Duration::from_secs(20);
/// Segments buffered for one simulated connection.
const TCP_CAPACITY: usize = 4_096;
/// Virtual time between two notes of all replicas in the trace.
const NOTE_EVERY_MS: u64 = 100;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct SimReport {
    pub seed: u64,
    /// Of everything observable; equal for every run of a seed.
    pub hash: String,
    pub virtual_ms: u64,
    pub faults: usize,
    pub terms: usize,
    pub report: Option<Report>,
    /// Why the run failed; none = it passed.
    pub problem: Option<String>,
    #[serde(skip)]
    pub lines: Vec<String>,
}

impl SimReport {
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problem.is_none()
    }
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operations, acknowledged) = self
            .report
            .as_ref()
            .map_or((0, 0), |report| (report.operations, report.acknowledged));
        write!(
            f,
            "seed {} hash {} {} ms virtual, {} faults, {} terms, {operations} calls, {acknowledged} acknowledged: {}",
            self.seed,
            self.hash,
            self.virtual_ms,
            self.faults,
            self.terms,
            self.problem.as_deref().unwrap_or("passed")
        )
    }
}

/// Runs one seed to its end.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    panics::watch();
    spine_consensus::seed_this_thread(options.seed);
    let trace = Trace::new(options.keep_trace);
    let plan = Plan::of(options.seed, options.nodes, options.fault_time, options.focus);
    for step in &plan.steps {
        trace.note(0, format_args!("plan {step}"));
    }
    let mut stage = Stage::new(options, trace.clone());
    let ended = stage.play(&plan);
    let problem = match &ended {
        Ok(report) => report.violations.first().map(ToString::to_string),
        Err(problem) => Some(problem.clone()),
    };
    stage.note_history();
    if let Some(problem) = &problem {
        trace.note(stage.now_ms(), format_args!("FAILED {problem}"));
    }
    SimReport {
        seed: options.seed,
        hash: trace.hash(),
        virtual_ms: stage.now_ms(),
        faults: plan.steps.len(),
        terms: stage.invariants.terms_led(),
        report: ended.ok(),
        problem,
        lines: trace.take_lines(),
    }
}

/// Everything of one run.
struct Stage {
    sim: Sim<'static>,
    nodes: Nodes,
    faults: Faults,
    invariants: Invariants,
    desk: Rc<RefCell<Desk>>,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    done: Rc<Cell<usize>>,
    clients: usize,
    clock_ms: Arc<AtomicU64>,
    trace: Trace,
}

impl Stage {
    fn new(options: &SimOptions, trace: Trace) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(options.seed)
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(LATENCY_MIN)
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(TCP_CAPACITY)
            .enable_random_order()
            .build();
        let wires = Wires::default();
        let clock_ms = Arc::new(AtomicU64::new(0));
        let names: Vec<String> = (1..=options.nodes).map(|node| format!("n{node}")).collect();
        let at = |sim: &Sim<'_>, port: u16| {
            names
                .iter()
                .map(|name| format!("{}:{port}", sim.lookup(&**name)))
                .collect::<Vec<_>>()
        };
        let addresses = Addresses {
            grpc: at(&sim, GRPC_PORT),
            peer: at(&sim, PEER_PORT),
        };
        let settings = Settings {
            seed: options.seed,
            grpc: addresses.grpc.clone(),
            peer: addresses.peer.clone(),
            admin: at(&sim, ADMIN_PORT),
        };
        let nodes = Nodes::start(&mut sim, &names, &settings, &wires, &clock_ms);
        let clock = clock_ms.clone();
        let recorder = Recorder::new(Arc::new(move || clock.load(Ordering::Relaxed) * 1_000_000));
        let desk = Rc::new(RefCell::new(Desk::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let done = Rc::new(Cell::new(0));
        let callers = Callers {
            options,
            addresses: &addresses,
            wires: &wires,
            recorder: &recorder,
            desk: &desk,
            stop: &stop,
            done: &done,
        };
        // The operator's orders must arrive whatever clients can reach, so faults do not know it.
        callers.operator(&mut sim);
        let clients = (0..options.clients)
            .map(|number| callers.client(&mut sim, number))
            .collect();
        let faults = Faults::new(wires, nodes.power(), names, clients);
        let invariants = Invariants::default();
        Self {
            sim,
            nodes,
            faults,
            invariants,
            desk,
            recorder,
            stop,
            done,
            clients: options.clients,
            clock_ms,
            trace,
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    fn play(&mut self, plan: &Plan) -> Result<Report, String> {
        self.until(START_TIME, "the cluster is made", |stage| {
            stage.desk.borrow().initialised
        })?;
        self.until(START_TIME, "clients are answered", |stage| {
            stage.recorder.len() > 20
        })?;
        self.go_wrong(plan)?;
        self.desk.borrow_mut().probe = true;
        self.until(HEAL_TIME, "every shard serves after the faults", |stage| {
            stage.desk.borrow().probed.is_some()
        })?;
        if let Some(Err(problem)) = self.desk.borrow().probed.clone() {
            return Err(format!("not healed: {problem}; {}", self.invariants.describe()));
        }
        self.stop.store(true, Ordering::Relaxed);
        self.until(EQUAL_TIME, "all replicas are equal", |stage| {
            stage.done.get() == stage.clients && stage.invariants.all_equal(stage.nodes.len())
        })?;
        self.desk.borrow_mut().read = true;
        self.until(EQUAL_TIME, "all replicas are read", |stage| {
            stage.desk.borrow().replicas.is_some()
        })?;
        let replicas = self
            .desk
            .borrow_mut()
            .replicas
            .take()
            .unwrap_or_else(|| Ok(Vec::new()))?;
        let limits = Limits {
            configurations: 1_000_000,
            time: Duration::from_secs(60),
        };
        let last = FinalState { replicas };
        Ok(check(
            &self.recorder.operations(),
            Some(&last),
            self.invariants.digests(),
            limits,
        ))
    }

    /// Carries the plan out to the end of its last fault.
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
                let orders = self.faults.begin(&mut self.sim, step);
                self.desk.borrow_mut().orders.extend(orders);
                ends.push((now + ms(step.lasts), step));
            }
            let due = ends.iter().position(|(at, _)| *at <= now);
            if let Some(due) = due {
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
        let began = self.now_ms();
        let end = began + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        while !reached(self) {
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
        let now = self.clock_ms.fetch_add(1, Ordering::Relaxed) + 1;
        if panics::count() > 0 {
            return Err("a task panicked, see above".to_owned());
        }
        for view in self.nodes.views(|node| self.faults.is_up(node)) {
            if now.is_multiple_of(NOTE_EVERY_MS) {
                self.trace.note(now, format_args!("{view:?}"));
            }
            self.invariants.look(view)?;
        }
        Ok(())
    }

    /// The history belongs to what must repeat.
    fn note_history(&self) {
        for operation in self.recorder.operations() {
            let Operation {
                id,
                client,
                key,
                action,
                outcome,
                invoked,
                returned,
                ..
            } = &operation;
            let at = operation.invoked_ns / 1_000_000;
            self.trace.note(
                at,
                format_args!(
                    "call {id} client {} {key} {action:?} -> {outcome:?} ({invoked}..{returned:?})",
                    client.0
                ),
            );
        }
    }
}
