//! What processes and links must look like while some faults go on together. Computed anew at every change, so that
//! overlapping faults never undo each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::proxy::Way;
use crate::scenario::{Fault, Node};

/// State of the whole cluster.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Desired {
    pub(super) down: BTreeSet<Node>,
    /// Those that are down cannot be paused.
    pub(super) paused: BTreeSet<Node>,
    /// With a clock that has jumped.
    pub(super) apart: BTreeSet<Node>,
    /// Alive, and connects are refused.
    pub(super) refusing: BTreeSet<Node>,
    /// From, to -> what happens to bytes.
    pub(super) ways: BTreeMap<(Node, Node), Way>,
    /// What happens to bytes from clients to a node,
    pub(super) asks: BTreeMap<Node, Way>,
    /// and from it to clients.
    pub(super) answers: BTreeMap<Node, Way>,
}

impl Desired {
    pub(super) fn of<'a>(faults: impl Iterator<Item = &'a Fault>, nodes: usize) -> Self {
        let mut desired = Self::default();
        for from in 0..nodes {
            desired.asks.insert(from, Way::default());
            desired.answers.insert(from, Way::default());
            for to in (0..nodes).filter(|to| *to != from) {
                desired.ways.insert((from, to), Way::default());
            }
        }
        for fault in faults {
            desired.add(fault);
        }
        let down = desired.down.clone();
        desired.paused.retain(|node| !down.contains(node));
        desired.refusing.retain(|node| !down.contains(node));
        desired
    }

    fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(nodes) => self.down.extend(nodes),
            Fault::PurgeWhileDown(node) => {
                self.down.insert(*node);
            }
            Fault::Pause(nodes) => self.paused.extend(nodes),
            Fault::ClockJump(node, _) => {
                self.apart.insert(*node);
            }
            Fault::Forge(node) => {
                self.refusing.insert(*node);
            }
            Fault::Isolate(side) => self.between(side, |way| way.swallows = true),
            Fault::Hold(side) => self.between(side, |way| way.frozen = true),
            Fault::OneWay(from, to) => self.some_ways(|pair| pair == (*from, *to), |way| way.swallows = true),
            Fault::Bridge(node) => {
                self.some_ways(
                    |(from, to)| from != *node && to != *node,
                    |way| way.swallows = true,
                );
            }
            Fault::HideFromClients(node) => {
                for front in [&mut self.asks, &mut self.answers] {
                    change_one(front, *node, |way| way.swallows = true);
                }
            }
            Fault::LostReplies(node) => change_one(&mut self.answers, *node, |way| way.swallows = true),
            Fault::LateReplies(node, by) => change_one(&mut self.answers, *node, |way| way.delay += *by),
            Fault::Slow(by) => {
                let fronts = self.asks.values_mut().chain(self.answers.values_mut());
                for way in self.ways.values_mut().chain(fronts) {
                    way.delay += *by;
                    way.jitter += *by;
                }
            }
            Fault::Narrow(node, rate) => {
                self.some_ways(
                    |(from, to)| from == *node || to == *node,
                    |way| way.bytes_per_second = *rate,
                );
            }
            // Done once, when they begin, or kept out by `supports`.
            _ => {}
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

fn change_one(ways: &mut BTreeMap<Node, Way>, node: Node, change: impl Fn(&mut Way)) {
    if let Some(way) = ways.get_mut(&node) {
        change(way);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn overlapping_faults_add_up() {
        let faults = [
            Fault::Isolate(vec![0]),
            Fault::OneWay(1, 2),
            Fault::Slow(Duration::from_millis(5)),
            Fault::Kill(vec![1]),
            Fault::Pause(vec![1, 2]),
        ];
        let desired = Desired::of(faults.iter(), 3);
        assert!(
            desired.ways[&(0, 1)].swallows
                && desired.ways[&(2, 0)].swallows
                && desired.ways[&(1, 2)].swallows
        );
        assert!(!desired.ways[&(2, 1)].swallows);
        assert_eq!(desired.ways[&(2, 1)].delay, Duration::from_millis(5));
        assert_eq!(desired.answers[&2].delay, Duration::from_millis(5));
        assert_eq!((desired.down.len(), desired.paused.len()), (1, 1));
    }

    #[test]
    fn nothing_going_on_is_a_healthy_cluster() {
        let desired = Desired::of([].iter(), 3);
        assert!(
            desired
                .ways
                .values()
                .chain(desired.asks.values())
                .chain(desired.answers.values())
                .all(|way| *way == Way::default())
        );
        assert!(desired.down.is_empty() && desired.paused.is_empty() && desired.refusing.is_empty());
        assert_eq!(
            (desired.ways.len(), desired.asks.len(), desired.answers.len()),
            (6, 3, 3)
        );
    }
    #[test]
    fn a_bridge_reaches_all_and_the_others_only_it() {
        let desired = Desired::of([Fault::Bridge(1)].iter(), 5);
        let cut = desired.ways.iter().filter(|(_, way)| way.swallows);
        assert_eq!(cut.clone().count(), 12);
        assert!(cut.into_iter().all(|((from, to), _)| *from != 1 && *to != 1));
    }

    #[test]
    fn only_answers_are_lost_or_late() {
        let late = Duration::from_millis(9);
        let desired = Desired::of([Fault::LostReplies(0), Fault::LateReplies(1, late)].iter(), 3);
        assert!(desired.asks.values().all(|way| *way == Way::default()));
        assert!(desired.answers[&0].swallows && !desired.answers[&1].swallows);
        assert_eq!(desired.answers[&1].delay, late);
    }
}
