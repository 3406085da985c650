//! Which signs of a leader's death an election may rest on.
//!
//! A node that broken connections or one-way silence make look dead may lead all the same. Two things show that it
//! lives, whatever the links say: it won an election after the sign, or its followers learn of new commits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::elections::{CLAIM_GRACE, GroupView, NodesView};

/// Silence that others report is void for so long after news of a commit, which a turn of the driver, 100 ms at most,
/// may have noticed late. With the usual silence limit of 250 ms a leader that is cut off is replaced no later by it.
const COMMIT_COUNTS: Duration = Duration::from_millis(100);

/// The end of a connection that counts as a node's death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Number of the connection.
    pub connection: u64,
    /// How long ago its death was proved.
    pub ago: Duration,
}

/// One leader in one term, as this node has seen it.
#[derive(Clone, Copy, Debug)]
struct Reign {
    leader: Option<u64>,
    term: u64,
    since: Duration,
    committed_index: u64,
    committed: Option<Duration>,
}

/// What is remembered of each group's leader.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    reigns: BTreeMap<u32, Reign>,
    /// Connections whose end was taken for a node's death, by shard and node: each is believed once. Whoever breaks
    /// connections of a node that lives moves a leader once by it, not again and again.
    believed: BTreeMap<(u32, u64), u64>,
}

impl Proofs {
    /// Takes note of a group as it is now.
    pub(crate) fn see(&mut self, now: Duration, group: &GroupView) {
        let fresh = Reign {
            leader: group.leader_node,
            term: group.term,
            since: now,
            committed_index: group.committed_index,
            committed: None,
        };
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
        let reign = self.reigns.get(&shard);
        // It won after that, so it was alive then. What is still so later is no remnant.
        let remains = nodes.silence_limit.min(CLAIM_GRACE);
        let is_remnant = |reign: &Reign| now < reign.since + remains;
        match nodes.evidence.get(&node) {
            Some(ended) if self.believed.get(&(shard, node)) == Some(&ended.connection) => false,
            Some(ended) => reign.is_none_or(|reign| now >= reign.since + ended.ago || !is_remnant(reign)),
            None => reign.is_none_or(|reign| {
                let commits = reign
                    .committed
                    .is_some_and(|last| now < last + COMMIT_COUNTS.min(nodes.silence_limit * 2 / 5));
                !commits && !is_remnant(reign)
            }),
        }
    }

    /// An election was begun on what is known of a leader.
    pub(crate) fn spend(&mut self, node: u64, shard: u32, nodes: &NodesView) {
        if let Some(ended) = nodes.evidence.get(&node) {
            self.believed.insert((shard, node), ended.connection);
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

    fn dead(ended: Option<Ended>) -> NodesView {
        NodesView {
            dead: vec![1],
            evidence: ended.map(|ended| (1, ended)).into_iter().collect(),
            silence_limit: LIMIT,
            ..NodesView::default()
        }
    }

    fn ended(connection: u64, ago: Duration) -> NodesView {
        dead(Some(Ended { connection, ago }))
    }

    #[test]
    fn what_was_known_before_a_leader_won_is_void_for_a_while() {
        let mut proofs = Proofs::default();
        proofs.see(ms(1_000), &led_by_1(5, 9));
        for at in [1_000, 1_249] {
            let passed = ms(at - 1_000);
            assert!(!proofs.is_dead(ms(at), 1, 0, &dead(None)), "silence at {at}");
            let before = passed + ms(1);
            assert!(
                !proofs.is_dead(ms(at), 1, 0, &ended(3, before)),
                "evidence at {at}"
            );
            assert!(
                proofs.is_dead(ms(at), 1, 0, &ended(3, passed)),
                "later evidence at {at}"
            );
        }
        assert!(proofs.is_dead(ms(1_250), 1, 0, &dead(None)));
        assert!(proofs.is_dead(ms(1_250), 1, 0, &ended(3, ms(600))));
        // The same leader in a later term has won again.
        proofs.see(ms(2_000), &led_by_1(7, 9));
        assert!(!proofs.is_dead(ms(2_100), 1, 0, &dead(None)));
    }

    #[test]
    fn a_leader_that_commits_is_not_cut_off() {
        let mut proofs = Proofs::default();
        proofs.see(ms(0), &led_by_1(5, 9));
        proofs.see(ms(980), &led_by_1(5, 9));
        assert!(proofs.is_dead(ms(1_000), 1, 0, &dead(None)), "no news");
        proofs.see(ms(1_000), &led_by_1(5, 10));
        assert!(!proofs.is_dead(ms(1_099), 1, 0, &dead(None)));
        assert!(
            proofs.is_dead(ms(1_001), 1, 0, &ended(3, ms(0))),
            "a process that ended commits nothing more"
        );
        assert!(proofs.is_dead(ms(1_100), 1, 0, &dead(None)));
    }

    #[test]
    fn a_connection_is_believed_once_in_each_group() {
        let mut proofs = Proofs::default();
        proofs.see(ms(0), &led_by_1(5, 9));
        proofs.spend(1, 0, &ended(3, ms(0)));
        assert!(!proofs.is_dead(ms(900), 1, 0, &ended(3, ms(0))));
        assert!(proofs.is_dead(ms(900), 1, 0, &ended(4, ms(0))));
        assert!(proofs.is_dead(ms(900), 1, 7, &ended(3, ms(0))));
    }
}
