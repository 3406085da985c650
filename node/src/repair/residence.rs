//! Which replicas live here: those that the plan gives to this node and no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use spine_mutants::mutant;
use spine_proto::storage::v1::{ClusterPlan, PlanShard};
use tokio::time::{Instant, timeout};

use super::open::Fault;
use super::supervisor::{Patient, SHUTDOWN_TIME, Supervisor};
use crate::cluster::change::replica_on;
use crate::cluster::recover::incarnation_of;
use crate::events::EventKind;
use crate::node::Inner;

impl Inner {
    /// A shard as the plan in force has it.
    pub(super) fn planned(&self, number: u32) -> Option<PlanShard> {
        let plan = self.running()?.plan();
        let mut shards = plan.shards.iter();
        shards.find(|planned| planned.shard == number).cloned()
    }
}

impl Supervisor {
    /// Opens what the plan has given to this node since the last look, and closes and forgets what it has taken away.
    pub(super) async fn follow_plan(&mut self) {
        let Some(running) = self.node.running() else {
            return;
        };
        let plan = running.plan();
        let is_ours = plan.nodes.iter().any(|node| node.node_id == running.node_id);
        if self.followed != Some(plan.epoch) && is_ours {
            // A replica that is begun meanwhile stands in no plan yet, and must not look like one that was left behind.
            let node = Arc::clone(&self.node);
            let _nothing_begins = node.adopting.lock().await;
            let plan = running.plan();
            let mut here = BTreeSet::new();
            for shard in &plan.shards {
                let replica = replica_on(shard, running.node_id).map(|member| member.replica_id);
                // One that was lost stays on the disk until the group has let go of it: it may be all that is left.
                let members = shard
                    .members
                    .iter()
                    .filter(|member| member.node_id == running.node_id);
                here.extend(members.map(|member| member.replica_id).chain(replica));
                self.compare(shard.shard, replica).await;
            }
            self.leave_others(&plan, &here);
            self.followed = Some(plan.epoch);
        }
        self.forget_left().await;
    }

    /// Makes `planned` the replica of a shard that is to run here.
    async fn compare(&mut self, shard: u32, planned: Option<u64>) {
        let hosted = self.node.host.shard(shard);
        let hosted_id = hosted.as_ref().map(|shard| shard.group.identity().replica_id);
        let absent = self
            .node
            .host
            .absent()
            .get(&shard)
            .map(|absent| absent.replica_id);
        if planned == hosted_id.or(absent) {
            return;
        }
        self.patients.remove(&shard);
        self.recovered.remove(&shard);
        self.node.host.withdraw(shard);
        if let Some(hosted) = hosted {
            let replica_id = hosted.group.identity().replica_id;
            tracing::info!(shard, replica_id, "the replica has moved away");
            self.node.note(EventKind::ReplicaLeft, Some(shard));
            let in_use = hosted.group.store().end();
            if timeout(SHUTDOWN_TIME, hosted.group.shutdown()).await.is_err() {
                tracing::warn!(shard, "a replica that has moved away does not end");
            }
            self.leaving.insert(replica_id, Some(in_use));
        }
        if planned.is_some() {
            self.node.note(EventKind::ReplicaCame, Some(shard));
            let patient = Patient {
                fault: Fault::Passing("it has just come".to_string()),
                in_use: None,
                tries: 0,
                next: Instant::now(),
            };
            self.patients.insert(shard, patient);
        }
    }

    /// What an earlier process left behind of replicas that live elsewhere now.
    fn leave_others(&mut self, plan: &ClusterPlan, here: &BTreeSet<u64>) {
        let logs = self.opener.wal.replicas();
        let left = logs.into_iter().chain(self.opener.states());
        for replica in left.filter(|replica| !here.contains(replica) && may_go(plan, *replica)) {
            self.leaving.entry(replica).or_insert(None);
        }
    }

    async fn forget_left(&mut self) {
        let is_free = |in_use: &Option<_>| {
            in_use
                .as_ref()
                .is_none_or(spine_storage::replica::StoreEnd::is_reached)
        };
        let free = self.leaving.iter().filter(|(_, in_use)| is_free(in_use));
        let free: Vec<u64> = free.map(|(replica, _)| *replica).collect();
        for replica_id in free {
            match self.opener.forget(replica_id).await {
                Ok(()) => {
                    tracing::info!(replica_id, "forgot a replica that has moved away");
                    self.leaving.remove(&replica_id);
                }
                Err(error) => tracing::warn!(replica_id, %error, "forget a replica"),
            }
        }
    }
}

/// Whether a replica that the plan does not name may be forgotten. One of an earlier incarnation may be all that is left of
/// its shard until each shard stands on two nodes again: the node that goes on with it may lose its disk as well.
fn may_go(plan: &ClusterPlan, replica: u64) -> bool {
    let enough = usize::try_from(plan.replicas).unwrap_or(0).min(2);
    mutant!("earlier-incarnation-forgotten")
        || incarnation_of(replica) >= u64::from(plan.incarnation)
        || plan.shards.iter().all(|shard| shard.members.len() >= enough)
}

#[cfg(test)]
mod tests {
    use spine_proto::storage::v1::Member;

    use super::*;

    #[test]
    fn what_an_earlier_incarnation_left_goes_once_every_shard_stands_on_two_nodes() {
        let shard = |replicas: u64| PlanShard {
            members: vec![Member::default(); usize::try_from(replicas).expect("small")],
            ..PlanShard::default()
        };
        let plan = |shards: Vec<PlanShard>, replicas| ClusterPlan {
            incarnation: 2,
            replicas,
            shards,
            ..ClusterPlan::default()
        };
        let (old, present) = (1 << 48 | 7, 2 << 48 | 7);
        let alone = plan(vec![shard(3), shard(1)], 3);
        assert!(!may_go(&alone, old));
        assert!(may_go(&alone, present), "it has moved away");
        assert!(may_go(&plan(vec![shard(3), shard(2)], 3), old));
        assert!(may_go(&plan(vec![shard(1)], 1), old), "more there will not be");
    }
}
