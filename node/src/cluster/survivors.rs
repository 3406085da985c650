//! A cluster that lost its majority for good, and of which several nodes are left: each goes on with what it has.
//!
//! `spinectl` carries it out, step by step: every survivor is asked to *look*; one *decides*, for each shard the copy that
//! goes furthest; all are *held*, durably, so that no shard that still has a majority acknowledges more than was looked at; it
//! is decided again; each *begins*, at its next start, as `recover.rs` has it. Whoever carries it out may die at any step.
//! Until the first survivor has begun all can be *released*; from then on that one has the plan, and the others, still held,
//! get it from there when the same command is given again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;
use spine_mutants::mutant;
use spine_proto::admin::v1 as pb;
use spine_proto::admin::v1::recover_step_request::Step;
use spine_proto::storage::v1::{ClusterPlan, Member, NodeState, PlanShard};
use spine_services::{ErrorKind, SpineError};
use spine_storage::disk::Disk;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::recover::{self, INCARNATION_SHIFT, conflict};
use crate::dispatch::failure::not_initialised;
use crate::node::Inner;
use crate::shard::host::{Absent, Shard};
use crate::twice;

/// Says that replicas are held, and how far they go.
const HOLD: &str = "HELD";
/// The tasks of a group that is held end within this.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// What the survivors have, by node.
pub(super) type Survivors = BTreeMap<u64, Vec<pb::ReplicaEnd>>;

/// The plan of the next incarnation, and what each shard of it begins with; the number of a shard that nobody has.
///
/// # Errors
/// See above.
pub(super) fn next_incarnation(
    plan: &ClusterPlan,
    survivors: &Survivors,
) -> Result<(ClusterPlan, Vec<pb::RecoveredShard>), u32> {
    let mut next = plan.clone();
    next.incarnation += 1;
    next.epoch += 1;
    next.balancing = false;
    for node in &mut next.nodes {
        let state = if survivors.contains_key(&node.node_id) {
            NodeState::Serving
        } else {
            NodeState::Removed
        };
        node.set_state(state);
    }
    next.last_replica_id = u64::from(next.incarnation) << INCARNATION_SHIFT;
    let mut load: BTreeMap<u64, usize> = BTreeMap::new();
    let mut shards = Vec::new();
    for shard in &mut next.shards {
        let begins = furthest(shard, survivors, &load).ok_or(shard.shard)?;
        *load.entry(begins.node_id).or_default() += 1;
        next.last_replica_id += 1;
        shard.change = None;
        shard.members = vec![Member {
            replica_id: next.last_replica_id,
            node_id: begins.node_id,
        }];
        shards.push(begins);
    }
    Ok((next, shards))
}

/// As voters judge a candidate's log: the later term, then the longer log. Where several are as far, the node with the
/// fewest shards.
fn furthest(
    shard: &PlanShard,
    survivors: &Survivors,
    load: &BTreeMap<u64, usize>,
) -> Option<pb::RecoveredShard> {
    let ends = survivors
        .iter()
        .flat_map(|(node, ends)| ends.iter().map(|end| (*node, end)));
    let here: Vec<(u64, &pb::ReplicaEnd)> = ends.filter(|(_, end)| end.shard == shard.shard).collect();
    let (node_id, end) = here.iter().max_by_key(|(node, end)| {
        let load = load.get(node).copied().unwrap_or(0);
        let few = (std::cmp::Reverse(load), std::cmp::Reverse(*node));
        let term = if mutant!("longer-log-of-older-term") {
            0
        } else {
            end.last_term
        };
        (term, end.last_index, few)
    })?;
    Some(pb::RecoveredShard {
        shard: shard.shard,
        last_index: end.last_index,
        last_term: end.last_term,
        committed_index: end.committed_index,
        node_id: *node_id,
        complete: is_complete(shard, here.iter().map(|(node, _)| *node)),
    })
}

/// Whether a majority of a shard's voters is among these nodes: whatever was acknowledged is on a majority, and in the
/// furthest log of any other one. One that votes no more may not have heard of that. While voters change it is not known
/// here which they are.
fn is_complete(shard: &PlanShard, nodes: impl Iterator<Item = u64>) -> bool {
    let votes = |node: &u64| shard.members.iter().any(|member| member.node_id == *node);
    shard.change.is_none() && 2 * nodes.filter(votes).count() > shard.members.len()
}

fn malformed(message: &'static str) -> SpineError {
    SpineError::new(ErrorKind::Invalid, "MALFORMED_PLAN", message)
}

/// A shard of which no survivor has a replica that may go on.
pub(super) fn nobody_has(shard: u32) -> SpineError {
    let why = format!(
        "no replica of shard {shard} runs here: name every node that is left, each has its share (--endpoints A,B,C); one \
         that is down may be started first"
    );
    SpineError::new(ErrorKind::NotFound, "NO_SUCH_REPLICA", why)
}

impl Inner {
    /// One step of a recovery from several nodes.
    ///
    /// # Errors
    /// No consent; another node than the survivors is heard; a shard that nobody has; a plan that is none for this node.
    pub async fn recover_step(
        self: &Arc<Self>,
        request: pb::RecoverStepRequest,
    ) -> Result<pb::RecoverStepResponse, SpineError> {
        let running = self.running().ok_or_else(not_initialised)?;
        let plan = running.plan();
        let consents = || {
            recover::check_consent(request.accept_data_loss)?;
            self.check_unheard(&plan, &request.survivors)
        };
        let mut answer = pb::RecoverStepResponse {
            node_id: running.node_id,
            incarnation: plan.incarnation,
            plan_epoch: plan.epoch,
            plan: plan.encode_to_vec().into(),
            ..pb::RecoverStepResponse::default()
        };
        match request.step {
            Some(Step::Look(look)) => {
                if look.hold {
                    consents()?;
                    self.hold().await?;
                }
                answer.replicas = self.ends_here();
            }
            Some(Step::Decide(decision)) => {
                let named = decision.survivors.into_iter();
                let survivors = named.map(|one| (one.node_id, one.replicas)).collect();
                let (next, shards) = next_incarnation(&plan, &survivors).map_err(nobody_has)?;
                check_needed(&shards)?;
                (answer.incarnation, answer.plan_epoch) = (next.incarnation, next.epoch);
                (answer.plan, answer.shards) = (next.encode_to_vec().into(), shards);
            }
            Some(Step::Begin(next)) => {
                consents()?;
                let next = ClusterPlan::decode(next).map_err(|_| malformed("this is no plan"))?;
                check_next(&plan, &next, running.node_id)?;
                // A hold under way comes to its end first.
                let _one_at_a_time = self.adopting.lock().await;
                if !self.is_held() {
                    let why = "this node is not held, so it may have acknowledged what was not looked at";
                    return Err(conflict("NOT_HELD", why));
                }
                self.order_incarnation(&next)?;
                answer.incarnation = next.incarnation;
            }
            Some(Step::Release(_)) => self.release().await?,
            None => return Err(malformed("a step of an unknown kind")),
        }
        Ok(answer)
    }

    /// Whether this node has closed its replicas for a recovery.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.lock().is_some()
    }

    /// The incarnation in which the cluster goes on without this node, if it does.
    #[must_use]
    pub fn outlived_by(&self) -> Option<u32> {
        let running = self.running()?;
        let latest = self.history.outlived_by();
        (latest > running.plan().incarnation).then_some(latest)
    }

    /// How far the replicas go that may go on.
    fn ends_here(&self) -> Vec<pb::ReplicaEnd> {
        // In this order: whoever holds them says so before the first is taken away.
        let hosted = self.host.all();
        let held = self.held.lock().clone();
        held.unwrap_or_else(|| ends(&hosted))
    }

    /// Closes all replicas, durably; asked for again, nothing is left to close. Whoever asked may go away: what has begun
    /// is carried through, or this node would say that it is held and has nothing.
    async fn hold(self: &Arc<Self>) -> Result<(), SpineError> {
        let (tell, told) = oneshot::channel();
        let node = Arc::clone(self);
        self.spawn(async move {
            // An error means that nobody waits any more.
            let _ = tell.send(node.hold_all().await);
        });
        told.await.unwrap_or_else(|_| Err(stops()))
    }

    async fn hold_all(self: &Arc<Self>) -> Result<(), SpineError> {
        let _one_at_a_time = self.adopting.lock().await;
        if self.is_held() {
            return Ok(());
        }
        let shards = self.host.all();
        let before = ends(&shards);
        // From here on the supervisor opens nothing.
        *self.held.lock() = Some(before);
        join_all(shards.iter().map(|shard| self.close(shard))).await;
        // Their logs may have grown until they were closed.
        let replicas = ends(&shards);
        let said = pb::RecoverStepResponse {
            replicas: replicas.clone(),
            ..pb::RecoverStepResponse::default()
        };
        let (disk, file) = (self.parts.disk.as_ref(), self.config.node.data_dir.join(HOLD));
        if let Err(error) = twice::write(disk, &file, &said.encode_to_vec()) {
            self.end_soon("a hold could not be written");
            return Err(on_disk(&error));
        }
        *self.held.lock() = Some(replicas);
        tracing::error!("all replicas are held for a new incarnation of the cluster");
        Ok(())
    }

    async fn close(&self, shard: &Shard) {
        let identity = shard.group.identity();
        self.host
            .remove(identity.shard, closed(identity.replica_id, HELD));
        if timeout(CLOSE_TIME, shard.group.shutdown()).await.is_err() {
            tracing::warn!(shard = identity.shard, "a replica that is held does not end");
        }
    }

    /// The next start is as before. A node that is not held has nothing to end for.
    async fn release(self: &Arc<Self>) -> Result<(), SpineError> {
        // Before a hold under way is written there is nothing to remove.
        let _one_at_a_time = self.adopting.lock().await;
        let (disk, dir) = (self.parts.disk.as_ref(), &self.config.node.data_dir);
        let ordered = recover::ordered(disk, dir).map_err(|error| on_disk(&error))?;
        if ordered.is_some() {
            return Err(conflict("INCARNATION_BEGUN", "this node has its order already"));
        }
        if !self.is_held() {
            let why = "this node is not held, so there is nothing to release; it stays as it is";
            return Err(conflict("NOT_HELD", why));
        }
        remove_hold(disk, dir).map_err(|error| on_disk(&error))?;
        self.end_soon("released: as before at the next start");
        Ok(())
    }

    /// Why no replica is opened when this node starts, if none is.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn stays_closed(&self, plan: &ClusterPlan) -> io::Result<Option<String>> {
        if self.stays_held()? {
            return Ok(Some(HELD.to_string()));
        }
        let latest = self.history.outlived_by();
        Ok((latest > plan.incarnation).then(|| outlived(latest)))
    }

    /// Whether replicas are held since an earlier life of this node.
    fn stays_held(&self) -> io::Result<bool> {
        let file = self.config.node.data_dir.join(HOLD);
        let content = twice::read(self.parts.disk.as_ref(), &file)?;
        let Some(content) = content else {
            return Ok(false);
        };
        let said = pb::RecoverStepResponse::decode(&content[..]).map_err(io::Error::other)?;
        *self.held.lock() = Some(said.replicas);
        Ok(true)
    }
}

const HELD: &str = "it is held for a new incarnation of the cluster";

/// Why the replicas of a node do not run that the cluster went on without.
pub(crate) fn outlived(incarnation: u32) -> String {
    format!("the cluster went on as incarnation {incarnation} without this node")
}

/// As operators see a replica that stays closed.
pub(crate) fn closed(replica_id: u64, why: &str) -> Absent {
    Absent {
        replica_id,
        reason: why.to_string(),
        repairing: false,
    }
}

/// Where the node begins.
///
/// # Errors
/// What the disk says.
pub(super) fn remove_hold(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    twice::remove(disk, &dir.join(HOLD))
}

fn stops() -> SpineError {
    let why = "the node stops; start it, and ask again";
    SpineError::new(ErrorKind::Unavailable, "DRAINING", why)
}

fn on_disk(error: &io::Error) -> SpineError {
    SpineError::new(ErrorKind::Corrupt, "STORE_DAMAGED", error.to_string())
}

/// How far the replicas go that may go on.
pub(super) fn ends(shards: &[Arc<Shard>]) -> Vec<pb::ReplicaEnd> {
    shards.iter().filter_map(|shard| end_of(shard)).collect()
}

/// How far a replica goes, if it votes and has not stopped by itself.
fn end_of(shard: &Shard) -> Option<pb::ReplicaEnd> {
    let group = &shard.group;
    let replica = group.identity().replica_id;
    if shard.group.store().status().halted.is_some()
        || !group.voters().iter().any(|(voter, _)| *voter == replica)
    {
        return None;
    }
    let last = group.log().last();
    Some(pb::ReplicaEnd {
        shard: group.identity().shard,
        last_index: last.map_or(0, |last| last.index),
        last_term: last.map_or(0, |last| last.term),
        committed_index: group.status().committed_index,
    })
}

/// Whether there is a shard that cannot go on as it is.
fn check_needed(shards: &[pb::RecoveredShard]) -> Result<(), SpineError> {
    if shards.iter().any(|shard| !shard.complete) {
        return Ok(());
    }
    let why = "these nodes have a majority of every shard: nothing has to be given up";
    Err(conflict("QUORUM_POSSIBLE", why))
}

/// Whether a node with this plan may go on with that one.
fn check_next(plan: &ClusterPlan, next: &ClusterPlan, node: u64) -> Result<(), SpineError> {
    let serves = next
        .nodes
        .iter()
        .any(|planned| planned.node_id == node && planned.state() == NodeState::Serving);
    if next.cluster_id != plan.cluster_id || next.subject_key != plan.subject_key {
        return Err(malformed("it is the plan of another cluster"));
    }
    if next.incarnation <= plan.incarnation {
        return Err(conflict(
            "INCARNATION_BEGUN",
            format!("this node is in incarnation {} already", plan.incarnation),
        ));
    }
    if !serves {
        return Err(malformed("this node is none of its survivors"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use spine_proto::storage::v1::PlanNode;

    use super::*;
    use crate::cluster::plan::decide;

    fn plan_of(nodes: u64, shards: u32) -> ClusterPlan {
        let nodes = (1..=nodes).map(|number| PlanNode {
            peer_address: format!("n{number}:1"),
            ..PlanNode::default()
        });
        decide(nodes.collect(), shards, 3, Bytes::from(vec![1; 16]), Bytes::new()).expect("plan")
    }

    fn end(shard: u32, last_term: u64, last_index: u64) -> pb::ReplicaEnd {
        pb::ReplicaEnd {
            shard,
            last_index,
            last_term,
            committed_index: last_index - 1,
        }
    }

    /// What these nodes have of a plan, all as far.
    fn whole(plan: &ClusterPlan, nodes: &[u64]) -> Survivors {
        let ends = |node: &u64| {
            let here = plan
                .shards
                .iter()
                .filter(|shard| shard.members.iter().any(|member| member.node_id == *node));
            (*node, here.map(|shard| end(shard.shard, 2, 10)).collect())
        };
        nodes.iter().map(ends).collect()
    }

    #[test]
    fn each_survivor_goes_on_with_its_share_and_the_lost_nodes_are_given_up() {
        let before = plan_of(5, 16);
        let (after, shards) = next_incarnation(&before, &whole(&before, &[1, 3, 4])).expect("all are there");
        let states: Vec<NodeState> = after.nodes.iter().map(PlanNode::state).collect();
        let (gone, stays) = (NodeState::Removed, NodeState::Serving);
        assert!(states == [stays, gone, stays, stays, gone]);
        assert_eq!((after.incarnation, after.epoch), (2, before.epoch + 1));
        for (shard, begins) in after.shards.iter().zip(&shards) {
            let [only] = &shard.members[..] else {
                panic!("one replica goes on");
            };
            assert_eq!(only.node_id, begins.node_id);
            let old = &before.shards[usize::try_from(shard.shard).expect("small")];
            let left = old
                .members
                .iter()
                .filter(|member| [1, 3, 4].contains(&member.node_id));
            assert_eq!(begins.complete, left.count() >= 2, "shard {}", shard.shard);
            assert!(old.members.iter().any(|member| member.node_id == begins.node_id));
        }
        let share = |node: u64| shards.iter().filter(|shard| shard.node_id == node).count();
        assert!([1, 3, 4].into_iter().all(|node| share(node) >= 3));
    }

    #[test]
    fn the_furthest_log_wins_as_in_an_election() {
        let before = plan_of(3, 1);
        let meta = before.shards[0].shard;
        let of = |node_2: pb::ReplicaEnd, node_3: pb::ReplicaEnd| {
            let mut survivors = whole(&before, &[2, 3]);
            for (node, end) in [(2, node_2), (3, node_3)] {
                let ends = survivors.get_mut(&node).expect("it is there");
                ends.retain(|known| known.shard != end.shard);
                ends.push(end);
            }
            next_incarnation(&before, &survivors).expect("all are there").1[0].node_id
        };
        assert_eq!(of(end(meta, 3, 9), end(meta, 3, 10)), 3, "the longer one");
        assert_eq!(of(end(meta, 4, 9), end(meta, 3, 10)), 2, "the later term");
    }

    #[test]
    fn where_every_shard_has_a_majority_nothing_is_given_up() {
        let before = plan_of(3, 4);
        let told = |nodes: &[u64]| {
            let (_, shards) = next_incarnation(&before, &whole(&before, nodes)).expect("all are there");
            check_needed(&shards).map_err(|error| error.reason.into_owned())
        };
        assert_eq!(told(&[3]), Ok(()));
        assert_eq!(told(&[1, 3]), Err("QUORUM_POSSIBLE".to_owned()));
    }

    #[test]
    fn a_replica_that_votes_no_more_makes_no_majority() {
        let before = plan_of(4, 1);
        let mut survivors = whole(&before, &[3, 4]);
        let here = survivors.get_mut(&4).expect("it is there");
        // The meta group is on nodes 1 to 3: what node 4 has of it is left of an earlier time.
        here.push(end(0, 2, 10));
        let (_, shards) = next_incarnation(&before, &survivors).expect("all are there");
        let complete: Vec<bool> = shards.iter().map(|shard| shard.complete).collect();
        assert_eq!(complete, [false, true]);
    }

    #[test]
    fn a_shard_that_nobody_has_is_named() {
        let before = plan_of(5, 16);
        let lost = next_incarnation(&before, &whole(&before, &[1]));
        let first_without = before
            .shards
            .iter()
            .find(|shard| shard.members.iter().all(|member| member.node_id != 1));
        assert_eq!(lost.err(), first_without.map(|shard| shard.shard));
    }

    #[test]
    fn nobody_goes_on_with_a_plan_that_is_not_the_next_of_its_own() {
        let before = plan_of(5, 4);
        let (after, _) = next_incarnation(&before, &whole(&before, &[1, 2, 3, 4])).expect("all are there");
        assert!(check_next(&before, &after, 2).is_ok());
        let reason = |plan: &ClusterPlan, next: &ClusterPlan, node| {
            let refused = check_next(plan, next, node).expect_err("it is refused");
            refused.reason.into_owned()
        };
        assert_eq!(reason(&before, &after, 5), "MALFORMED_PLAN");
        assert_eq!(reason(&after, &after, 2), "INCARNATION_BEGUN");
        let mut foreign = after;
        foreign.cluster_id = Bytes::from(vec![2; 16]);
        assert_eq!(reason(&before, &foreign, 2), "MALFORMED_PLAN");
    }
}
