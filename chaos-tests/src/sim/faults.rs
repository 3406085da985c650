//! Carries a scenario out: crashes, cuts and mends, with overlapping faults counted.

mod disks;
mod links;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use spine_storage::disk::SimDisk;
use turmoil::Sim;

use super::cluster::ClockErrors;
use super::members::MembersOrder;
use super::net::Wires;
use crate::scenario::{Fault, Node, Step};

/// Latency of messages while nothing is slow.
pub(super) const LATENCY_MIN: Duration = Duration::from_millis(1);
pub(super) const LATENCY_MAX: Duration = Duration::from_millis(4);

/// What the operator's host must do for a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Checkpoint and purge every shard on this node.
    Compact(Node),
    /// Change the cluster.
    Members(MembersOrder),
}

/// Nodes that ended by themselves, and why; their hosts put it here.
pub(super) type Fallen = Rc<RefCell<Vec<(Node, String)>>>;

/// What faults act on.
pub(super) struct Targets {
    pub(super) wires: Wires,
    pub(super) disks: Vec<SimDisk>,
    /// Empty where nodes have no clocks.
    pub(super) clock_errors: ClockErrors,
    pub(super) nodes: Vec<String>,
    pub(super) clients: Vec<String>,
    pub(super) fallen: Fallen,
    /// How many further clients there are to be.
    pub(super) storm: Rc<Cell<u32>>,
    /// What else is drawn.
    pub(super) random: ChaCha8Rng,
}

/// The state of everything that can be broken.
pub(super) struct Faults {
    targets: Targets,
    /// How many faults keep a node down.
    down: Vec<u32>,
    /// How many faults cut a directed pair.
    cut: BTreeMap<(String, String), u32>,
    /// How many faults forge a node's end.
    forged: Vec<u32>,
    /// How many faults stall a node's disk.
    stalled: Vec<u32>,
    /// How many faults fill a node's disk.
    full: Vec<u32>,
    /// How many faults let a node's sync fail.
    failing: Vec<u32>,
    /// A node that ended by itself because of its disk is down until that is whole.
    fell: Vec<bool>,
    /// How many faults lose a node's answers.
    lost: Vec<u32>,
    /// By how much faults delay a node's answers, together.
    late: Vec<Duration>,
    /// Latencies that go on.
    slow: Vec<Duration>,
    /// How many faults hold a pair, by sorted names.
    held: BTreeMap<(String, String), u32>,
}

impl Faults {
    pub(super) fn new(targets: Targets) -> Self {
        let count = targets.nodes.len();
        let none = vec![0; count];
        Self {
            targets,
            down: none.clone(),
            forged: none.clone(),
            stalled: none.clone(),
            full: none.clone(),
            failing: none.clone(),
            fell: vec![false; count],
            lost: none,
            late: vec![Duration::ZERO; count],
            slow: Vec::new(),
            cut: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// True if no fault keeps this node down.
    pub(super) fn is_up(&self, node: Node) -> bool {
        self.down[node] == 0
    }

    /// Begins a fault; what the operator must do for it.
    pub(super) fn begin(&mut self, sim: &mut Sim<'_>, begun: &Step) -> Vec<Order> {
        self.change(sim, &begun.fault, true);
        match begun.fault {
            Fault::PurgeWhileDown(down) => {
                let others = (0..self.targets.nodes.len()).filter(|node| *node != down);
                others.map(Order::Compact).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn end(&mut self, sim: &mut Sim<'_>, ended: &Step) {
        self.change(sim, &ended.fault, false);
    }

    /// One fault more, or one less.
    fn change(&mut self, sim: &mut Sim<'_>, fault: &Fault, more: bool) {
        match fault {
            Fault::Kill(nodes) => self.down(sim, nodes, false, more),
            Fault::PowerCut(nodes) => self.down(sim, nodes, true, more),
            Fault::PurgeWhileDown(down) => self.down(sim, &[*down], false, more),
            Fault::Isolate(side) => self.each_crossing(side, |faults, a, b| {
                faults.count_cut(sim, a, b, more);
                faults.count_cut(sim, b, a, more);
            }),
            Fault::OneWay(from, to) => {
                let (from, to) = (self.targets.nodes[*from].clone(), self.targets.nodes[*to].clone());
                self.count_cut(sim, &from, &to, more);
            }
            Fault::Bridge(node) => {
                self.each_far_side(*node, |faults, a, b| faults.count_cut(sim, a, b, more));
            }
            Fault::Hold(side) => self.each_crossing(side, |faults, a, b| faults.count_hold(sim, a, b, more)),
            Fault::Reset(one, other) if more => {
                let (one, other) = (
                    sim.lookup(&*self.targets.nodes[*one]),
                    sim.lookup(&*self.targets.nodes[*other]),
                );
                self.targets.wires.reset(one, other);
            }
            Fault::HideFromClients(node) => self.each_client(*node, |faults, a, b| {
                faults.count_cut(sim, a, b, more);
                faults.count_cut(sim, b, a, more);
            }),
            Fault::LostReplies(node) => {
                step(&mut self.lost[*node], more);
                self.answers(sim, *node);
            }
            Fault::LateReplies(node, by) => {
                let late = &mut self.late[*node];
                *late = if more {
                    *late + *by
                } else {
                    late.saturating_sub(*by)
                };
                self.answers(sim, *node);
            }
            Fault::Slow(latency) => self.slow(sim, *latency, more),
            Fault::Forge(node) => self.forge(sim, *node, more),
            Fault::DiskStall(node) => self.stall(*node, more),
            Fault::Pause(nodes) => {
                for node in nodes {
                    self.each_other(*node, |faults, a, b| faults.count_hold(sim, a, b, more));
                    self.stall(*node, more);
                }
            }
            Fault::DiskFull(node) => self.fill(sim, *node, more),
            Fault::FsyncFails(node) => self.fail_sync(sim, *node, more),
            Fault::CorruptState(node) => {
                self.down(sim, &[*node], false, more);
                if more {
                    self.corrupt(*node);
                }
            }
            Fault::ClientStorm(clients) => {
                let storm = &self.targets.storm;
                let now = storm.get();
                storm.set(if more {
                    now + clients
                } else {
                    now.saturating_sub(*clients)
                });
            }
            Fault::ClockJump(node, ms) => {
                self.move_clock(*node, if more { *ms } else { ms.saturating_neg() });
            }
            // What is left is over at once, or is kept out by `supports`.
            _ => {}
        }
    }

    /// A clock that was wrong is set right at the end.
    fn move_clock(&self, node: Node, ms: i64) {
        if let Some(error_ms) = self.targets.clock_errors.get(node) {
            error_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    fn down(&mut self, sim: &mut Sim<'_>, nodes: &[Node], power: bool, more: bool) {
        if more {
            self.take_down(sim, nodes, power);
        } else {
            self.bring_up(sim, nodes, power);
        }
    }

    /// Its process is killed and started again, unless something keeps it down: then it is started later.
    pub(super) fn restart(&mut self, sim: &mut Sim<'_>, node: Node) {
        if self.down[node] == 0 {
            self.take_down(sim, &[node], false);
            self.bring_up(sim, &[node], false);
        }
    }

    /// A killed process's kernel closes its connections; a machine without power says nothing.
    fn take_down(&mut self, sim: &mut Sim<'_>, nodes: &[Node], power: bool) {
        for &node in nodes {
            if power {
                self.each_other(node, |faults, a, b| {
                    faults.count_cut(sim, a, b, true);
                    faults.count_cut(sim, b, a, true);
                });
            }
            if self.down[node] == 0 {
                sim.crash(&*self.targets.nodes[node]);
            }
            self.down[node] += 1;
            if power {
                self.targets.disks[node].power_cut();
                // What stalls it is not its power.
                self.targets.disks[node].stall(self.stalled[node] > 0);
            } else {
                self.targets.disks[node].process_crash();
            }
        }
    }

    fn bring_up(&mut self, sim: &mut Sim<'_>, nodes: &[Node], power: bool) {
        for &node in nodes {
            if power {
                self.each_other(node, |faults, a, b| {
                    faults.count_cut(sim, a, b, false);
                    faults.count_cut(sim, b, a, false);
                });
            }
            self.down[node] = self.down[node].saturating_sub(1);
            if self.down[node] == 0 {
                sim.bounce(&*self.targets.nodes[node]);
            }
        }
    }
}

/// One more or one less.
fn step(count: &mut u32, more: bool) -> u32 {
    *count = if more { *count + 1 } else { count.saturating_sub(1) };
    *count
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
