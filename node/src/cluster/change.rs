//! What may become of a cluster's plan, as pure functions from one plan to the next. `Ok(None)`: it is so already.

use spine_proto::storage::v1::{ClusterPlan, Member, NodeState, PlanNode, PlanShard, ReplicaChange};

use super::placement::{Goal, Move, PlacedNode, PlacedShard, Step};
use super::{placement, rows};

/// A cluster has at most so many nodes, removed ones included.
pub const NODES_MAX: usize = 1_024;
/// Bytes of an address or a zone's name.
const NAME_BYTES_MAX: usize = 256;

/// Why a plan is not changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No node has this id.
    #[error("no node has the id {0}")]
    NoSuchNode(u64),
    /// A node that was given up never comes back under its id.
    #[error("node {0} was removed from the cluster; join anew with an empty data directory")]
    Removed(u64),
    /// Two nodes cannot have one address.
    #[error("another node has the address {0}")]
    AddressTaken(String),
    /// The data directory is not the one that joined under this id.
    #[error("node {0} has another data directory")]
    AnotherStore(u64),
    /// Something a node says of itself cannot be.
    #[error("{0}")]
    Malformed(&'static str),
    /// What lives is emptied, or stopped by somebody who knows that it is the dead one.
    #[error("node {0} is heard: empty it with `spinectl node decommission {0}`, or stop it first")]
    Heard(u64),
    /// Too few replicas would be left.
    #[error("shard {shard} would be left with {left} of {voters} replicas on nodes that are heard")]
    QuorumAtRisk {
        /// The shard.
        shard: u32,
        /// Replicas on nodes that are heard and were not given up.
        left: usize,
        /// All its voters.
        voters: usize,
    },
    /// Nowhere to put what the node has.
    #[error("there is no other node for the replicas of shard {0}")]
    NoRoom(u32),
    /// More nodes than [`NODES_MAX`].
    #[error("a cluster has at most {NODES_MAX} nodes")]
    TooManyNodes,
}

impl Refused {
    /// For programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchNode(_) => "NO_SUCH_NODE",
            Self::Removed(_) => "NODE_REMOVED",
            Self::AddressTaken(_) => "ADDRESS_TAKEN",
            Self::AnotherStore(_) => "ANOTHER_STORE",
            Self::Malformed(_) => "MALFORMED_NODE",
            Self::Heard(_) => "NODE_HEARD",
            Self::QuorumAtRisk { .. } => "QUORUM_AT_RISK",
            Self::NoRoom(_) => "NO_ROOM",
            Self::TooManyNodes => "TOO_MANY_NODES",
        }
    }
}

/// What became of a plan.
pub type Changed = Result<Option<ClusterPlan>, Refused>;

fn next(plan: &ClusterPlan) -> ClusterPlan {
    let mut next = plan.clone();
    next.epoch += 1;
    next
}

/// The replica of a shard that lives, or is to live, on a node. One that comes in the place of one that was lost there
/// goes first.
#[must_use]
pub fn replica_on(shard: &PlanShard, node_id: u64) -> Option<Member> {
    let joining = shard.change.as_ref().and_then(|change| change.joining);
    let mut all = joining.iter().chain(&shard.members);
    all.find(|member| member.node_id == node_id).copied()
}

/// Whether a replica comes that has no log yet.
#[must_use]
pub fn is_new(shard: &PlanShard, replica_id: u64) -> bool {
    let change = shard.change.as_ref().filter(|change| !change.created);
    change
        .and_then(|change| change.joining)
        .is_some_and(|joining| joining.replica_id == replica_id)
}

/// A node of the plan that was not given up.
///
/// # Errors
/// [`Refused::NoSuchNode`], [`Refused::Removed`]
pub fn node(plan: &ClusterPlan, node_id: u64) -> Result<&PlanNode, Refused> {
    let node = plan.nodes.iter().find(|node| node.node_id == node_id);
    let node = node.ok_or(Refused::NoSuchNode(node_id))?;
    match node.state() {
        NodeState::Removed => Err(Refused::Removed(node_id)),
        NodeState::Serving | NodeState::Leaving | NodeState::Lost => Ok(node),
    }
}

fn node_mut(plan: &mut ClusterPlan, node_id: u64) -> Result<&mut PlanNode, Refused> {
    let node = plan.nodes.iter_mut().find(|node| node.node_id == node_id);
    node.ok_or(Refused::NoSuchNode(node_id))
}

fn check_names(node: &PlanNode) -> Result<(), Refused> {
    let names = [
        &node.peer_address,
        &node.grpc_address,
        &node.admin_address,
        &node.zone,
    ];
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(Refused::Malformed("an address or a zone is too long"));
    }
    if spine_cluster_config::split_host_port(&node.peer_address).is_err() {
        return Err(Refused::Malformed("the peer address is not host:port"));
    }
    Ok(())
}

fn check_address(plan: &ClusterPlan, node: &PlanNode) -> Result<(), Refused> {
    let taken = plan.nodes.iter().any(|other| {
        other.node_id != node.node_id
            && other.peer_address == node.peer_address
            && other.state() != NodeState::Removed
    });
    if taken {
        return Err(Refused::AddressTaken(node.peer_address.clone()));
    }
    Ok(())
}

/// A node without data joins; its id is the highest one.
///
/// # Errors
/// An address that another node has, a node that says what cannot be, too many nodes.
pub fn join(plan: &ClusterPlan, newcomer: &PlanNode) -> Result<ClusterPlan, Refused> {
    check_names(newcomer)?;
    if newcomer.store_uuid.len() != 16 {
        return Err(Refused::Malformed("the id of the data directory is not 16 bytes"));
    }
    if plan.nodes.len() >= NODES_MAX {
        return Err(Refused::TooManyNodes);
    }
    let last = plan.nodes.iter().map(|node| node.node_id).max().unwrap_or(0);
    let newcomer = PlanNode {
        node_id: last + 1,
        state: NodeState::Serving.into(),
        ..newcomer.clone()
    };
    check_address(plan, &newcomer)?;
    let mut next = next(plan);
    next.nodes.push(newcomer);
    Ok(next)
}

/// A node is found under other addresses.
///
/// # Errors
/// No such node, another data directory, an address that another node has.
pub fn set_addresses(plan: &ClusterPlan, now: &PlanNode) -> Changed {
    let known = node(plan, now.node_id)?;
    if !known.store_uuid.is_empty() && known.store_uuid != now.store_uuid {
        return Err(Refused::AnotherStore(now.node_id));
    }
    check_names(now)?;
    check_address(plan, now)?;
    let now = PlanNode {
        state: known.state,
        ..now.clone()
    };
    if *known == now {
        return Ok(None);
    }
    let mut next = next(plan);
    let node_id = now.node_id;
    *node_mut(&mut next, node_id)? = now;
    Ok(Some(next))
}

/// A node is to be emptied, given up, or takes replicas again. Those in `silent` are not heard.
///
/// # Errors
/// No such node; [`Refused::Heard`] where a living one would be given up; [`Refused::QuorumAtRisk`] and
/// [`Refused::NoRoom`] where a shard would lose too much.
pub fn set_state(plan: &ClusterPlan, node_id: u64, state: NodeState, silent: &[u64]) -> Changed {
    let known = match node(plan, node_id) {
        // Whoever asks again has had no answer.
        Err(Refused::Removed(_)) if state == NodeState::Removed => return Ok(None),
        known => known?,
    };
    if known.state() == state {
        return Ok(None);
    }
    let mut next = next(plan);
    node_mut(&mut next, node_id)?.set_state(state);
    match state {
        NodeState::Serving | NodeState::Lost => {}
        NodeState::Leaving => check_room(&next, node_id)?,
        NodeState::Removed if !silent.contains(&node_id) => return Err(Refused::Heard(node_id)),
        NodeState::Removed => check_quorums(&next, node_id, silent)?,
    }
    Ok(Some(next))
}

/// A node that leaves and has nothing any more belongs to the cluster no longer, though it lives.
#[must_use]
pub fn let_go(plan: &ClusterPlan, node_id: u64) -> Option<ClusterPlan> {
    let known = node(plan, node_id).ok()?;
    if known.state() != NodeState::Leaving || !is_empty(plan, node_id) {
        return None;
    }
    let mut next = next(plan);
    node_mut(&mut next, node_id).ok()?.set_state(NodeState::Removed);
    Some(next)
}

/// Whether a node has no replica and is to get none.
#[must_use]
pub fn is_empty(plan: &ClusterPlan, node_id: u64) -> bool {
    let mut shards = plan.shards.iter();
    shards.all(|shard| replica_on(shard, node_id).is_none())
}

/// Whether every replica of a node that is to be emptied has somewhere to go.
fn check_room(plan: &ClusterPlan, leaver: u64) -> Result<(), Refused> {
    for shard in plan.shards.iter().filter(|shard| hosts(shard, leaver)) {
        let free = |node: &&PlanNode| node.state() == NodeState::Serving && !hosts(shard, node.node_id);
        if !plan.nodes.iter().any(|node| free(&node)) {
            return Err(Refused::NoRoom(shard.shard));
        }
    }
    Ok(())
}

/// Whether every shard keeps a majority on the nodes that are heard, without those that were given up.
fn check_quorums(plan: &ClusterPlan, leaver: u64, silent: &[u64]) -> Result<(), Refused> {
    let is_there = |id: u64| node(plan, id).is_ok() && !silent.contains(&id);
    for shard in plan.shards.iter().filter(|shard| hosts(shard, leaver)) {
        let stays = |member: &&Member| is_there(member.node_id);
        let (left, voters) = (shard.members.iter().filter(stays).count(), shard.members.len());
        if left * 2 <= voters {
            return Err(Refused::QuorumAtRisk {
                shard: shard.shard,
                left,
                voters,
            });
        }
    }
    Ok(())
}

fn hosts(shard: &PlanShard, node_id: u64) -> bool {
    shard.members.iter().any(|member| member.node_id == node_id)
}

/// Load is to be made even, or is.
#[must_use]
pub fn set_balancing(plan: &ClusterPlan, balancing: bool) -> Option<ClusterPlan> {
    (plan.balancing != balancing).then(|| ClusterPlan {
        balancing,
        ..next(plan)
    })
}

fn shard_mut(plan: &mut ClusterPlan, shard: u32) -> Option<&mut PlanShard> {
    plan.shards.iter_mut().find(|planned| planned.shard == shard)
}

/// The shard, where the change under way is that of this replica: what is told of an earlier change may come late.
fn joined_mut(plan: &mut ClusterPlan, shard: u32, joining: u64) -> Option<&mut PlanShard> {
    let is_it = |change: &ReplicaChange| change.joining.map_or(0, |member| member.replica_id) == joining;
    let planned = shard_mut(plan, shard)?;
    planned.change.as_ref().is_some_and(is_it).then_some(planned)
}

/// A replica that may not vote any more is replaced by a new one on its own node; one that was about to join does not.
#[must_use]
pub fn replace_lost(plan: &ClusterPlan, shard: u32, lost: Member) -> Option<ClusterPlan> {
    let places = Move {
        from: Some(lost.node_id),
        to: lost.node_id,
    };
    let planned = plan.shards.iter().find(|planned| planned.shard == shard)?;
    if let Some(change) = planned.change.filter(|change| change.joining == Some(lost)) {
        let mut next = next(plan);
        shard_mut(&mut next, shard)?.change = Some(ReplicaChange { lost: true, ..change });
        return (!change.lost).then_some(next);
    }
    planned.members.contains(&lost).then_some(())?;
    begin(plan, Step { shard, places })
}

/// The first row of a step, with a replica id that nobody ever had; `None` where the shard has a change under way, or is
/// not as the step takes it to be.
#[must_use]
pub fn begin(plan: &ClusterPlan, step: Step) -> Option<ClusterPlan> {
    let mut next = next(plan);
    let replica_id = rows::last_replica_id(plan) + 1;
    next.last_replica_id = replica_id;
    let shard = shard_mut(&mut next, step.shard)?;
    if shard.change.is_some() {
        return None;
    }
    let leaving = match step.places.from {
        None => 0,
        Some(from) => {
            let leaver = shard.members.iter().find(|member| member.node_id == from)?;
            leaver.replica_id
        }
    };
    shard.change = Some(ReplicaChange {
        joining: Some(Member {
            replica_id,
            node_id: step.places.to,
        }),
        leaving,
        created: false,
        lost: false,
    });
    Some(next)
}

/// The joining replica has its log.
#[must_use]
pub fn created(plan: &ClusterPlan, shard: u32, joining: u64) -> Option<ClusterPlan> {
    let mut next = next(plan);
    let change = joined_mut(&mut next, shard, joining)?.change.as_mut()?;
    if std::mem::replace(&mut change.created, true) {
        return None;
    }
    Some(next)
}

/// The joining replica votes, and the leaving one is no more.
#[must_use]
pub fn finish(plan: &ClusterPlan, shard: u32, joining: u64) -> Option<ClusterPlan> {
    let mut next = next(plan);
    let shard = joined_mut(&mut next, shard, joining)?;
    let change = shard.change.take()?;
    shard.members.retain(|member| member.replica_id != change.leaving);
    shard.members.extend(change.joining);
    shard.members.sort_by_key(|member| member.node_id);
    Some(next)
}

/// The joining replica will not vote.
#[must_use]
pub fn abandon(plan: &ClusterPlan, shard: u32, joining: u64) -> Option<ClusterPlan> {
    let mut next = next(plan);
    joined_mut(&mut next, shard, joining)?.change.take()?;
    Some(next)
}

/// The joining replica comes to another node; `None` where somebody may have begun it, or where it is to replace one that
/// was lost on its own node.
#[must_use]
pub fn pass_over(plan: &ClusterPlan, shard: u32, joining: u64) -> Option<ClusterPlan> {
    let mut next = next(plan);
    let planned = joined_mut(&mut next, shard, joining)?;
    let change = planned.change?;
    if change.created || !comes_anew(plan, shard) {
        return None;
    }
    planned.change = None;
    Some(next)
}

/// Whether the joining replica of a shard comes to a node that has none, so that any other node would do as well.
#[must_use]
pub fn comes_anew(plan: &ClusterPlan, shard: u32) -> bool {
    let planned = plan.shards.iter().find(|planned| planned.shard == shard);
    let joining = planned.and_then(|planned| planned.change?.joining);
    planned.is_some_and(|planned| joining.is_some_and(|joining| !hosts(planned, joining.node_id)))
}

/// How many shards change now. One whose joining replica is on a node that is not heard waits, and holds up no other.
#[must_use]
pub fn under_way(plan: &ClusterPlan, silent: &[u64]) -> usize {
    let changes = plan.shards.iter().filter_map(|shard| shard.change?.joining);
    changes
        .filter(|joining| !silent.contains(&joining.node_id))
        .count()
}

/// The steps that may begin now, by what is known of the nodes: those in `silent` are not heard.
#[must_use]
pub fn steps(plan: &ClusterPlan, silent: &[u64], balance: bool) -> Vec<Step> {
    let nodes: Vec<PlacedNode> = plan.nodes.iter().map(|node| placed(node, silent)).collect();
    let shards: Vec<PlacedShard> = plan.shards.iter().map(placed_shard).collect();
    let goal = Goal {
        replicas: usize::try_from(plan.replicas).unwrap_or(0),
        balance,
    };
    placement::next_steps(&nodes, &shards, goal)
}

fn placed(node: &PlanNode, silent: &[u64]) -> PlacedNode {
    let state = match node.state() {
        NodeState::Removed | NodeState::Lost => placement::NodeState::Gone,
        _ if silent.contains(&node.node_id) => placement::NodeState::Silent,
        NodeState::Leaving => placement::NodeState::Leaving,
        NodeState::Serving => placement::NodeState::Serving,
    };
    PlacedNode {
        node: node.node_id,
        zone: node.zone.clone(),
        state,
    }
}

fn placed_shard(shard: &PlanShard) -> PlacedShard {
    let node_of = |replica: u64| {
        let member = shard.members.iter().find(|member| member.replica_id == replica);
        member.map(|member| member.node_id)
    };
    let change = shard.change.as_ref().and_then(|change| {
        let to = change.joining?.node_id;
        let from = node_of(change.leaving);
        Some(Move { from, to })
    });
    PlacedShard {
        shard: shard.shard,
        voters: shard.members.iter().map(|member| member.node_id).collect(),
        change,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cluster::plan::decide;

    fn named(number: u64) -> PlanNode {
        PlanNode {
            peer_address: format!("n{number}:1"),
            store_uuid: Bytes::from(vec![u8::try_from(number).expect("few"); 16]),
            ..PlanNode::default()
        }
    }

    /// Three nodes, eight shards and the meta group on all of them.
    fn plan() -> ClusterPlan {
        let nodes = (1..=3).map(|number| PlanNode {
            store_uuid: Bytes::new(),
            ..named(number)
        });
        decide(nodes.collect(), 8, 3, Bytes::new(), Bytes::new()).expect("plan")
    }

    /// The replica that joins a shard.
    fn joining(plan: &ClusterPlan, shard: u32) -> u64 {
        let planned = plan.shards.iter().find(|planned| planned.shard == shard);
        let change = planned.and_then(|planned| planned.change).expect("under way");
        change.joining.expect("one joins").replica_id
    }

    /// Carries every step out at once, again and again.
    fn settle(mut plan: ClusterPlan, balance: bool) -> ClusterPlan {
        for _ in 0..1_000 {
            let Some(step) = steps(&plan, &[], balance).into_iter().next() else {
                return plan;
            };
            plan = begin(&plan, step).expect("it may begin");
            let joining = joining(&plan, step.shard);
            plan = created(&plan, step.shard, joining).expect("not yet created");
            plan = finish(&plan, step.shard, joining).expect("under way");
        }
        panic!("the steps do not end")
    }

    #[test]
    fn a_node_that_joins_gets_a_new_id_and_no_replicas_until_asked() {
        let plan = join(&plan(), &named(9)).expect("it may join");
        assert_eq!(plan.epoch, 1);
        assert_eq!(plan.nodes.last().map(|node| node.node_id), Some(4));
        assert_eq!(steps(&plan, &[], false), []);
        assert!(!steps(&plan, &[], true).is_empty());
    }

    #[test]
    fn replica_ids_are_never_given_twice() {
        let plan = join(&plan(), &named(9)).expect("it may join");
        let mut given = std::collections::BTreeSet::new();
        let mut now = plan;
        for _ in 0..20 {
            let step = steps(&now, &[], true)[0];
            now = begin(&now, step).expect("it may begin");
            let joining = joining(&now, step.shard);
            assert!(given.insert(joining));
            now = abandon(&now, step.shard, joining).expect("under way");
        }
    }

    #[test]
    fn a_node_that_leaves_is_emptied_and_the_others_keep_three_each() {
        let plan = join(&plan(), &named(9)).expect("it may join");
        let plan = set_state(&plan, 2, NodeState::Leaving, &[])
            .expect("room")
            .expect("news");
        assert!(let_go(&plan, 2).is_none(), "it has something");
        let plan = settle(plan, false);
        assert!(let_go(&plan, 4).is_none(), "it does not leave");
        let gone = let_go(&plan, 2).expect("it is empty");
        assert!(node(&gone, 2) == Err(Refused::Removed(2)));
        assert!(
            plan.shards
                .iter()
                .all(|shard| !hosts(shard, 2) && shard.members.len() == 3)
        );
    }

    #[test]
    fn who_would_be_missed_does_not_leave() {
        assert!(set_state(&plan(), 2, NodeState::Leaving, &[]) == Err(Refused::NoRoom(0)));
        let one_gone = set_state(&plan(), 2, NodeState::Removed, &[2])
            .expect("two stay")
            .expect("news");
        let refused = set_state(&one_gone, 3, NodeState::Removed, &[2, 3]);
        assert!(matches!(refused, Err(Refused::QuorumAtRisk { left: 1, .. })));
        assert!(set_state(&one_gone, 2, NodeState::Serving, &[]) == Err(Refused::Removed(2)));
        assert!(
            set_state(&one_gone, 2, NodeState::Removed, &[2]) == Ok(None),
            "again"
        );
    }

    #[test]
    fn who_is_heard_is_not_given_up_and_who_is_not_heard_does_not_count() {
        let plan = plan();
        // Node 3 was meant.
        let refused = set_state(&plan, 2, NodeState::Removed, &[3])
            .err()
            .expect("refused");
        assert_eq!(refused, Refused::Heard(2));
        assert_eq!(refused.reason(), "NODE_HEARD");
        assert!(refused.to_string().contains("spinectl node decommission 2"));
        let refused = set_state(&plan, 2, NodeState::Removed, &[2, 3]);
        assert!(matches!(refused, Err(Refused::QuorumAtRisk { left: 1, .. })));
        assert!(set_state(&plan, 3, NodeState::Removed, &[3]).is_ok_and(|next| next.is_some()));
    }

    #[test]
    fn what_is_told_of_an_earlier_change_is_not_noted_for_a_later_one() {
        let plan = join(&plan(), &named(9)).expect("it may join");
        let step = steps(&plan, &[], true)[0];
        let plan = begin(&plan, step).expect("it may begin");
        let earlier = joining(&plan, step.shard);
        let plan = abandon(&plan, step.shard, earlier).expect("under way");
        let plan = begin(&plan, step).expect("it may begin");
        for note in [created, finish, abandon] {
            assert!(note(&plan, step.shard, earlier).is_none());
        }
        let later = joining(&plan, step.shard);
        for note in [created, finish, abandon] {
            assert!(note(&plan, step.shard, later).is_some());
        }
    }

    #[test]
    fn a_lost_replica_is_made_anew_on_its_own_node() {
        let plan = plan();
        let lost = plan.shards[3].members[1];
        let plan = replace_lost(&plan, 3, lost).expect("it is a member");
        let shard = &plan.shards[3];
        let here = replica_on(shard, lost.node_id).expect("one comes");
        assert_ne!(here.replica_id, lost.replica_id);
        assert!(is_new(shard, here.replica_id));
        assert!(replace_lost(&plan, 3, lost).is_none(), "once");
        let plan = created(&plan, 3, here.replica_id).expect("news");
        assert!(!is_new(&plan.shards[3], here.replica_id));
        let plan = finish(&plan, 3, here.replica_id).expect("under way");
        assert!(replica_on(&plan.shards[3], lost.node_id) == Some(here));
        assert_eq!(plan.shards[3].members.len(), 3);
        assert!(replace_lost(&plan, 3, lost).is_none(), "it is no member any more");
    }

    #[test]
    fn a_replica_that_is_lost_on_its_way_is_marked_once_and_goes() {
        let plan = join(&plan(), &named(9)).expect("it may join");
        let step = steps(&plan, &[], true)[0];
        let plan = begin(&plan, step).expect("it may begin");
        let plan = created(&plan, step.shard, joining(&plan, step.shard)).expect("not yet created");
        let change = |plan: &ClusterPlan| {
            let planned = plan.shards.iter().find(|planned| planned.shard == step.shard);
            planned.and_then(|planned| planned.change).expect("under way")
        };
        let lost = change(&plan).joining.expect("one joins");
        let marked = replace_lost(&plan, step.shard, lost).expect("news");
        assert!(change(&marked).lost && change(&marked).created);
        assert!(replace_lost(&marked, step.shard, lost).is_none(), "once");
        let plan = abandon(&marked, step.shard, lost.replica_id).expect("under way");
        assert!(steps(&plan, &[], true).contains(&step), "it is tried again");
        assert!(
            replace_lost(&plan, step.shard, lost).is_none(),
            "it belongs to nothing"
        );
    }

    #[test]
    fn who_is_silent_holds_no_other_move_up_and_is_passed_over_before_anything_is_begun() {
        let whole = plan();
        let lost = whole.shards[3].members[1];
        let mended = replace_lost(&whole, 3, lost).expect("it is a member");
        let at_home = pass_over(&mended, 3, joining(&mended, 3));
        assert!(at_home.is_none() && !comes_anew(&mended, 3), "here or nowhere");
        let plan = join(&whole, &named(9)).expect("it may join");
        let (one, other) = (steps(&plan, &[], true)[0], steps(&plan, &[], true)[1]);
        let plan = begin(&plan, one).expect("it may begin");
        let plan = begin(&plan, other).expect("it may begin");
        assert_eq!((under_way(&plan, &[]), under_way(&plan, &[3])), (2, 2));
        assert_eq!(under_way(&plan, &[4]), 0, "both wait for it");
        let first = joining(&plan, one.shard);
        let begun = created(&plan, one.shard, first).expect("not yet created");
        assert!(pass_over(&begun, one.shard, first).is_none(), "it has a log");
        assert!(
            comes_anew(&begun, one.shard),
            "to be taken out again by who leads it"
        );
        assert!(!comes_anew(&whole, one.shard), "nobody comes");
        let passed = pass_over(&plan, one.shard, first).expect("nobody has begun it");
        assert_eq!(under_way(&passed, &[]), 1);
        assert!(!steps(&passed, &[4], true).contains(&one), "it is silent");
        assert!(steps(&passed, &[], true).contains(&one), "it is tried again");
        assert!(pass_over(&passed, one.shard, first).is_none(), "once");
    }

    #[test]
    fn addresses_change_for_the_same_data_directory_only() {
        let plan = join(&plan(), &named(9)).expect("it may join");
        let moved = PlanNode {
            node_id: 4,
            peer_address: "elsewhere:1".to_string(),
            ..named(9)
        };
        let next = set_addresses(&plan, &moved).expect("it may").expect("news");
        assert!(set_addresses(&next, &moved) == Ok(None));
        let thief = PlanNode {
            store_uuid: Bytes::from_static(&[7; 16]),
            ..moved.clone()
        };
        assert!(set_addresses(&next, &thief) == Err(Refused::AnotherStore(4)));
        let taken = PlanNode {
            peer_address: "n1:1".to_string(),
            ..moved
        };
        assert!(matches!(
            set_addresses(&next, &taken),
            Err(Refused::AddressTaken(_))
        ));
    }
}
