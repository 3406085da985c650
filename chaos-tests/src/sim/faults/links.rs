//! What faults do to links.

use std::collections::BTreeMap;
use std::time::Duration;

use turmoil::Sim;

use super::{Faults, LATENCY_MAX, step};
use crate::scenario::Node;
use crate::sim::net::Flow;

impl Faults {
    pub(super) fn each_crossing(&mut self, side: &[Node], mut act: impl FnMut(&mut Self, &str, &str)) {
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
    pub(super) fn forge(&mut self, sim: &Sim<'_>, node: Node, more: bool) {
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

    /// What happens to the answers of a node on their way to clients now.
    pub(super) fn answers(&mut self, sim: &Sim<'_>, node: Node) {
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
    pub(super) fn slow(&mut self, sim: &Sim<'_>, latency: Duration, more: bool) {
        if more {
            self.slow.push(latency);
        } else if let Some(ended) = self.slow.iter().position(|slow| *slow == latency) {
            self.slow.remove(ended);
        }
        sim.set_max_message_latency(self.slow.iter().copied().max().unwrap_or(LATENCY_MAX));
    }

    /// Both ways between every two nodes but this one.
    pub(super) fn each_far_side(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let nodes = self.targets.nodes.clone();
        let far = || nodes.iter().filter(|name| **name != nodes[node]);
        for a in far() {
            for b in far().filter(|b| *b != a) {
                act(self, a, b);
            }
        }
    }

    pub(super) fn each_client(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let (name, clients) = (self.targets.nodes[node].clone(), self.targets.clients.clone());
        for client in &clients {
            act(self, &name, client);
        }
    }

    pub(super) fn each_other(&mut self, node: Node, mut act: impl FnMut(&mut Self, &str, &str)) {
        let (nodes, clients) = (self.targets.nodes.clone(), self.targets.clients.clone());
        for other in nodes.iter().chain(&clients).filter(|name| **name != nodes[node]) {
            act(self, &nodes[node], other);
        }
    }

    pub(super) fn count_cut(&mut self, sim: &Sim<'_>, from: &str, to: &str, more: bool) {
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

    pub(super) fn count_hold(&mut self, sim: &Sim<'_>, one: &str, other: &str, more: bool) {
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
