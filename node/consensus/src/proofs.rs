//! Which signs of a leader's death an election may rest on.
//!
//! A node that broken connections or one-way silence make look dead may lead all the same. Two things show that it
//! lives, whatever the links say: it won an election after the sign, or its followers learn of new commits.

use std::collections::BTreeMap;
use std::time::Duration;

use spine_mutants::mutant;

use crate::elections::{CLAIM_GRACE, GroupView, NodesView};

/// Silence that others report is void for so long after news of a commit, which a turn of the driver, 100 ms at most,
/// may have noticed late. With the usual silence limit of 250 ms a leader that is cut off is replaced no later by it.
const COMMIT_COUNTS: Duration = Duration::from_millis(100);

/// One leader in one term, as this node has seen it.
#[derive(Clone, Copy, Debug)]
struct Reign {
    leader: Option<u64>,
    term: u64,
    since: Duration,
    committed_index: u64,
    committed: Option<Duration>,
    /// The ended connection by which the leader was held for dead before it won.
    refuted: Option<u64>,
}

/// What is remembered of each group's leader.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    reigns: BTreeMap<u32, Reign>,
    /// Connections whose end was taken for a node's death, by shard and node: each is believed once. Whoever breaks
    /// connections of a node that lives moves a leader once by it, not again and again.
    believed: BTreeMap<(u32, u64), u64>,
    /// Ended connections that were known at the last look at each group, by node.
    known: BTreeMap<u32, BTreeMap<u64, u64>>,
}

impl Proofs {
    /// Takes note of a group as it is now.
    pub(crate) fn see(&mut self, now: Duration, group: &GroupView, nodes: &NodesView) {
        let known = self.known.entry(group.shard).or_default();
        let fresh = Reign {
            leader: group.leader_node,
            term: group.term,
            since: now,
            committed_index: group.committed_index,
            committed: None,
            // What comes to be known together with its victory may well be later than that.
            refuted: group.leader_node.and_then(|node| known.get(&node).copied()),
        };
        known.clone_from(&nodes.evidence);
        let reign = self.reigns.entry(group.shard).or_insert(fresh);
        if (reign.leader, reign.term) != (fresh.leader, fresh.term) {
            *reign = fresh;
        } else if group.committed_index > reign.committed_index {
            reign.committed_index = group.committed_index;
            reign.committed = Some(now);
        }
    }

    /// Whether a node that leads, as this one believes, is to be replaced without further ado.
    pub(crate) fn is_dead(&self, now: Duration, node: u64, shard: u32, nodes: &NodesView) -> bool {
        if !nodes.dead.contains(&node) {
            return false;
        }
        let Some(reign) = self.reigns.get(&shard) else {
            return true;
        };
        // It was alive and heard when it won. What is still so later is no remnant.
        let is_new =
            now < reign.since + nodes.silence_limit.min(CLAIM_GRACE) && !mutant!("old-word-believed");
        match nodes.evidence.get(&node) {
            Some(ended) => {
                let is_refuted = is_new && reign.refuted == Some(*ended);
                let is_spent =
                    self.believed.get(&(shard, node)) == Some(ended) && !mutant!("evidence-used-again");
                !is_refuted && !is_spent
            }
            None => {
                let counts = COMMIT_COUNTS.min(nodes.silence_limit * 2 / 5);
                let commits =
                    reign.committed.is_some_and(|last| now < last + counts) && !mutant!("commits-ignored");
                !is_new && !commits
            }
        }
    }

    /// An election was begun on what is known of a leader.
    pub(crate) fn spend(&mut self, node: u64, shard: u32, nodes: &NodesView) {
        if let Some(ended) = nodes.evidence.get(&node) {
            self.believed.insert((shard, node), *ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(250);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn led_by_1(term: u64, committed_index: u64) -> GroupView {
        GroupView {
            term,
            committed_index,
            leader_node: Some(1),
            ..GroupView::default()
        }
    }

    fn dead(connection: Option<u64>) -> NodesView {
        NodesView {
            dead: vec![1],
            evidence: connection.map(|connection| (1, connection)).into_iter().collect(),
            silence_limit: LIMIT,
            ..NodesView::default()
        }
    }

    #[test]
    fn what_was_known_before_a_leader_won_is_void_for_a_while() {
        let mut proofs = Proofs::default();
        let nobody = GroupView {
            leader_node: None,
            ..led_by_1(4, 9)
        };
        proofs.see(ms(980), &nobody, &dead(Some(3)));
        proofs.see(ms(1_000), &led_by_1(5, 9), &dead(Some(3)));
        for at in [1_000, 1_249] {
            assert!(!proofs.is_dead(ms(at), 1, 0, &dead(None)), "silence at {at}");
            assert!(!proofs.is_dead(ms(at), 1, 0, &dead(Some(3))), "at {at}");
            assert!(proofs.is_dead(ms(at), 1, 0, &dead(Some(4))), "later, at {at}");
        }
        assert!(proofs.is_dead(ms(1_250), 1, 0, &dead(None)));
        assert!(proofs.is_dead(ms(1_250), 1, 0, &dead(Some(3))));
        // The same leader in a later term has won again.
        proofs.see(ms(2_000), &led_by_1(7, 9), &dead(Some(3)));
        assert!(!proofs.is_dead(ms(2_100), 1, 0, &dead(None)));
    }

    #[test]
    fn a_leader_that_dies_between_two_looks_at_it_is_replaced_at_once() {
        let mut proofs = Proofs::default();
        proofs.see(ms(0), &led_by_1(5, 9), &NodesView::default());
        // It won again, and its process ended, before anybody looked.
        proofs.see(ms(20), &led_by_1(6, 9), &dead(Some(3)));
        assert!(proofs.is_dead(ms(20), 1, 0, &dead(Some(3))));
    }

    #[test]
    fn a_leader_that_commits_is_not_cut_off() {
        let mut proofs = Proofs::default();
        let nodes = dead(None);
        proofs.see(ms(0), &led_by_1(5, 9), &nodes);
        proofs.see(ms(980), &led_by_1(5, 9), &nodes);
        assert!(proofs.is_dead(ms(1_000), 1, 0, &nodes), "no news");
        proofs.see(ms(1_000), &led_by_1(5, 10), &nodes);
        assert!(!proofs.is_dead(ms(1_099), 1, 0, &nodes));
        assert!(
            proofs.is_dead(ms(1_001), 1, 0, &dead(Some(3))),
            "a process that ended commits nothing more"
        );
        assert!(proofs.is_dead(ms(1_100), 1, 0, &nodes));
    }

    #[test]
    fn a_connection_is_believed_once_in_each_group() {
        let mut proofs = Proofs::default();
        proofs.see(ms(0), &led_by_1(5, 9), &NodesView::default());
        proofs.spend(1, 0, &dead(Some(3)));
        assert!(!proofs.is_dead(ms(900), 1, 0, &dead(Some(3))));
        assert!(proofs.is_dead(ms(900), 1, 0, &dead(Some(4))));
        assert!(proofs.is_dead(ms(900), 1, 7, &dead(Some(3))));
    }
}
