//! Where replicas belong, as a pure function from what is to the next safe steps.
//!
//! A step replaces one replica of one shard: the new one is a learner until it has caught up, then both change places
//! in one joint configuration. So no step ever leaves a shard with fewer live voters than before, and no shard has
//! more than one under way. Applied again and again the steps end, and then:
//!
//! 1. no replica is on a node that is gone or leaving, if there is a node to take it;
//! 2. a shard's replicas are in as many zones as there are zones to be in;
//! 3. no shard can be moved to a node that has two replicas fewer.
//!
//! A shard of which a replica is lost is mended before anything is balanced, and only where all others serve is a
//! living replica moved.
//!
//! A shard with fewer replicas than it should have gets one more at a time. Rules 2 and 3 move living replicas, so they
//! hold only where an operator asked for them. `mover.rs` carries the steps out.

use std::collections::{BTreeMap, BTreeSet};

/// What the planner needs to know of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedNode {
    /// Its id.
    pub node: u64,
    /// What fails together: a rack, a hall, a site. Nodes without one share the empty one.
    pub zone: String,
    /// Whether replicas belong on it.
    pub state: NodeState,
}

/// Whether replicas belong on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It takes replicas.
    Serving,
    /// Not heard of, but not for long enough to be replaced: it keeps what it has and gets nothing.
    Silent,
    /// Given up: what it has is lost.
    Gone,
    /// It lives and is to be emptied.
    Leaving,
}

/// A shard's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedShard {
    /// Its number.
    pub shard: u32,
    /// Nodes of its voters.
    pub voters: Vec<u64>,
    /// The step of it that is under way.
    pub change: Option<Move>,
}

/// From a node, or from nowhere where the shard gets one replica more, to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// The node that loses its replica.
    pub from: Option<u64>,
    /// The node that gets one.
    pub to: u64,
}

/// One replica to replace or to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Of this shard.
    pub shard: u32,
    /// Which way.
    pub places: Move,
}

/// What the steps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Voters of every shard.
    pub replicas: usize,
    /// Whether living replicas move for the sake of zones and even load.
    pub balance: bool,
}

/// The steps that may begin now, at most one for each shard.
#[must_use]
pub fn next_steps(nodes: &[PlacedNode], shards: &[PlacedShard], goal: Goal) -> Vec<Step> {
    let mut board = Board::new(nodes, shards, goal);
    let mut steps: Vec<Step> = Vec::new();
    let all = [Board::mend, Board::grow, Board::widen, Board::level];
    for choose in if goal.balance { &all[..] } else { &all[..2] } {
        for shard in shards {
            if shard.change.is_some() || board.stepped.contains(&shard.shard) {
                continue;
            }
            if let Some(places) = choose(&board, shard) {
                board.carry(places);
                board.stepped.insert(shard.shard);
                steps.push(Step {
                    shard: shard.shard,
                    places,
                });
            }
        }
    }
    steps
}

/// The nodes with what they carry, as it will be once the chosen steps are done.
struct Board<'a> {
    nodes: BTreeMap<u64, &'a PlacedNode>,
    load: BTreeMap<u64, usize>,
    /// Serving nodes by zone, the least loaded first.
    room: BTreeMap<&'a str, BTreeSet<(usize, u64)>>,
    stepped: BTreeSet<u32>,
    goal: Goal,
}

impl<'a> Board<'a> {
    fn new(nodes: &'a [PlacedNode], shards: &[PlacedShard], goal: Goal) -> Self {
        let mut load: BTreeMap<u64, usize> = nodes.iter().map(|node| (node.node, 0)).collect();
        for node in shards.iter().flat_map(|shard| &shard.voters) {
            *load.entry(*node).or_default() += 1;
        }
        let mut room: BTreeMap<&str, BTreeSet<(usize, u64)>> = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.state == NodeState::Serving) {
            room.entry(&node.zone)
                .or_default()
                .insert((load[&node.node], node.node));
        }
        let mut board = Self {
            nodes: nodes.iter().map(|node| (node.node, node)).collect(),
            load,
            room,
            stepped: BTreeSet::new(),
            goal,
        };
        for places in shards.iter().filter_map(|shard| shard.change) {
            board.carry(places);
        }
        board
    }

    /// A node that nobody knows is gone.
    fn state(&self, node: u64) -> NodeState {
        self.nodes.get(&node).map_or(NodeState::Gone, |node| node.state)
    }

    fn zone(&self, node: u64) -> Option<&'a str> {
        self.nodes.get(&node).map(|node| node.zone.as_str())
    }

    /// Replaces a replica that is lost, else one that is to leave.
    fn mend(&self, shard: &PlacedShard) -> Option<Move> {
        let in_state = |state| {
            shard
                .voters
                .iter()
                .copied()
                .find(|node| self.state(*node) == state)
        };
        let from = match in_state(NodeState::Gone) {
            Some(gone) => gone,
            None if self.is_whole(shard, NodeState::Leaving) => in_state(NodeState::Leaving)?,
            None => return None,
        };
        let to = self
            .place(shard, from, false)
            .or_else(|| self.place(shard, from, true))?;
        Some(Move { from: Some(from), to })
    }

    /// Gives a shard one more replica where it has too few.
    fn grow(&self, shard: &PlacedShard) -> Option<Move> {
        if shard.voters.len() >= self.goal.replicas || !self.is_whole(shard, NodeState::Serving) {
            return None;
        }
        let nobody = 0;
        let to = self
            .place(shard, nobody, false)
            .or_else(|| self.place(shard, nobody, true))?;
        Some(Move { from: None, to })
    }

    /// Takes one of two replicas in one zone to a zone that has none.
    fn widen(&self, shard: &PlacedShard) -> Option<Move> {
        if !self.is_whole(shard, NodeState::Serving) {
            return None;
        }
        let twice = shard.voters.iter().copied().filter(|node| {
            let mut others = shard.voters.iter().filter(|other| *other != node);
            others.any(|other| self.zone(*other) == self.zone(*node))
        });
        let from = twice.max_by_key(|node| (self.load(*node), *node))?;
        let to = self.place(shard, from, false)?;
        Some(Move { from: Some(from), to })
    }

    /// Takes a replica from a node that has at least two more than the one it goes to.
    fn level(&self, shard: &PlacedShard) -> Option<Move> {
        if !self.is_whole(shard, NodeState::Serving) {
            return None;
        }
        let moves = shard.voters.iter().filter_map(|from| {
            let zones = self.other_zones(shard, *from);
            // Where its zone has another replica anyway, no zone is lost by any move.
            let any = self.zone(*from).is_some_and(|zone| zones.contains(zone));
            let to = self.place(shard, *from, any)?;
            let less = self.load(*from).checked_sub(self.load(to) + 2)?;
            Some((less, *from, to))
        });
        let (_, from, to) = moves.max()?;
        Some(Move { from: Some(from), to })
    }

    /// Whether every replica is on a node that serves or is in this state.
    fn is_whole(&self, shard: &PlacedShard, or: NodeState) -> bool {
        let sound = |state| state == NodeState::Serving || state == or;
        shard.voters.iter().all(|node| sound(self.state(*node)))
    }

    fn load(&self, node: u64) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }

    fn other_zones(&self, shard: &PlacedShard, from: u64) -> BTreeSet<&'a str> {
        let others = shard.voters.iter().filter(|node| **node != from);
        others.filter_map(|node| self.zone(*node)).collect()
    }

    /// The least loaded node for a replica that leaves `from`: in a zone of its own, or in `any`.
    fn place(&self, shard: &PlacedShard, from: u64, any: bool) -> Option<u64> {
        let taken = self.other_zones(shard, from);
        let zones = self
            .room
            .iter()
            .filter(|(zone, _)| any || !taken.contains(**zone));
        let best = zones.filter_map(|(_, room)| room.iter().find(|(_, node)| !shard.voters.contains(node)));
        best.min().map(|(_, node)| *node)
    }

    fn carry(&mut self, places: Move) {
        if let Some(from) = places.from {
            self.reload(from, |load| load.saturating_sub(1));
        }
        self.reload(places.to, |load| load + 1);
    }

    fn reload(&mut self, node: u64, change: impl Fn(usize) -> usize) {
        let before = self.load(node);
        let after = change(before);
        self.load.insert(node, after);
        let Some(zone) = self.zone(node) else { return };
        if let Some(room) = self.room.get_mut(zone)
            && room.remove(&(before, node))
        {
            room.insert((after, node));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };
    use proptest::test_runner::TestCaseError;
    use proptest::{collection, sample};

    use super::*;

    fn node(node: u64, zone: usize, state: NodeState) -> PlacedNode {
        PlacedNode {
            node,
            zone: format!("z{zone}"),
            state,
        }
    }

    fn shard(shard: u32, voters: &[u64]) -> PlacedShard {
        PlacedShard {
            shard,
            voters: voters.to_vec(),
            change: None,
        }
    }

    const EVEN: Goal = Goal {
        replicas: 3,
        balance: true,
    };

    fn step(shard: u32, from: u64, to: u64) -> Step {
        let places = Move { from: Some(from), to };
        Step { shard, places }
    }

    /// A step that was taken, with the shard's voters before and after it.
    struct Taken {
        step: Step,
        before: Vec<u64>,
        after: Vec<u64>,
    }

    fn take(step: Step, shards: &mut [PlacedShard]) -> Taken {
        let shard = shards
            .iter_mut()
            .find(|shard| shard.shard == step.shard)
            .expect("its shard");
        let before = shard.voters.clone();
        if let Some(from) = step.places.from {
            let at = before.iter().position(|node| *node == from);
            shard.voters.remove(at.expect("its replica"));
        }
        shard.voters.push(step.places.to);
        let after = shard.voters.clone();
        Taken { step, before, after }
    }

    /// All steps until there is none, as rounds; `None` where they do not end.
    fn settle(nodes: &[PlacedNode], shards: &mut [PlacedShard], goal: Goal) -> Option<Vec<Vec<Taken>>> {
        let mut rounds = Vec::new();
        for _ in 0..1_000 {
            let steps = next_steps(nodes, shards, goal);
            if steps.is_empty() {
                return Some(rounds);
            }
            rounds.push(steps.into_iter().map(|step| take(step, shards)).collect());
        }
        None
    }

    #[test]
    fn what_a_lost_node_had_is_made_again_and_nothing_else_moves() {
        let mut nodes: Vec<_> = (1..=4).map(|id| node(id, 0, NodeState::Serving)).collect();
        nodes[0].state = NodeState::Gone;
        let shards = [shard(1, &[1, 2, 3]), shard(2, &[2, 3, 4]), shard(3, &[1, 2, 4])];
        let goal = Goal {
            balance: false,
            ..EVEN
        };
        let steps = next_steps(&nodes, &shards, goal);
        assert_eq!(steps, [step(1, 1, 4), step(3, 1, 3)]);
    }

    #[test]
    fn a_shard_of_one_replica_grows_to_three_one_at_a_time() {
        let nodes: Vec<_> = (1..=3).map(|id| node(id, 0, NodeState::Serving)).collect();
        let mut shards = [shard(1, &[2])];
        let rounds = settle(&nodes, &mut shards, EVEN).expect("it ends");
        let added: Vec<_> = rounds.iter().flatten().map(|taken| taken.step.places).collect();
        let one = |to| Move { from: None, to };
        assert_eq!(added, [one(1), one(3)]);
    }

    #[test]
    fn a_step_under_way_counts_as_done_and_is_left_alone() {
        let nodes: Vec<_> = (1..=5).map(|id| node(id, 0, NodeState::Serving)).collect();
        let mut shards = [shard(1, &[1, 2, 3]), shard(2, &[1, 2, 3])];
        let under_way = Move { from: Some(1), to: 4 };
        shards[0].change = Some(under_way);
        let steps = next_steps(&nodes, &shards, EVEN);
        assert_eq!(steps, [step(2, 3, 5)]);
    }

    #[test]
    fn a_silent_node_keeps_its_replicas_and_holds_up_the_balance_of_its_shards() {
        let mut nodes: Vec<_> = (1..=5).map(|id| node(id, 0, NodeState::Serving)).collect();
        nodes[0].state = NodeState::Silent;
        let shards: Vec<_> = (1..=6).map(|number| shard(number, &[1, 2, 3])).collect();
        assert_eq!(next_steps(&nodes, &shards, EVEN), []);
    }

    #[test]
    fn nowhere_to_go_is_no_step() {
        let mut nodes: Vec<_> = (1..=3).map(|id| node(id, 0, NodeState::Serving)).collect();
        nodes[0].state = NodeState::Gone;
        assert_eq!(next_steps(&nodes, &[shard(1, &[1, 2, 3])], EVEN), []);
    }

    #[test]
    fn two_replicas_of_one_zone_part_when_another_zone_comes() {
        let nodes = [(1, 0), (2, 0), (3, 1), (4, 2)].map(|(id, zone)| node(id, zone, NodeState::Serving));
        let mut shards = [shard(1, &[1, 2, 3])];
        settle(&nodes, &mut shards, EVEN).expect("it ends");
        assert!(shards[0].voters.contains(&3) && shards[0].voters.contains(&4));
    }

    fn state() -> impl Strategy<Value = NodeState> {
        use NodeState::{Gone, Leaving, Serving, Silent};
        sample::select(vec![
            Serving, Serving, Serving, Serving, Serving, Silent, Gone, Leaving,
        ])
    }

    #[derive(Clone, Debug)]
    enum Happens {
        /// A node is not heard, is heard again, is given up, or is to leave.
        Turns(sample::Index, NodeState),
        /// All steps that may begin do.
        Begins,
        /// The step of a shard is carried out, or given up where its new node is not heard.
        Ends(sample::Index),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            2 => (any::<sample::Index>(), state()).prop_map(|(at, to)| Happens::Turns(at, to)),
            2 => Just(Happens::Begins),
            3 => any::<sample::Index>().prop_map(Happens::Ends),
        ]
    }

    /// Nobody comes back from being given up, and who is to leave stays so while it lives.
    fn turn(node: &mut PlacedNode, to: NodeState) {
        node.state = match (node.state, to) {
            (NodeState::Gone, _) => NodeState::Gone,
            (NodeState::Leaving, NodeState::Serving | NodeState::Silent) => NodeState::Leaving,
            _ => to,
        };
    }

    fn state_of(nodes: &[PlacedNode], id: u64) -> NodeState {
        let found = nodes.iter().find(|node| node.node == id);
        found.map_or(NodeState::Gone, |node| node.state)
    }

    fn begin(nodes: &[PlacedNode], shards: &mut [PlacedShard], goal: Goal) -> Result<(), TestCaseError> {
        for Step { shard, places } in next_steps(nodes, shards, goal) {
            let state = |id| state_of(nodes, id);
            let shard = shards
                .iter_mut()
                .find(|placed| placed.shard == shard)
                .expect("its shard");
            prop_assert!(shard.change.is_none(), "one step of a shard at once");
            prop_assert_eq!(state(places.to), NodeState::Serving);
            prop_assert!(
                !shard.voters.contains(&places.to),
                "a node has one replica of a shard"
            );
            let from = places.from.expect("every shard has three");
            prop_assert!(shard.voters.contains(&from));
            prop_assert!(
                state(from) != NodeState::Silent,
                "what may come back is not given up"
            );
            let others_are_heard = shard
                .voters
                .iter()
                .all(|id| matches!(state(*id), NodeState::Serving | NodeState::Leaving));
            prop_assert!(
                state(from) == NodeState::Gone || others_are_heard,
                "a living replica moves only where all others serve"
            );
            shard.change = Some(places);
        }
        Ok(())
    }

    fn end(nodes: &[PlacedNode], shard: &mut PlacedShard) -> Result<(), TestCaseError> {
        let Some(places) = shard.change.take() else {
            return Ok(());
        };
        let lives = |id: &&u64| state_of(nodes, **id) != NodeState::Gone;
        if !matches!(
            state_of(nodes, places.to),
            NodeState::Serving | NodeState::Leaving
        ) {
            // It never caught up.
            return Ok(());
        }
        let before = shard.voters.iter().filter(lives).count();
        shard.voters.retain(|id| Some(*id) != places.from);
        shard.voters.push(places.to);
        prop_assert!(shard.voters.iter().filter(lives).count() >= before);
        prop_assert_eq!(shard.voters.len(), 3);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn steps_are_safe_and_end(
            states in collection::vec((0_usize..4, state()), 3..14),
            places in collection::vec(collection::vec(any::<sample::Index>(), 3), 1..60),
            balance in any::<bool>(),
        ) {
            let nodes: Vec<_> = (1..).zip(&states).map(|(id, (zone, state))| node(id, *zone, *state)).collect();
            let mut shards: Vec<_> = (1..).zip(&places).map(|(number, places)| {
                let mut free: Vec<u64> = nodes.iter().map(|node| node.node).collect();
                let voters: Vec<u64> = places.iter().map(|at| free.remove(at.index(free.len()))).collect();
                shard(number, &voters)
            }).collect();
            let named: BTreeMap<u64, &PlacedNode> = nodes.iter().map(|node| (node.node, node)).collect();
            let state = |id: u64| named[&id].state;
            let zone = |id: u64| named[&id].zone.clone();
            let zones = |voters: &[u64]| voters.iter().map(|id| zone(*id)).collect::<BTreeSet<_>>().len();
            let before = shards.clone();
            let serving: Vec<u64> = nodes.iter().map(|node| node.node).filter(|id| state(*id) == NodeState::Serving).collect();
            let heard = |voters: &[u64]| {
                let is_heard = |id: &&u64| matches!(state(**id), NodeState::Serving | NodeState::Leaving);
                voters.iter().filter(is_heard).count()
            };
            // Silent ones may come back.
            let live = |voters: &[u64]| voters.iter().filter(|id| state(**id) != NodeState::Gone).count();
            let rounds = settle(&nodes, &mut shards, Goal { balance, ..EVEN });
            prop_assert!(rounds.is_some(), "the steps end");
            for steps in rounds.iter().flatten() {
                let of: BTreeSet<u32> = steps.iter().map(|taken| taken.step.shard).collect();
                prop_assert_eq!(of.len(), steps.len(), "one step of a shard at once");
                for Taken { step, before, after } in steps {
                    let (from, to) = (step.places.from.expect("every shard has three"), step.places.to);
                    prop_assert_eq!(state(to), NodeState::Serving);
                    prop_assert!(state(from) != NodeState::Silent, "what may come back is not given up");
                    prop_assert!(live(after) >= live(before), "{:?}: {:?} -> {:?}", step, before, after);
                    prop_assert!(heard(after) >= heard(before), "{:?}: {:?} -> {:?}", step, before, after);
                    let moves_for_comfort = state(from) == NodeState::Serving;
                    prop_assert!(balance || !moves_for_comfort, "nothing living moves unasked");
                    let others: BTreeSet<String> = before.iter().filter(|id| **id != from).map(|id| zone(*id)).collect();
                    let is_free = |id: &u64| !before.contains(id) && !others.contains(&zone(*id));
                    if serving.iter().any(is_free) {
                        prop_assert!(!others.contains(&zone(to)), "{:?}: a zone of its own is to be had", step);
                    }
                }
            }
            for (before, after) in before.iter().zip(&shards) {
                let homes: BTreeSet<u64> = after.voters.iter().copied().collect();
                prop_assert_eq!(homes.len(), 3, "replicas on different nodes");
                prop_assert!(live(&after.voters) >= live(&before.voters));
                if serving.iter().any(|id| !homes.contains(id)) {
                    prop_assert!(after.voters.iter().all(|id| state(*id) != NodeState::Gone), "a free node takes what is lost");
                }
                if balance && after.voters.iter().all(|id| state(*id) == NodeState::Serving) {
                    let possible = zones(&serving).min(3);
                    prop_assert_eq!(zones(&after.voters), possible, "as many zones as there are");
                }
            }
        }

        #[test]
        fn steps_are_safe_and_end_whatever_becomes_of_nodes_meanwhile(
            zones in collection::vec(0_usize..4, 4..10),
            count in 1_u32..20,
            story in collection::vec(happens(), 1..80),
            balance in any::<bool>(),
        ) {
            let goal = Goal { balance, ..EVEN };
            let mut nodes: Vec<_> = (1..).zip(&zones).map(|(id, zone)| node(id, *zone, NodeState::Serving)).collect();
            let mut shards: Vec<_> = (1..=count).map(|number| shard(number, &[1, 2, 3])).collect();
            for event in story {
                match event {
                    Happens::Turns(at, to) => turn(&mut nodes[at.index(zones.len())], to),
                    Happens::Begins => begin(&nodes, &mut shards, goal)?,
                    Happens::Ends(at) => end(&nodes, &mut shards[at.index(count as usize)])?,
                }
            }
            // Nothing more happens: what is under way ends, what is to be done begins, and that ends, too.
            let mut rounds = 0;
            loop {
                shards.iter_mut().try_for_each(|shard| end(&nodes, shard))?;
                begin(&nodes, &mut shards, goal)?;
                if shards.iter().all(|shard| shard.change.is_none()) {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 1_000, "the steps end");
            }
        }

        #[test]
        fn a_cluster_without_trouble_becomes_even(nodes in 3_u64..20, shards in 1_u32..200) {
            let placed: Vec<_> = (1..=nodes).map(|id| node(id, 0, NodeState::Serving)).collect();
            let mut all: Vec<_> = (1..=shards).map(|number| shard(number, &[1, 2, 3])).collect();
            prop_assert!(settle(&placed, &mut all, EVEN).is_some());
            let load = |id: u64| all.iter().filter(|shard| shard.voters.contains(&id)).count();
            let loads: Vec<usize> = (1..=nodes).map(load).collect();
            let (least, most) = (loads.iter().min().copied(), loads.iter().max().copied());
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{:?}", loads);
        }
    }
}
