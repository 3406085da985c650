//! One run of one seed: faults, then healing, then every check.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spine_node::version::Release;
use turmoil::Sim;

use super::clients::Callers;
use super::cluster::{Nodes, Settings};
use super::faults::{Faults, Targets};
use super::members;
use super::net::Wires;
use super::operator::{Addresses, Desk};
use super::options::SimOptions;
use super::releases::{self, Releases};
use super::report::{Plan, SimReport, finish};
use super::rolls::Rolls;
use super::supports::supports;
use super::thread::alone;
use super::trace::Trace;
use super::world::{World, network};
use crate::checkers::linearizability::Limits;
use crate::checkers::{FinalState, Report, check};
use crate::domain::DomainReport;
use crate::history::Recorder;
use crate::scenario::Fault;
use crate::workload::seeded;

/// Ports of every simulated node.
const GRPC_PORT: u16 = 7401;
const PEER_PORT: u16 = 7501;
const ADMIN_PORT: u16 = 7601;
/// The cluster must be made and serve within this.
const START_TIME: Duration = Duration::from_secs(20);
/// After the last fault the cluster must serve every shard within this.
const HEAL_TIME: Duration = Duration::from_secs(30);
/// Every replica must be where it is to be within this.
const SETTLE_TIME: Duration = Duration::from_secs(60);
/// Then all replicas must be equal within this.
const EQUAL_TIME: Duration = Duration::from_secs(20);
/// Applications look at all that they have written before that.
const APPLICATIONS_TIME: Duration = Duration::from_secs(120);
/// Calls made before the first fault.
const CALLS_AT_FIRST: usize = 20;

/// Runs one seed to its end: whole nodes, asked by the client library.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    alone(options, run_here)
}

fn run_here(options: &SimOptions) -> SimReport {
    let trace = Trace::new(options.keep_trace);
    let plan = Plan::of(&options.scenario(), supports);
    plan.note(&trace);
    let mut stage = Stage::new(options, trace.clone());
    let ended = stage.play(|stage| {
        let desk = stage.desk.clone();
        if options.restless {
            let orders = members::draw(options.seed, options.nodes, options.fault_time);
            desk.borrow_mut().orders.extend(orders);
        }
        stage.world.go_wrong(&plan.scenario.steps, |order| {
            desk.borrow_mut().orders.push_back(order);
        })
    });
    finish(&plan, ended, &stage.world, &stage.recorder, &trace)
}

/// Where the nodes listen at a port.
fn at(sim: &Sim<'_>, nodes: &[String], port: u16) -> Vec<String> {
    let address = |node: &String| format!("{}:{port}", sim.lookup(&**node));
    nodes.iter().map(address).collect()
}

/// Everything of one run.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) machines: Rc<Nodes>,
    pub(super) rolls: Rc<RefCell<Rolls>>,
    pub(super) nodes: usize,
    pub(super) desk: Rc<RefCell<Desk>>,
    pub(super) recorder: Recorder,
    /// What the applications found, once they have ended.
    applications: Rc<RefCell<Option<DomainReport>>>,
    keeps_patients: bool,
    stop: Arc<AtomicBool>,
    /// Hosts of clients that have made their last call.
    done: Rc<Cell<usize>>,
    clients: usize,
}

impl Stage {
    pub(super) fn new(options: &SimOptions, trace: Trace) -> Self {
        let mut sim = network(options.seed);
        let wires = Wires::default();
        let clock_ms = Arc::new(AtomicU64::new(0));
        let names: Vec<String> = (1..=options.nodes).map(|node| format!("n{node}")).collect();
        let addresses = Addresses {
            grpc: at(&sim, &names, GRPC_PORT),
            peer: at(&sim, &names, PEER_PORT),
        };
        let known = releases::three();
        let first = if options.rolls {
            known[0].clone()
        } else {
            Release::this()
        };
        let releases = Releases::all(options.nodes, &first);
        let settings = Settings {
            seed: options.seed,
            grpc: addresses.grpc.clone(),
            peer: addresses.peer.clone(),
            admin: at(&sim, &names, ADMIN_PORT),
            releases: releases.clone(),
            verify_every: options.verify_every,
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
        let mut clients = vec![callers.clients(&mut sim)];
        let storm = Rc::new(Cell::new(0));
        let scenario = options.scenario();
        // A host more would change every other run of the seed.
        if scenario
            .steps
            .iter()
            .any(|step| matches!(step.fault, Fault::ClientStorm(_)))
        {
            clients.push(callers.storm(&mut sim, &storm));
        }
        let applications = Rc::new(RefCell::new(None));
        if options.patients {
            clients.push(callers.applications(&mut sim, &applications));
        }
        let rolls = Rc::new(RefCell::new(Rolls::default()));
        if options.rolls {
            callers.roller(&mut sim, &rolls, &releases, known);
        }
        let last_calls = clients.len();
        let faults = Faults::new(Targets {
            wires,
            disks: nodes.disks(),
            clock_errors: nodes.clock_errors(),
            nodes: names,
            clients,
            fallen: nodes.fallen(),
            storm,
            random: seeded(options.seed, "faults"),
        });
        let machines = Rc::new(nodes);
        let seen = Rc::clone(&machines);
        let restless = options.restless;
        let views = Box::new(move |faults: &Faults| {
            let is_out = |node| restless && members::is_removed(&seen, node);
            seen.views(|node| faults.is_up(node) && !is_out(node))
        });
        let mut world = World::new(sim, faults, views, clock_ms, trace);
        world.releases = Some(releases);
        Self {
            world,
            machines,
            rolls,
            nodes: options.nodes,
            desk,
            recorder,
            applications,
            keeps_patients: options.patients,
            stop,
            done,
            clients: last_calls,
        }
    }

    pub(super) fn play(
        &mut self,
        go_wrong: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<Report, String> {
        let (desk, recorder) = (self.desk.clone(), self.recorder.clone());
        self.world
            .until(START_TIME, "the cluster is made", |_| desk.borrow().initialised)?;
        self.world
            .until(START_TIME, "clients call", |_| recorder.len() > CALLS_AT_FIRST)?;
        go_wrong(self)?;
        desk.borrow_mut().probe = true;
        let what = "every shard serves after the faults";
        self.world
            .until(HEAL_TIME, what, |_| desk.borrow().probed.is_some())?;
        if let Some(Err(problem)) = &desk.borrow().probed {
            return Err(format!(
                "not healed: {problem}; {}",
                self.world.invariants.describe()
            ));
        }
        let machines = Rc::clone(&self.machines);
        self.world.until(SETTLE_TIME, "no replica moves any more", |_| {
            desk.borrow().orders.is_empty() && members::is_settled(&machines)
        })?;
        self.stop.store(true, Ordering::Relaxed);
        let (done, clients, nodes) = (self.done.clone(), self.clients, self.nodes);
        if self.keeps_patients {
            let ended = done.clone();
            self.world
                .until(APPLICATIONS_TIME, "applications have looked", |_| {
                    ended.get() == clients
                })?;
        }
        self.world
            .until(EQUAL_TIME, "all replicas are equal", |invariants| {
                done.get() == clients && invariants.all_equal(nodes)
            })?;
        let is_gone = |node: &usize| members::is_removed(&self.machines, *node);
        desk.borrow_mut().gone = (0..nodes).filter(is_gone).collect();
        desk.borrow_mut().read = true;
        self.world.until(EQUAL_TIME, "all replicas are read", |_| {
            desk.borrow().replicas.is_some()
        })?;
        let replicas = desk
            .borrow_mut()
            .replicas
            .take()
            .unwrap_or_else(|| Ok(Vec::new()))?;
        let last = FinalState { replicas };
        self.check_applications()?;
        Ok(check(
            &recorder.operations(),
            Some(&last),
            self.world.invariants.digests(),
            Limits::default(),
        ))
    }

    fn check_applications(&self) -> Result<(), String> {
        let Some(report) = self.applications.borrow_mut().take() else {
            return Ok(());
        };
        self.world.note(format_args!("{report:?}"));
        match report.violations.first() {
            Some(violation) => Err(violation.to_string()),
            None if report.claims * report.newcomers * report.updates == 0 => {
                Err(format!("an application did nothing: {report:?}"))
            }
            None => Ok(()),
        }
    }
}
