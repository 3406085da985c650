//! Carries a plan out: crashes, cuts and mends, with overlapping faults counted.

use std::collections::BTreeMap;
use std::time::Duration;

use spine_storage::disk::SimDisk;
use turmoil::Sim;

use super::net::Wires;
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

/// The state of everything that can be broken.
pub(super) struct Faults {
    wires: Wires,
    disks: Vec<SimDisk>,
    nodes: Vec<String>,
    clients: Vec<String>,
    /// How many faults keep a node down.
    down: Vec<u32>,
    /// How many faults cut a directed pair.
    cut: BTreeMap<(String, String), u32>,
    /// How many faults forge a node's end.
    forged: Vec<u32>,
    /// How many faults stall a node's disk.
    stalled: Vec<u32>,
    /// How many faults hold a pair, by sorted names.
    held: BTreeMap<(String, String), u32>,
}

impl Faults {
    pub(super) fn new(wires: Wires, disks: Vec<SimDisk>, nodes: Vec<String>, clients: Vec<String>) -> Self {
        let none = vec![0; nodes.len()];
        Self {
            wires,
            disks,
            nodes,
            clients,
            down: none.clone(),
            forged: none.clone(),
            stalled: none,
            cut: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// True if no fault keeps this node down.
    pub(super) fn is_up(&self, node: Node) -> bool {
        self.down[node] == 0
    }

    /// Begins a fault; what the operator must do for it.
    pub(super) fn begin(&mut self, sim: &mut Sim<'_>, step: &Step) -> Vec<Order> {
        self.change(sim, &step.fault, true);
        match step.fault {
            Fault::PurgeWhileDown(down) => {
                let others = (0..self.nodes.len()).filter(|node| *node != down);
                others.map(Order::Compact).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn end(&mut self, sim: &mut Sim<'_>, step: &Step) {
        self.change(sim, &step.fault, false);
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
                let (from, to) = (self.nodes[*from].clone(), self.nodes[*to].clone());
                self.count_cut(sim, &from, &to, more);
            }
            Fault::Bridge(node) => {
                self.each_far_side(*node, |faults, a, b| faults.count_cut(sim, a, b, more));
            }
            Fault::Hold(side) => self.each_crossing(side, |faults, a, b| faults.count_hold(sim, a, b, more)),
            Fault::Reset(one, other) if more => {
                let (one, other) = (sim.lookup(&*self.nodes[*one]), sim.lookup(&*self.nodes[*other]));
                self.wires.reset(one, other);
            }
            Fault::HideFromClients(node) => self.each_client(*node, |faults, a, b| {
                faults.count_cut(sim, a, b, more);
                faults.count_cut(sim, b, a, more);
            }),
            Fault::LostReplies(node) => {
                self.each_client(*node, |faults, a, b| faults.count_cut(sim, a, b, more));
            }
            Fault::Slow(latency) => {
                sim.set_max_message_latency(if more { *latency } else { LATENCY_MAX });
            }
            Fault::Forge(node) => self.forge(sim, *node, more),
            Fault::DiskStall(node) => self.stall(*node, more),
            // What is left is over at once, or is kept out by `supports`.
            _ => {}
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
                sim.crash(&*self.nodes[node]);
            }
            self.down[node] += 1;
            if power {
                self.disks[node].power_cut();
            } else {
                self.disks[node].process_crash();
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
                sim.bounce(&*self.nodes[node]);
            }
        }
    }

    fn each_crossing(&mut self, side: &[Node], mut act: impl FnMut(&mut Self, &str, &str)) {
        let (nodes, clients) = (self.nodes.clone(), self.clients.clone());
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
        let count = &mut self.forged[node];
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        let refusing = *count > 0;
        let own = sim.lookup(&*self.nodes[node]);
        self.wires.set_refusing(own, refusing);
        if more {
            for other in self.nodes.iter().filter(|other| **other != self.nodes[node]) {
                self.wires.reset(own, sim.lookup(&**other));
            }
        }
    }

    fn stall(&mut self, node: Node, more: bool) {
        let count = &mut self.stalled[node];
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        self.disks[node].stall(*count > 0);
    }

    /// Both ways between every two nodes but this one.
    fn each_far_side(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let nodes = self.nodes.clone();
        let far = || nodes.iter().filter(|name| **name != nodes[node]);
        for a in far() {
            for b in far().filter(|b| *b != a) {
                act(self, a, b);
            }
        }
    }

    fn each_client(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let (name, clients) = (self.nodes[node].clone(), self.clients.clone());
        for client in &clients {
            act(self, &name, client);
        }
    }

    fn each_other(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let (nodes, clients) = (self.nodes.clone(), self.clients.clone());
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
                self.wires.cut(sim.lookup(from), sim.lookup(to));
            }
            (0, false) => {
                sim.repair_oneway(from, to);
                self.wires.mend(sim.lookup(from), sim.lookup(to));
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
    let count = counts.entry(pair).or_insert(0);
    *count = if more { *count + 1 } else { count.saturating_sub(1) };
    *count
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
