//! What processes and links must look like while some deeds go on together. Computed anew at every change, so that
//! overlapping deeds never undo each other.

use std::collections::{BTreeMap, BTreeSet};

use super::deed::Deed;
use crate::proxy::Way;
use crate::sim::plan::Node;

/// State of the whole cluster.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Desired {
    pub(super) down: BTreeSet<Node>,
    /// Those that are down cannot be paused.
    pub(super) paused: BTreeSet<Node>,
    /// Alive, and connects are refused.
    pub(super) refusing: BTreeSet<Node>,
    /// From, to -> what happens to bytes.
    pub(super) ways: BTreeMap<(Node, Node), Way>,
    /// What happens to bytes between clients and a node, both ways.
    pub(super) fronts: BTreeMap<Node, Way>,
}

impl Desired {
    pub(super) fn of<'a>(deeds: impl Iterator<Item = &'a Deed>, nodes: usize) -> Self {
        let mut desired = Self::default();
        for from in 0..nodes {
            desired.fronts.insert(from, Way::default());
            for to in (0..nodes).filter(|to| *to != from) {
                desired.ways.insert((from, to), Way::default());
            }
        }
        for deed in deeds {
            desired.add(deed);
        }
        let down = desired.down.clone();
        desired.paused.retain(|node| !down.contains(node));
        desired.refusing.retain(|node| !down.contains(node));
        desired
    }

    fn add(&mut self, deed: &Deed) {
        match deed {
            Deed::Kill(nodes) => self.down.extend(nodes),
            Deed::PurgeWhileDown(node) => {
                self.down.insert(*node);
            }
            Deed::Pause(nodes) => self.paused.extend(nodes),
            Deed::ForgeDeath(node) => {
                self.refusing.insert(*node);
            }
            Deed::Isolate(side) => self.between(side, |way| way.swallows = true),
            Deed::Hold(side) => self.between(side, |way| way.frozen = true),
            Deed::OneWay(from, to) => self.some_ways(|pair| pair == (*from, *to), |way| way.swallows = true),
            Deed::Bridge(a, b) => {
                let cut = [(*a, *b), (*b, *a)];
                self.some_ways(|pair| cut.contains(&pair), |way| way.swallows = true);
            }
            Deed::HideFromClients(node) => {
                if let Some(front) = self.fronts.get_mut(node) {
                    front.swallows = true;
                }
            }
            Deed::Slow(by) => {
                for way in self.ways.values_mut().chain(self.fronts.values_mut()) {
                    way.delay += *by;
                    way.jitter += *by;
                }
            }
            Deed::Narrow(node, rate) => {
                self.some_ways(
                    |(from, to)| from == *node || to == *node,
                    |way| way.bytes_per_second = *rate,
                );
            }
            // Done once, when they begin.
            Deed::Reset(..)
            | Deed::HalfClose(..)
            | Deed::Truncate(..)
            | Deed::ClientStorm(_)
            | Deed::ClockJump(..) => {}
        }
    }

    fn between(&mut self, side: &[Node], change: impl Fn(&mut Way)) {
        self.some_ways(|(from, to)| side.contains(&from) != side.contains(&to), change);
    }

    fn some_ways(&mut self, chosen: impl Fn((Node, Node)) -> bool, change: impl Fn(&mut Way)) {
        for (pair, way) in &mut self.ways {
            if chosen(*pair) {
                change(way);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn overlapping_deeds_add_up() {
        let deeds = [
            Deed::Isolate(vec![0]),
            Deed::OneWay(1, 2),
            Deed::Slow(Duration::from_millis(5)),
            Deed::Kill(vec![1]),
            Deed::Pause(vec![1, 2]),
        ];
        let desired = Desired::of(deeds.iter(), 3);
        assert!(
            desired.ways[&(0, 1)].swallows
                && desired.ways[&(2, 0)].swallows
                && desired.ways[&(1, 2)].swallows
        );
        assert!(!desired.ways[&(2, 1)].swallows);
        assert_eq!(desired.ways[&(2, 1)].delay, Duration::from_millis(5));
        assert_eq!(desired.fronts[&2].delay, Duration::from_millis(5));
        assert_eq!((desired.down.len(), desired.paused.len()), (1, 1));
    }

    #[test]
    fn nothing_going_on_is_a_healthy_cluster() {
        let desired = Desired::of([].iter(), 3);
        assert!(
            desired
                .ways
                .values()
                .chain(desired.fronts.values())
                .all(|way| *way == Way::default())
        );
        assert!(desired.down.is_empty() && desired.paused.is_empty() && desired.refusing.is_empty());
        assert_eq!((desired.ways.len(), desired.fronts.len()), (6, 3));
    }
}
