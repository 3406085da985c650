//! Who stands for election, and when. openraft's ticks are off: one driver per node decides for all its groups.
//!
//! Pure: the caller brings the time, the liveness of nodes and each group's status, and carries out the action.
//! Safety never rests on this: a wrong decision costs an election, not a record.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spine_mutants::mutant;

use crate::proofs::Proofs;

/// Pause between candidates of one group, by rank, so that survivors do not split the vote.
pub const RANK_STEP: Duration = Duration::from_millis(20);
/// A leader whose node lives, but does not claim to lead, is given this long before others stand.
pub const CLAIM_GRACE: Duration = Duration::from_millis(400);
/// A leader that is unfit to lead and does not claim to is given this long to hand over.
pub const UNFIT_GRACE: Duration = Duration::from_millis(150);
/// A candidate that did not win tries again after this long, and a little more each time.
pub const RETRY: Duration = Duration::from_millis(250);
/// Whoever stands is given this long before the preferred node does: a leader that was challenged would otherwise
/// beat the challenger, only to be challenged again.
pub const CANDIDATE_GRACE: Duration = Duration::from_millis(150);
/// A preferred leader must have been heard and fit for this long before leadership is handed to it. One that starts is
/// unfit until it has applied its log, and then it has to catch up, and its clients come back.
pub const BALANCE_AFTER: Duration = Duration::from_secs(3);
/// For the sake of balance a leader hands over only once it has led for so long, several times what it takes to hear that a node
/// is to stop.
pub const LEADS_AT_LEAST: Duration = Duration::from_secs(1);

/// What the driver sees of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    /// The group's shard.
    pub shard: u32,
    /// All voters: (replica id, node id).
    pub members: Vec<(u64, u64)>,
    /// The node believed to lead, if any.
    pub leader_node: Option<u64>,
    /// Whether this node acts as leader.
    pub leading: bool,
    /// Whether it does so after it handed over to a successor that did not take its place in time: raft lets it propose
    /// nothing more in its term.
    pub abdicated: bool,
    /// Current term, so that a new leader starts a new patience.
    pub term: u64,
    /// Index of the newest entry known to be committed.
    pub committed_index: u64,
    /// Term and index of the newest entry of the log here.
    pub last_log: (u64, u64),
    /// Whether its voters are being changed: some of them may be gone, and a node may have two.
    pub changing: bool,
    /// Followers whose log matches this leader's to within a few entries, by node; empty where not leading.
    pub caught_up: Vec<u64>,
}

/// What the driver sees of the nodes.
#[derive(Clone, Debug, Default)]
pub struct NodesView {
    /// Nodes that a majority holds for dead, or that are dead by evidence.
    pub dead: Vec<u64>,
    /// Nodes heard lately.
    pub alive: BTreeSet<u64>,
    /// Those of them that are fit to lead, and for how long without a break.
    pub fit_for: BTreeMap<u64, Duration>,
    /// Shards that each heard node claims to lead.
    pub claims: BTreeMap<u64, Vec<u32>>,
    /// Nodes that asked not to be elected.
    pub unfit: Vec<u64>,
    /// Shards that a node cannot lead, though it may lead others: its replica does not run, or does not vote.
    pub unfit_for: BTreeMap<u64, BTreeSet<u32>>,
    /// Of the dead, those that are dead by evidence, with the number of the connection that it rests on.
    pub evidence: BTreeMap<u64, u64>,
    /// Silence for so long is what makes others believe that a node is dead.
    pub silence_limit: Duration,
    /// Term and index of the newest log entry of each shard, as living nodes told it since somebody was suspected.
    pub progress: BTreeMap<u64, BTreeMap<u32, (u64, u64)>>,
    /// This node should not lead now.
    pub self_unfit: bool,
    /// Too few voters hear this node for it to win.
    pub self_unheard: bool,
}

impl NodesView {
    /// Whether a node should not lead this shard now.
    #[must_use]
    pub fn is_unfit(&self, node: u64, shard: u32) -> bool {
        self.unfit.contains(&node) || self.lacks(node, shard) && !mutant!("absent-replica-preferred")
    }

    /// Whether a node has lost its replica of this shard.
    fn lacks(&self, node: u64, shard: u32) -> bool {
        let shards = self.unfit_for.get(&node);
        shards.is_some_and(|shards| shards.contains(&shard))
    }
}

/// What to do for a group now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Replace a dead leader at once.
    TakeOver,
    /// Stand with a pre-vote.
    Elect,
    /// Hand leadership to this replica.
    TransferTo(u64),
}

#[derive(Clone, Debug)]
struct Patience {
    term: u64,
    leader_node: Option<u64>,
    since: Duration,
    /// Since when the leader is known to be dead, or unfit: candidates stand one step apart from then on, however long
    /// each has doubted before.
    urgent_since: Option<Duration>,
    /// The one impolite try was made.
    took_over: bool,
    tries: u32,
    next: Option<Duration>,
}

/// Remembers how long each group has been without a leader.
#[derive(Debug)]
pub struct ElectionDriver {
    node_id: u64,
    patience: BTreeMap<u32, Patience>,
    /// The newest term seen of each group.
    terms: BTreeMap<u32, u64>,
    last_transfer: Option<Duration>,
    /// Since when this node has led a shard, with the term.
    led_since: BTreeMap<u32, (u64, Duration)>,
    /// When a leader that had handed over in vain last asked another voter, by shard.
    passed_on: BTreeMap<u32, Duration>,
    proofs: Proofs,
}

impl ElectionDriver {
    /// A driver for this node.
    #[must_use]
    pub fn new(node_id: u64) -> Self {
        Self {
            node_id,
            patience: BTreeMap::new(),
            terms: BTreeMap::new(),
            last_transfer: None,
            led_since: BTreeMap::new(),
            passed_on: BTreeMap::new(),
            proofs: Proofs::default(),
        }
    }

    /// Decides for one group. `now` counts from any fixed moment; `jitter` is 0 to 1.
    pub fn decide(
        &mut self,
        now: Duration,
        group: &GroupView,
        nodes: &NodesView,
        jitter: f64,
    ) -> Option<Action> {
        let known_term = self.terms.insert(group.shard, group.term);
        self.proofs.see(now, group, nodes);
        // Where no voter is fit, one that is not is better than none.
        let gives_way = nodes.self_unfit && self.is_another_fit(group, nodes);
        if group.leading {
            self.patience.remove(&group.shard);
            // Whoever gives way asks the fit ones again by itself.
            if group.abdicated && !gives_way {
                return self.pass_on(now, group, nodes);
            }
            let leads_long = self.leads_long(now, group);
            return (leads_long || nodes.self_unfit)
                .then(|| self.hand_over(now, group, nodes))
                .flatten();
        }
        self.led_since.remove(&group.shard);
        if (gives_way || nodes.self_unheard) && group.members.len() > 1 {
            return None;
        }
        let rank = self.rank(group, nodes)?;
        let (urgent, delay) = match group.leader_node {
            Some(node) if node != self.node_id && self.proofs.is_dead(now, node, group.shard, nodes) => {
                (true, RANK_STEP * rank)
            }
            Some(node)
                if node != self.node_id
                    && self.leads(node, group, nodes)
                    && !mutant!("living-leader-challenged") =>
            {
                self.patience.remove(&group.shard);
                return None;
            }
            // It asks not to lead, or has lost its replica, and says it does not lead: it could not even hand over.
            Some(node) if node != self.node_id && nodes.is_unfit(node, group.shard) && !nodes.self_unfit => {
                (true, UNFIT_GRACE + RANK_STEP * rank)
            }
            Some(node) if node != self.node_id => (false, CLAIM_GRACE + RETRY * rank),
            // Somebody else stands, as the term shows.
            _ if known_term.is_some_and(|known| known < group.term) => {
                self.give_way(now, group);
                (false, CANDIDATE_GRACE.max(RETRY * rank))
            }
            _ => (false, RETRY * rank),
        };
        let action = self.stand(now, group, urgent, delay, jitter);
        if action == Some(Action::TakeOver)
            && let Some(node) = group.leader_node
        {
            self.proofs.spend(node, group.shard, nodes);
        }
        action
    }

    fn leads(&self, node: u64, group: &GroupView, nodes: &NodesView) -> bool {
        nodes
            .claims
            .get(&node)
            .is_some_and(|shards| shards.contains(&group.shard))
    }

    fn stand(
        &mut self,
        now: Duration,
        group: &GroupView,
        urgent: bool,
        delay: Duration,
        jitter: f64,
    ) -> Option<Action> {
        let patience = self.patience_with(now, group);
        patience.urgent_since = urgent.then(|| patience.urgent_since.unwrap_or(now));
        let due = match (patience.next, patience.urgent_since) {
            // The order among candidates may have come to be known meanwhile.
            (_, Some(since)) if !patience.took_over => since + delay,
            (Some(next), _) => next,
            (None, _) => patience.since + delay,
        };
        if now < due {
            patience.next = Some(due);
            return None;
        }
        patience.tries += 1;
        let pause = RETRY.mul_f64(1.0 + jitter) * patience.tries.min(8);
        patience.next = Some(now + pause + RANK_STEP);
        // Evidence is used once per leader; a second try goes the slow, polite way.
        if urgent && !std::mem::replace(&mut patience.took_over, true) {
            return Some(Action::TakeOver);
        }
        Some(Action::Elect)
    }

    /// The group's present patience; a new one where something has changed that this node did not bring about.
    fn patience_with(&mut self, now: Duration, group: &GroupView) -> &mut Patience {
        let fresh = Patience {
            term: group.term,
            leader_node: group.leader_node,
            since: now,
            urgent_since: None,
            took_over: false,
            tries: 0,
            next: None,
        };
        let patience = self.patience.entry(group.shard).or_insert_with(|| fresh.clone());
        // Standing ends a term without a leader: that is no news, and no reason to stand again at once.
        let stands = patience.tries > 0 && group.leader_node.is_none();
        let is_news = patience.leader_node != group.leader_node || patience.term != group.term;
        if stands {
            patience.term = group.term;
            patience.leader_node = None;
        } else if is_news {
            *patience = fresh;
        }
        patience
    }

    /// A candidate that tries again lets whoever stands now have its turn first.
    fn give_way(&mut self, now: Duration, group: &GroupView) {
        let patience = self.patience_with(now, group);
        patience.next = patience.next.map(|next| next.max(now + CANDIDATE_GRACE));
    }

    fn is_another_fit(&self, group: &GroupView, nodes: &NodesView) -> bool {
        let mut others = group.members.iter().map(|(_, node)| *node);
        others.any(|node| {
            node != self.node_id && !nodes.dead.contains(&node) && !nodes.is_unfit(node, group.shard)
        })
    }

    /// This node's place among the group's living candidates: 0 stands first. `None` where it is no voter.
    ///
    /// Whose log is longer goes first, since voters refuse one that is shorter than their own; among all others the
    /// order of preference. That another's log is shorter counts for nothing: what was told is older than what is here,
    /// and two that both believe it would stand at the same moment.
    fn rank(&self, group: &GroupView, nodes: &NodesView) -> Option<u32> {
        let order = preference(group.shard, &group.members);
        // An unfit node stands only where all are.
        let is_unfit = |node| {
            if nodes.self_unfit {
                nodes.lacks(node, group.shard)
            } else {
                nodes.is_unfit(node, group.shard)
            }
        };
        let place = order.iter().position(|node| *node == self.node_id)?;
        let rivals = order
            .iter()
            .enumerate()
            .filter(|(_, node)| **node != self.node_id && !nodes.dead.contains(node) && !is_unfit(**node));
        let (mut ahead, mut is_behind, mut rivals_count) = (0, false, 0);
        for (at, node) in rivals {
            rivals_count += 1;
            let told = nodes.progress.get(node).and_then(|told| told.get(&group.shard));
            let told = told.filter(|_| !mutant!("log-length-ignored"));
            let order = told.map_or(Ordering::Equal, |told| told.cmp(&group.last_log));
            ahead += u32::from(order.is_gt() || at < place);
            is_behind |= order.is_gt();
        }
        // Behind all whose log may be as long as any, each of whom has a place of its own. One step more, as the one ahead
        // may not have heard yet that it is, and then waits for its turn.
        Some(if is_behind { rivals_count + ahead } else { ahead })
    }

    /// A leader that handed over in vain leads no more, and cannot stand in a term of its own: it asks another voter, be
    /// that one as unfit as itself.
    fn pass_on(&mut self, now: Duration, group: &GroupView, nodes: &NodesView) -> Option<Action> {
        let lately = |last: &Duration| now < *last + RETRY;
        if self.passed_on.get(&group.shard).is_some_and(lately) {
            return None;
        }
        let order = preference(group.shard, &group.members);
        let mut others: Vec<u64> = order
            .into_iter()
            .filter(|node| *node != self.node_id && !nodes.dead.contains(node))
            .collect();
        // The best first; the order of preference among equals.
        others.sort_by_key(|node| {
            (
                !group.caught_up.contains(node),
                nodes.is_unfit(*node, group.shard),
            )
        });
        let target = *others.first()?;
        self.passed_on.insert(group.shard, now);
        let replica = group.members.iter().find(|(_, node)| *node == target);
        replica.map(|(replica, _)| Action::TransferTo(*replica))
    }

    /// A shard that a node handed over because it is to stop must not go back to it: that it is to stop is heard a few
    /// frames later.
    fn leads_long(&mut self, now: Duration, group: &GroupView) -> bool {
        let led = self.led_since.entry(group.shard).or_insert((group.term, now));
        if led.0 != group.term {
            *led = (group.term, now);
        }
        now >= led.1 + LEADS_AT_LEAST || mutant!("handed-back-at-once")
    }

    /// A leader hands over to the preferred node once that one is back and caught up, one group at a time.
    fn hand_over(&mut self, now: Duration, group: &GroupView, nodes: &NodesView) -> Option<Action> {
        if self
            .last_transfer
            .is_some_and(|last| now < last + Duration::from_millis(500))
            || group.changing
        {
            return None;
        }
        let target = preference(group.shard, &group.members).into_iter().find(|node| {
            *node == self.node_id && !nodes.self_unfit
                || *node != self.node_id
                    && !nodes.dead.contains(node)
                    && !nodes.is_unfit(*node, group.shard)
                    && group.caught_up.contains(node)
                    && nodes.fit_for.get(node).is_some_and(|fit| *fit >= BALANCE_AFTER)
        })?;
        if target == self.node_id {
            return None;
        }
        self.last_transfer = Some(now);
        group
            .members
            .iter()
            .find(|(_, node)| *node == target)
            .map(|(replica, _)| Action::TransferTo(*replica))
    }
}

/// The nodes of a group in the order in which they should lead it; rotates with the shard, so leaders spread evenly.
#[must_use]
pub fn preference(shard: u32, members: &[(u64, u64)]) -> Vec<u64> {
    let mut nodes: Vec<u64> = members.iter().map(|(_, node)| *node).collect();
    nodes.sort_unstable();
    if let Ok(turn) = usize::try_from(shard)
        && !nodes.is_empty()
    {
        let turn = turn % nodes.len();
        nodes.rotate_left(turn);
    }
    nodes
}
