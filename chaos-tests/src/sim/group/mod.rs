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

use super::faults::{Faults, Targets};
use super::moves::Moves;
use super::net::{SimNet, Wires};
use super::report::{Plan, finish};
use super::supports::supports_group;
use super::thread::alone;
use super::trace::Trace;
use super::world::{World, network};
use super::{SimOptions, SimReport};
use crate::checkers::durability::Replica;
use crate::checkers::linearizability::Limits;
use crate::checkers::{FinalState, Report, check};
use crate::history::Recorder;
use crate::oracle::Oracle;
use crate::workload::seeded;
use node::{GroupNode, Slot};

/// Nodes of every run.
pub const NODES: usize = 3;
const PEER_PORT: u16 = 7501;
/// The group must answer within this, at first and after the faults.
const SERVE_TIME: Duration = Duration::from_secs(20);
const EQUAL_TIME: Duration = Duration::from_secs(20);
/// Answers that show that the group serves.
const ANSWERS: usize = 20;

/// Runs one seed; the numbers of nodes, shards and clients are fixed here.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    alone(options, run_here)
}

fn run_here(options: &SimOptions) -> SimReport {
    let trace = Trace::new(options.keep_trace);
    let options = SimOptions {
        nodes: NODES,
        ..options.clone()
    };
    let plan = Plan::of(&options.scenario(), supports_group);
    plan.note(&trace);
    let mut stage = Stage::new(options.seed, trace.clone());
    let ended = stage.play(&plan);
    SimReport {
        moves: stage.moves(),
        ..finish(&plan, ended, &stage.world, &stage.recorder, &trace)
    }
}

struct Stage {
    world: World,
    slots: Vec<Rc<RefCell<Slot>>>,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
}

impl Stage {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut sim = network(seed);
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
        let mut disks = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let disk = SimDisk::new(seed.wrapping_mul(31).wrapping_add(number as u64));
            let slot = Rc::new(RefCell::new(Slot::default()));
            slots.push(slot.clone());
            let host = GroupNode {
                number,
                seed,
                disk: disk.clone(),
                net: SimNet {
                    wires: wires.clone(),
                    own: sim.lookup(&**name),
                },
                peers: peers.clone(),
                slot,
                recorder: recorder.clone(),
                stop: stop.clone(),
                clock_ms: clock_ms.clone(),
                trace: trace.clone(),
            };
            sim.host(&**name, move || host.clone().run());
            disks.push(disk);
        }
        let faults = Faults::new(Targets {
            wires,
            disks,
            clock_errors: Vec::new(),
            nodes: names,
            clients: Vec::new(),
            fallen: Rc::default(),
            storm: Rc::default(),
            random: seeded(seed, "faults"),
        });
        let seen = slots.clone();
        let views = Box::new(move |faults: &Faults| {
            let up = seen.iter().enumerate().filter(|(node, _)| faults.is_up(*node));
            up.filter_map(|(node, slot)| slot.borrow().view(node)).collect()
        });
        Self {
            world: World::new(sim, faults, views, clock_ms, trace),
            slots,
            recorder,
            stop,
        }
    }

    fn play(&mut self, plan: &Plan) -> Result<Report, String> {
        self.serves("calls are answered at first")?;
        // Nobody here carries out an operator's orders; each node purges by itself now and then.
        self.world.go_wrong(&plan.scenario.steps, drop)?;
        self.serves("calls are answered after the faults")?;
        self.stop.store(true, Ordering::Relaxed);
        let slots = self.slots.clone();
        self.world
            .until(EQUAL_TIME, "all replicas are equal", |invariants| {
                slots.iter().all(|slot| slot.borrow().calls.get() == 0) && invariants.all_equal(NODES)
            })?;
        let operations = self.recorder.operations();
        let oracle = Oracle::of(&operations);
        let replicas: Vec<Replica> = self
            .slots
            .iter()
            .enumerate()
            .map(|(node, slot)| caller::replica(node, slot, &oracle))
            .collect();
        let last = FinalState { replicas };
        Ok(check(
            &operations,
            Some(&last),
            self.world.invariants.digests(),
            Limits::default(),
        ))
    }

    /// The first leader is no move.
    fn moves(&self) -> Moves {
        let new = self.world.invariants.led_since_ms().get(1..).unwrap_or_default();
        let slots = self.slots.iter().map(|slot| slot.borrow());
        let offered: Vec<u64> = slots.flat_map(|slot| slot.offered_ms.clone()).collect();
        Moves::count(new, &offered, &self.world.events_ms)
    }

    fn serves(&mut self, what: &str) -> Result<(), String> {
        let recorder = self.recorder.clone();
        let began = recorder.answered();
        self.world
            .until(SERVE_TIME, what, |_| recorder.answered() >= began + ANSWERS)
    }
}
