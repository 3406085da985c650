//! All links of a cluster: one for each directed pair of nodes, and one from the clients to each node.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::rules::{Direction, Way};
use super::server::Proxy;

/// Where the nodes are and which ports the proxies take.
#[derive(Clone, Debug)]
pub struct MeshPlan {
    pub seed: u64,
    /// Where other nodes truly reach each node.
    pub peers: Vec<SocketAddr>,
    /// Where clients truly reach each node.
    pub grpc: Vec<SocketAddr>,
    /// One for each proxy: nodes * nodes are needed. 0 = any.
    pub ports: Vec<u16>,
}

/// The links of a running cluster. Nodes count from 0.
pub struct Mesh {
    peers: Vec<SocketAddr>,
    /// (from, to): what `from` dials to reach `to`.
    edges: BTreeMap<(usize, usize), Proxy>,
    /// What clients dial.
    fronts: Vec<Proxy>,
}

impl Mesh {
    /// Starts every proxy; no node needs to be there yet.
    ///
    /// # Errors
    /// A port is taken.
    pub async fn start(plan: &MeshPlan) -> io::Result<Self> {
        let mut ports = plan.ports.iter().copied();
        let mut number = 0;
        let mut next = || {
            number += 1;
            (
                ports.next().unwrap_or(0),
                plan.seed.wrapping_mul(0x1_0001) ^ (number << 32),
            )
        };
        let mut edges = BTreeMap::new();
        for from in 0..plan.peers.len() {
            for to in (0..plan.peers.len()).filter(|to| *to != from) {
                let (port, seed) = next();
                edges.insert((from, to), Proxy::start(port, plan.peers[to], seed).await?);
            }
        }
        let mut fronts = Vec::new();
        for target in &plan.grpc {
            let (port, seed) = next();
            fronts.push(Proxy::start(port, *target, seed).await?);
        }
        Ok(Self {
            peers: plan.peers.clone(),
            edges,
            fronts,
        })
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.peers.len()
    }

    /// `peer=instead` for each peer of a node, as its `development.dial` wants it.
    #[must_use]
    pub fn dial_map(&self, from: usize) -> Vec<String> {
        let own = self.edges.iter().filter(|((dialler, _), _)| *dialler == from);
        own.map(|((_, to), proxy)| format!("{}={}", self.peers[*to], proxy.address()))
            .collect()
    }

    /// The link from the clients to a node.
    #[must_use]
    pub fn front(&self, node: usize) -> &Proxy {
        &self.fronts[node]
    }

    /// The connections that `from` opened to `to`.
    #[must_use]
    pub fn edge(&self, from: usize, to: usize) -> Option<&Proxy> {
        self.edges.get(&(from, to))
    }

    /// Changes what happens to bytes from one node to another, whoever opened their connection.
    pub fn change_way(&self, from: usize, to: usize, change: impl Fn(&mut Way)) {
        if let Some(dialled) = self.edge(from, to) {
            dialled.change(|rules| change(rules.way_mut(Direction::Forward)));
        }
        if let Some(accepted) = self.edge(to, from) {
            accepted.change(|rules| change(rules.way_mut(Direction::Backward)));
        }
    }

    /// Both ways between all pairs of which exactly one node is in `side`.
    pub fn change_between(&self, side: &[usize], change: impl Fn(&mut Way)) {
        for (from, to) in self.edges.keys() {
            if side.contains(from) != side.contains(to) {
                self.change_way(*from, *to, &change);
            }
        }
    }

    /// Changes every link, of peers and of clients, both ways.
    pub fn change_all(&self, change: impl Fn(&mut Way)) {
        for proxy in self.edges.values().chain(&self.fronts) {
            proxy.change(|rules| {
                change(&mut rules.forward);
                change(&mut rules.backward);
            });
        }
    }

    /// Whether connects to a node are refused: what the kernel does where no process listens. A proxy would
    /// otherwise accept for a dead process.
    pub fn set_listening(&self, node: usize, listening: bool) {
        let into = self.edges.iter().filter(|((_, to), _)| *to == node);
        for proxy in into.map(|(_, proxy)| proxy).chain([&self.fronts[node]]) {
            proxy.change(|rules| rules.refuses = !listening);
        }
    }

    /// Every link works again, and connects are taken.
    pub fn heal(&self) {
        for proxy in self.edges.values().chain(&self.fronts) {
            proxy.heal();
        }
    }
}
