//! Carries a plan out: crashes, cuts and mends, with overlapping faults counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use spine_storage::disk::SimDisk;
use turmoil::Sim;

use super::cluster::ClockErrors;
use super::damage::damage;
use super::net::{Flow, Wires};
use crate::scenario::{Fault, Node, Step};

/// Latency of messages while nothing is slow.
pub(super) const LATENCY_MIN: Duration = Duration::from_millis(1);
pub(super) const LATENCY_MAX: Duration = Duration::from_millis(4);

/// What the operator's host must do for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Checkpoint and purge every shard on this node.
    Compact(Node),
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

    fn each_crossing(&mut self, side: &[Node], mut act: impl FnMut(&mut Self, &str, &str)) {
        let (nodes, clients) = (self.targets.nodes.clone(), self.targets.clients.clone());
        for inside in side {
            let others = (0..nodes.len())
                .filter(|node| !side.contains(node))
                .map(|node| &nodes[node]);
            // Clients stay with the larger side, as most would.
            let clients = clients.iter().filter(|_| side.len() * 2 < nodes.len());
            for outside in others.chain(clients) {
                act(self, &nodes[*inside], outside);
            }
        }
    }

    /// A node that lives looks dead from outside, as long as any fault says so.
    fn forge(&mut self, sim: &Sim<'_>, node: Node, more: bool) {
        let refusing = step(&mut self.forged[node], more) > 0;
        let own = sim.lookup(&*self.targets.nodes[node]);
        self.targets.wires.set_refusing(own, refusing);
        if more {
            for other in self
                .targets
                .nodes
                .iter()
                .filter(|other| **other != self.targets.nodes[node])
            {
                self.targets.wires.reset(own, sim.lookup(&**other));
            }
        }
    }

    fn stall(&mut self, node: Node, more: bool) {
        let stalled = step(&mut self.stalled[node], more) > 0;
        self.targets.disks[node].stall(stalled);
    }

    /// What is there stays, and nothing more has room.
    fn fill(&mut self, sim: &mut Sim<'_>, node: Node, more: bool) {
        let count = step(&mut self.full[node], more);
        let disk = &self.targets.disks[node];
        match (count, more) {
            (1, true) => disk.fill(Some(disk.used_bytes())),
            (0, false) => disk.fill(None),
            _ => {}
        }
        self.rise(sim, node);
    }

    fn fail_sync(&mut self, sim: &mut Sim<'_>, node: Node, more: bool) {
        let count = step(&mut self.failing[node], more);
        match (count, more) {
            (_, true) => self.targets.disks[node].fail_next_sync(None),
            (0, false) => self.targets.disks[node].cancel_failing_sync(),
            _ => {}
        }
        self.rise(sim, node);
    }

    /// A node's host has ended. With a troubled disk it may, as a process that cannot go on does.
    ///
    /// # Errors
    /// It had no reason to.
    pub(super) fn take_fallen(&mut self, sim: &mut Sim<'_>) -> Result<(), String> {
        let fallen = std::mem::take(&mut *self.targets.fallen.borrow_mut());
        for (node, reason) in fallen {
            if self.full[node] + self.failing[node] == 0 {
                return Err(format!("n{} ended: {reason}", node + 1));
            }
            if !self.fell[node] {
                self.fell[node] = true;
                self.take_down(sim, &[node], false);
            }
        }
        Ok(())
    }

    /// A node that ended by itself is started once its disk is whole.
    fn rise(&mut self, sim: &mut Sim<'_>, node: Node) {
        if self.fell[node] && self.full[node] + self.failing[node] == 0 {
            self.fell[node] = false;
            self.bring_up(sim, &[node], false);
        }
    }

    /// The disk of a node that is down decays.
    fn corrupt(&mut self, node: Node) {
        let Targets { disks, random, .. } = &mut self.targets;
        match damage(&disks[node], random) {
            Ok(Some(file)) => tracing::debug!(node, file = %file.display(), "damaged"),
            Ok(None) => tracing::debug!(node, "nothing to damage yet"),
            Err(error) => tracing::warn!(node, %error, "damage state"),
        }
    }

    /// What happens to the answers of a node on their way to clients now.
    fn answers(&mut self, sim: &Sim<'_>, node: Node) {
        let flow = Flow {
            lost: self.lost[node] > 0,
            late: self.late[node],
        };
        self.each_client(node, |faults, node, client| {
            faults
                .targets
                .wires
                .set_flow(sim.lookup(node), sim.lookup(client), flow);
        });
    }

    /// The slowest fault that goes on counts.
    fn slow(&mut self, sim: &Sim<'_>, latency: Duration, more: bool) {
        if more {
            self.slow.push(latency);
        } else if let Some(ended) = self.slow.iter().position(|slow| *slow == latency) {
            self.slow.remove(ended);
        }
        sim.set_max_message_latency(self.slow.iter().copied().max().unwrap_or(LATENCY_MAX));
    }

    /// Both ways between every two nodes but this one.
    fn each_far_side(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let nodes = self.targets.nodes.clone();
        let far = || nodes.iter().filter(|name| **name != nodes[node]);
        for a in far() {
            for b in far().filter(|b| *b != a) {
                act(self, a, b);
            }
        }
    }

    fn each_client(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let (name, clients) = (self.targets.nodes[node].clone(), self.targets.clients.clone());
        for client in &clients {
            act(self, &name, client);
        }
    }

    fn each_other(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let (nodes, clients) = (self.targets.nodes.clone(), self.targets.clients.clone());
        for other in nodes.iter().chain(&clients).filter(|name| **name != nodes[node]) {
            act(self, &nodes[node], other);
        }
    }

    fn count_cut(&mut self, sim: &Sim<'_>, from: &str, to: &str, more: bool) {
        let pair = (from.to_owned(), to.to_owned());
        let count = count(&mut self.cut, pair, more);
        match (count, more) {
            (1, true) => {
                if self.is_held(from, to) {
                    // What was held back is lost now.
                    sim.repair(from, to);
                    self.cut_again(sim, to, from);
                }
                sim.partition_oneway(from, to);
                self.targets.wires.cut(sim.lookup(from), sim.lookup(to));
            }
            (0, false) => {
                sim.repair_oneway(from, to);
                self.targets.wires.mend(sim.lookup(from), sim.lookup(to));
                if self.is_held(from, to) && !self.is_cut(to, from) {
                    sim.hold(from, to);
                }
            }
            _ => {}
        }
    }

    /// After a repair of both ways, the other way may still have to be cut.
    fn cut_again(&self, sim: &Sim<'_>, from: &str, to: &str) {
        if self.is_cut(from, to) {
            sim.partition_oneway(from, to);
        }
    }

    fn count_hold(&mut self, sim: &Sim<'_>, one: &str, other: &str, more: bool) {
        let count = count(&mut self.held, sorted(one, other), more);
        if self.is_cut(one, other) || self.is_cut(other, one) {
            return;
        }
        match (count, more) {
            (1, true) => sim.hold(one, other),
            (0, false) => sim.release(one, other),
            _ => {}
        }
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.cut
            .get(&(from.to_owned(), to.to_owned()))
            .is_some_and(|count| *count > 0)
    }

    fn is_held(&self, one: &str, other: &str) -> bool {
        self.held.get(&sorted(one, other)).is_some_and(|count| *count > 0)
    }
}

fn sorted(one: &str, other: &str) -> (String, String) {
    let (a, b) = if one < other { (one, other) } else { (other, one) };
    (a.to_owned(), b.to_owned())
}

fn count(counts: &mut BTreeMap<(String, String), u32>, pair: (String, String), more: bool) -> u32 {
    step(counts.entry(pair).or_insert(0), more)
}

/// One more or one less.
fn step(count: &mut u32, more: bool) -> u32 {
    *count = if more { *count + 1 } else { count.saturating_sub(1) };
    *count
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
