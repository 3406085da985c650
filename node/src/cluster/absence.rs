//! How long nodes have been absent, as one node sees it. Pure: what the links say comes in, look by look, with the time.
//!
//! The links count silence from their own last hiccup at the earliest, and call everybody heard for a moment after it.
//! Neither begins the count here anew: a node is absent from its first silence on, until it was heard for [`STEADY`]
//! without a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use spine_consensus::transport::LivenessSnapshot;
use spine_consensus::transport::liveness::PeerLiveness;
use spine_proto::ids::NodeId;
use spine_proto::storage::v1::{ClusterPlan, NodeState, PlanNode};
use tokio::time::Instant;

use super::change;
use crate::node::Inner;

/// A node is back once it was heard for so long without a gap.
pub const STEADY: Duration = Duration::from_secs(2);

/// A replica that nobody has begun comes to another node once its own was absent for so long.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// What was known of a node at the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It was heard for [`STEADY`] at least.
    Here,
    /// It is heard and was not for long enough; or this node was late itself, and what it did not hear proves nothing.
    Unsure,
    /// It was not heard, for so long; returns that did not last are part of it.
    Absent(Duration),
}

/// See the module.
#[derive(Default)]
pub struct Absences {
    me: Option<NodeId>,
    /// The last look; `None` where this node was late itself.
    looked: Option<Instant>,
    peers: BTreeMap<NodeId, Record>,
}

#[derive(Clone, Copy, Default)]
struct Record {
    absent_since: Option<Instant>,
    /// Since when it is heard, and how often it had come back by then.
    heard: Option<(Instant, u64)>,
}

impl Absences {
    /// Takes in what the links say now.
    pub fn look(&mut self, seen: &LivenessSnapshot, now: Instant) {
        self.me = Some(seen.me);
        self.looked = (!seen.late).then_some(now);
        self.peers.retain(|node, _| seen.peers.contains_key(node));
        if seen.late {
            return;
        }
        for (node, peer) in &seen.peers {
            self.peers.entry(*node).or_default().look(peer, now);
        }
    }

    /// What was known of a node at the last look.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Presence {
        if self.me == Some(node) {
            return Presence::Here;
        }
        match (self.peers.get(&node), self.looked) {
            (Some(record), Some(looked)) => record.presence(looked),
            _ => Presence::Unsure,
        }
    }

    /// Whether a node was absent for so long that what is to join on it had better join elsewhere.
    #[must_use]
    pub fn is_awaited_in_vain(&self, node: NodeId) -> bool {
        matches!(self.of(node), Presence::Absent(time) if time >= JOIN_PATIENCE)
    }

    /// What is to become of nodes: who was absent for `limit` is lost, who is back serves, and who leaves and has nothing any
    /// more is let go.
    #[must_use]
    pub fn verdicts(&self, plan: &ClusterPlan, limit: Option<Duration>) -> Vec<(u64, NodeState)> {
        let is_too_long = |time: Duration| limit.is_some_and(|limit| time >= limit);
        let verdict = |node: &PlanNode| {
            let state = match (node.state(), self.of(NodeId(node.node_id))) {
                (NodeState::Leaving, _) if change::is_empty(plan, node.node_id) => NodeState::Removed,
                (NodeState::Serving | NodeState::Leaving, Presence::Absent(time)) if is_too_long(time) => {
                    NodeState::Lost
                }
                (NodeState::Lost, Presence::Here) => NodeState::Serving,
                _ => return None,
            };
            Some((node.node_id, state))
        };
        plan.nodes.iter().filter_map(verdict).collect()
    }
}

impl Record {
    fn look(&mut self, peer: &PeerLiveness, now: Instant) {
        if let Some(since) = absent_since(peer) {
            self.heard = None;
            self.absent_since = Some(self.absent_since.map_or(since, |first| first.min(since)));
            return;
        }
        // Our own links were late, and call nobody silent for a moment: that is no sign of life.
        if peer.unheard {
            self.heard = None;
            return;
        }
        // Who was gone and came back between two looks was not heard without a gap.
        let before = self.heard.filter(|(_, returns)| *returns == peer.returns);
        let (since, returns) = before.unwrap_or((now, peer.returns));
        self.heard = Some((since, returns));
        if is_steady(since, now) {
            self.absent_since = None;
        }
    }

    fn presence(self, now: Instant) -> Presence {
        match (self.heard, self.absent_since) {
            (Some((since, _)), _) if is_steady(since, now) => Presence::Here,
            (None, Some(since)) => Presence::Absent(now.saturating_duration_since(since)),
            _ => Presence::Unsure,
        }
    }
}

fn is_steady(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= STEADY
}

/// `None` while a peer is heard.
fn absent_since(peer: &PeerLiveness) -> Option<Instant> {
    let gone = peer.evidence.map(|evidence| evidence.since);
    peer.silent_since.into_iter().chain(gone).min()
}

impl Inner {
    /// The nodes of a plan that this one does not hear.
    pub(super) fn unheard(&self, plan: &ClusterPlan) -> Vec<u64> {
        let nodes = plan.nodes.iter().map(|node| node.node_id);
        nodes.filter(|node| !self.hears(*node)).collect()
    }

    /// Whether this node hears another one, or is it itself.
    pub(super) fn hears(&self, node: u64) -> bool {
        let is_own = self.running().is_some_and(|running| running.node_id == node);
        let seen = self.peers.links().liveness().borrow().clone();
        let peer = seen.peers.get(&NodeId(node));
        is_own || peer.is_some_and(|peer| absent_since(peer).is_none())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use spine_consensus::transport::liveness::Evidence;

    use super::*;
    use crate::cluster::plan::decide;

    const TWO: NodeId = NodeId(2);
    const LIMIT: Duration = Duration::from_secs(10);

    /// What node 1 sees of node 2.
    struct Scene {
        absences: Absences,
        start: Instant,
        now: Duration,
        returns: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                absences: Absences::default(),
                start: Instant::now(),
                now: Duration::ZERO,
                returns: 0,
            }
        }

        fn at(&self) -> Instant {
            self.start + self.now
        }

        fn look(&mut self, peer: PeerLiveness, late: bool) {
            let seen = LivenessSnapshot {
                me: NodeId(1),
                late,
                peers: BTreeMap::from([(TWO, peer)]),
            };
            self.absences.look(&seen, self.at());
        }

        /// Looks every 250 ms for so long, as the mover does.
        fn every(&mut self, ms: u64, mut look: impl FnMut(&mut Self)) {
            let until = self.now + Duration::from_millis(ms);
            while self.now < until {
                self.now += Duration::from_millis(250);
                look(self);
            }
        }

        fn heard_for(&mut self, ms: u64) {
            self.every(ms, |scene| {
                let peer = PeerLiveness {
                    returns: scene.returns,
                    ..PeerLiveness::default()
                };
                scene.look(peer, false);
            });
        }

        /// The links say that it is silent since now.
        fn silent_for(&mut self, ms: u64) {
            let since = self.at();
            self.every(ms, |scene| {
                let peer = PeerLiveness {
                    silent_since: Some(since),
                    returns: scene.returns,
                    ..PeerLiveness::default()
                };
                scene.look(peer, false);
            });
        }

        fn presence(&self) -> Presence {
            self.absences.of(TWO)
        }

        fn becomes(&self, state: NodeState) -> Option<NodeState> {
            let plan = plan_with(state);
            let verdicts = self.absences.verdicts(&plan, Some(LIMIT));
            assert!(verdicts.iter().all(|(node, _)| *node == 2), "nobody else");
            verdicts.first().map(|(_, state)| *state)
        }
    }

    /// Three nodes with everything on all of them; node 2 is this.
    fn plan_with(state: NodeState) -> ClusterPlan {
        let nodes = (1..=3).map(|number| PlanNode {
            peer_address: format!("n{number}:1"),
            ..PlanNode::default()
        });
        let mut plan = decide(nodes.collect(), 8, 3, Bytes::new(), Bytes::new()).expect("plan");
        plan.nodes[1].set_state(state);
        plan
    }

    fn absent(ms: u64) -> Presence {
        Presence::Absent(Duration::from_millis(ms))
    }

    #[test]
    fn a_hiccup_of_who_counts_does_not_begin_the_count_anew() {
        let mut scene = Scene::new();
        scene.silent_for(5_000);
        for _ in 0..4 {
            // The links are late, and count from there.
            scene.every(500, |scene| scene.look(PeerLiveness::default(), true));
            assert_eq!(scene.presence(), Presence::Unsure, "being late proves nothing");
            scene.heard_for(250);
            assert_eq!(scene.presence(), Presence::Unsure);
            assert!(scene.becomes(NodeState::Serving).is_none());
            scene.silent_for(500);
        }
        assert_eq!(scene.presence(), absent(5_000 + 4 * 1_250));
        assert!(scene.becomes(NodeState::Serving) == Some(NodeState::Lost));
    }

    /// Where silence takes long to be told, too.
    #[test]
    fn that_nobody_is_accused_is_no_sign_of_life() {
        let mut scene = Scene::new();
        scene.silent_for(5_000);
        scene.every(4_000, |scene| {
            let peer = PeerLiveness {
                unheard: true,
                ..PeerLiveness::default()
            };
            scene.look(peer, false);
        });
        assert_eq!(scene.presence(), absent(9_000));
        assert!(scene.becomes(NodeState::Lost).is_none());
    }

    #[test]
    fn who_was_lost_serves_once_it_was_heard_for_a_while_without_a_gap() {
        let mut scene = Scene::new();
        scene.silent_for(1_000);
        scene.heard_for(1_750);
        scene.silent_for(250);
        assert_eq!(scene.presence(), absent(3_000));
        scene.heard_for(2_000);
        assert!(scene.becomes(NodeState::Lost).is_none());
        // Gone and back between two looks.
        scene.returns += 1;
        scene.heard_for(2_000);
        assert_eq!(scene.presence(), Presence::Unsure);
        scene.heard_for(250);
        assert_eq!(scene.presence(), Presence::Here);
        assert!(scene.becomes(NodeState::Lost) == Some(NodeState::Serving));
        scene.silent_for(500);
        assert_eq!(scene.presence(), absent(500), "counted anew");
    }

    #[test]
    fn a_process_that_has_ended_is_absent_from_then_on() {
        let mut scene = Scene::new();
        scene.heard_for(3_000);
        let evidence = Evidence {
            connection: 1,
            since: scene.at(),
        };
        scene.every(1_000, |scene| {
            let peer = PeerLiveness {
                evidence: Some(evidence),
                ..PeerLiveness::default()
            };
            scene.look(peer, false);
        });
        assert_eq!(scene.presence(), absent(1_000));
    }

    #[test]
    fn a_node_that_leaves_and_is_absent_too_long_is_lost_and_one_that_has_nothing_is_let_go() {
        let mut scene = Scene::new();
        scene.silent_for(9_750);
        assert!(scene.becomes(NodeState::Leaving).is_none());
        scene.silent_for(250);
        assert!(scene.becomes(NodeState::Leaving) == Some(NodeState::Lost));
        assert!(scene.becomes(NodeState::Removed).is_none());
        let mut plan = plan_with(NodeState::Leaving);
        assert!(scene.absences.verdicts(&plan, None).is_empty(), "never");
        for shard in &mut plan.shards {
            shard.members.retain(|member| member.node_id != 2);
        }
        let verdicts = scene.absences.verdicts(&plan, Some(LIMIT));
        assert!(verdicts == [(2, NodeState::Removed)]);
    }

    #[test]
    fn who_is_to_take_a_replica_is_waited_for_as_long_as_it_may_come() {
        let mut scene = Scene::new();
        scene.silent_for(29_750);
        assert!(!scene.absences.is_awaited_in_vain(TWO));
        scene.silent_for(250);
        assert!(scene.absences.is_awaited_in_vain(TWO));
        scene.heard_for(250);
        assert!(!scene.absences.is_awaited_in_vain(TWO));
        assert!(!scene.absences.is_awaited_in_vain(NodeId(1)), "here");
    }

    #[test]
    fn who_looks_is_here_and_who_was_never_seen_is_not_judged() {
        let mut scene = Scene::new();
        scene.heard_for(250);
        assert_eq!(scene.absences.of(NodeId(1)), Presence::Here);
        assert_eq!(scene.absences.of(NodeId(3)), Presence::Unsure);
    }
}
