//! What the election driver sees of the nodes, as the links tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spine_proto::ids::NodeId;
use tokio::time::Instant;

use crate::elections::NodesView;
use crate::transport::LivenessSnapshot;
use crate::transport::liveness::Proof;

/// Remembers since when each node has been heard and fit to lead without a break.
#[derive(Debug)]
pub struct NodesWatch {
    silence_limit: Duration,
    fit_since: BTreeMap<NodeId, Instant>,
    /// Nodes that were given up. Nobody listens to them, so that nothing is known of them, and they are dead.
    given_up: BTreeSet<NodeId>,
}

impl NodesWatch {
    /// Of a node that calls others silent after `silence_limit`.
    #[must_use]
    pub fn new(silence_limit: Duration) -> Self {
        Self {
            silence_limit,
            fit_since: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }

    /// From now on these are given up, and no others.
    pub fn set_given_up(&mut self, nodes: BTreeSet<NodeId>) {
        self.given_up = nodes;
    }

    /// The nodes as a group of these voters must judge them.
    pub fn view(&mut self, seen: &LivenessSnapshot, voters: &[NodeId], now: Instant) -> NodesView {
        let mut view = NodesView {
            self_unheard: is_unheard(seen, voters),
            silence_limit: self.silence_limit,
            ..NodesView::default()
        };
        let given_up = voters.iter().filter(|voter| self.given_up.contains(voter));
        view.dead.extend(given_up.map(|voter| voter.0));
        for (node, peer) in &seen.peers {
            match seen.dead(*node, voters) {
                Some(Proof::Evidence(evidence)) => {
                    view.dead.push(node.0);
                    view.evidence.insert(node.0, evidence.connection);
                }
                Some(Proof::Silence { .. } | Proof::Deaf { .. }) => view.dead.push(node.0),
                None => {}
            }
            let is_heard = peer.silent_since.is_none() && peer.evidence.is_none();
            if is_heard && !peer.unfit {
                let since = *self.fit_since.entry(*node).or_insert(now);
                view.fit_for.insert(node.0, now.saturating_duration_since(since));
            } else {
                self.fit_since.remove(node);
            }
            if !is_heard {
                continue;
            }
            view.alive.insert(node.0);
            view.claims
                .insert(node.0, peer.leading.iter().map(|shard| shard.0).collect());
            if peer.unfit {
                view.unfit.push(node.0);
            }
            if !peer.progress.is_empty() {
                let told = peer.progress.iter();
                let told = told.map(|(shard, progress)| (shard.0, *progress));
                view.progress.insert(node.0, told.collect());
            }
            if !peer.unfit_shards.is_empty() {
                let shards = peer.unfit_shards.iter().map(|shard| shard.0);
                view.unfit_for.insert(node.0, shards.collect());
            }
        }
        view
    }
}

/// Whether too few voters hear this node for a majority: it could ask for votes, and disturb, but never win.
fn is_unheard(seen: &LivenessSnapshot, voters: &[NodeId]) -> bool {
    let hears_us = |voter: &NodeId| {
        *voter == seen.me
            || seen.peers.get(voter).is_none_or(|peer| {
                peer.silent_since.is_none() && peer.evidence.is_none() && !peer.says_silent.contains(&seen.me)
            })
    };
    voters.iter().filter(|voter| hears_us(voter)).count() <= voters.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::liveness::PeerLiveness;

    const ALL: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn seen(deaf_to_me: &[u64]) -> LivenessSnapshot {
        let peer = |node: u64| {
            let mut peer = PeerLiveness::default();
            if deaf_to_me.contains(&node) {
                peer.says_silent.insert(NodeId(1));
            }
            (NodeId(node), peer)
        };
        LivenessSnapshot {
            me: NodeId(1),
            late: false,
            peers: [peer(2), peer(3)].into(),
        }
    }

    #[test]
    fn who_was_given_up_is_dead_though_nothing_is_known_of_it() {
        let mut watch = NodesWatch::new(Duration::ZERO);
        let mut seen = seen(&[]);
        seen.peers.remove(&NodeId(3));
        assert!(watch.view(&seen, &ALL, Instant::now()).dead.is_empty());
        watch.set_given_up(BTreeSet::from([NodeId(3), NodeId(7)]));
        assert_eq!(watch.view(&seen, &ALL, Instant::now()).dead, [3]);
    }

    #[test]
    fn a_node_has_been_fit_only_since_it_was_heard_and_fit_without_a_break() {
        let mut watch = NodesWatch::new(Duration::ZERO);
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut at = |seconds: u32, change: fn(&mut PeerLiveness)| {
            let mut seen = seen(&[]);
            seen.peers.entry(NodeId(3)).and_modify(change);
            let view = watch.view(&seen, &ALL, start + second * seconds);
            (view.alive.contains(&3), view.fit_for.get(&3).copied())
        };
        let as_it_is = |_: &mut PeerLiveness| {};
        assert_eq!(at(0, as_it_is), (true, Some(Duration::ZERO)));
        assert_eq!(at(1, as_it_is), (true, Some(second)));
        assert_eq!(at(2, |peer| peer.unfit = true), (true, None));
        assert_eq!(at(5, as_it_is), (true, Some(Duration::ZERO)));
        assert_eq!(at(7, as_it_is), (true, Some(2 * second)));
        let is_silent = |peer: &mut PeerLiveness| peer.silent_since = Some(Instant::now());
        assert_eq!(at(8, is_silent), (false, None));
        assert_eq!(at(9, as_it_is), (true, Some(Duration::ZERO)));
    }

    fn is_told_unheard(deaf_to_me: &[u64]) -> bool {
        let mut watch = NodesWatch::new(Duration::ZERO);
        watch.view(&seen(deaf_to_me), &ALL, Instant::now()).self_unheard
    }

    #[test]
    fn one_voter_that_hears_us_makes_a_majority_of_three() {
        assert!(!is_told_unheard(&[]));
        assert!(!is_told_unheard(&[2]));
        assert!(is_told_unheard(&[2, 3]));
    }
}
