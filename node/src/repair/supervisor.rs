//! Looks after stopped replicas, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spine_consensus::peers::Peers as _;
use spine_consensus::repair::{has_gap, restore};
use spine_proto::internal::raft::v1 as pb;
use spine_proto::storage::v1::PlanShard;
use spine_storage::replica::{ReplicaStore, StoreEnd};
use tokio::time::{Instant, timeout};

use super::open::{Fault, Opener, fault_of};
use crate::beat::beat;
use crate::cluster::survivors::outlived;
use crate::events::EventKind;
use crate::fitness::Trouble;
use crate::node::Inner;
use crate::peers::Inflow;
use crate::shard::host::{Absent, Shard};
use crate::telemetry::metrics::Repair as RepairLabel;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A stopped replica is opened again after this long, then after twice as long, and so on ...
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
/// ... at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// A replica that has run for this long begins with the short pause again.
const CALM_AFTER: Duration = Duration::from_secs(60);
/// The tasks of a stopped group end within this, usually at once.
pub(super) const SHUTDOWN_TIME: Duration = Duration::from_secs(5);
/// A peer that is asked for its state makes a checkpoint first.
const OFFER_DEADLINE: Duration = Duration::from_secs(20);
/// After it agreed, the first part comes within this.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(10);

/// What is remembered of a replica that does not run.
pub(super) struct Patient {
    pub(super) fault: Fault,
    /// Set while somebody may still use its state.
    pub(super) in_use: Option<StoreEnd>,
    pub(super) tries: u32,
    pub(super) next: Instant,
}

/// See the module.
pub struct Supervisor {
    pub(super) node: Arc<Inner>,
    pub(super) opener: Arc<Opener>,
    pub(super) patients: BTreeMap<u32, Patient>,
    /// When a replica began to run again, and after how many tries.
    pub(super) recovered: BTreeMap<u32, (Instant, u32)>,
    /// Replicas, by id, that the plan no longer gives to this node: forgotten once nobody uses their state.
    pub(super) leaving: BTreeMap<u64, Option<StoreEnd>>,
    /// Epoch of the plan that the replicas were last compared with.
    pub(super) followed: Option<u64>,
}

impl Supervisor {
    /// A supervisor of all replicas that the plan gives this node.
    #[must_use]
    pub fn new(node: Arc<Inner>, opener: Arc<Opener>) -> Self {
        Self {
            node,
            opener,
            patients: BTreeMap::new(),
            recovered: BTreeMap::new(),
            leaving: BTreeMap::new(),
            followed: None,
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        self.admit_absent();
        loop {
            if self.node.is_held() {
                // Nothing is opened again, and what an attempt under way had opened is closed.
                self.close_all(&Fault::Refused("it is held".to_string())).await;
                beat(self.node.started, LOOK_EVERY).await;
                continue;
            }
            if let Some(incarnation) = self.node.outlived_by() {
                self.keep_history();
                self.close_all(&Fault::Refused(outlived(incarnation))).await;
                beat(self.node.started, LOOK_EVERY).await;
                continue;
            }
            self.follow_plan().await;
            self.heed_refusals().await;
            self.tell_of_lost();
            for shard in self.node.host.all() {
                if let Some(fault) = self.fault_of(&shard) {
                    self.close(shard, fault).await;
                }
            }
            let due: Vec<u32> = self
                .patients
                .iter()
                .filter(|(_, patient)| patient.fault.can_be_repaired() && patient.next <= Instant::now())
                .map(|(shard, _)| *shard)
                .collect();
            for shard in due {
                self.attempt(shard).await;
            }
            beat(self.node.started, LOOK_EVERY).await;
        }
    }

    /// What did not open when the node started. It is opened once more to learn why.
    fn admit_absent(&mut self) {
        for (shard, absent) in self.node.host.absent() {
            let patient = Patient {
                fault: Fault::Passing(absent.reason),
                in_use: None,
                tries: 0,
                next: Instant::now(),
            };
            self.patients.insert(shard, patient);
        }
    }

    /// Why a hosted replica must be closed, if it must. One that this program cannot go on with stays as it is.
    fn fault_of(&self, shard: &Shard) -> Option<Fault> {
        if self.opener.wal.poison_reason().is_some() {
            // The process ends.
            return None;
        }
        let stopped = shard.group.status().stopped;
        let store = shard.group.store();
        if stopped.is_none() && store.status().halted.is_none() {
            return None;
        }
        let reason = stopped.unwrap_or_default();
        match fault_of(shard.group.log(), store, reason) {
            Fault::Refused(_) => None,
            fault => Some(fault),
        }
    }

    pub(super) async fn close(&mut self, shard: Arc<Shard>, fault: Fault) {
        let number = shard.group.identity().shard;
        tracing::error!(shard = number, %fault, "replica stopped");
        self.node.note(EventKind::ReplicaStopped, Some(number));
        self.node.host.remove(
            number,
            Absent {
                replica_id: shard.group.identity().replica_id,
                reason: fault.to_string(),
                repairing: false,
            },
        );
        let in_use = shard.group.store().end();
        if timeout(SHUTDOWN_TIME, shard.group.shutdown()).await.is_err() {
            tracing::warn!(shard = number, "stopped replica does not end");
        }
        drop(shard);
        let tries = match self.recovered.remove(&number) {
            Some((since, tries)) if since.elapsed() < CALM_AFTER => tries,
            _ => 0,
        };
        let patient = Patient {
            fault,
            in_use: Some(in_use),
            tries,
            next: Instant::now() + back_off(tries),
        };
        self.patients.insert(number, patient);
    }

    async fn attempt(&mut self, number: u32) {
        let (Some(planned), Some(patient)) = (self.node.planned(number), self.patients.get_mut(&number))
        else {
            return;
        };
        if patient.in_use.as_ref().is_some_and(|state| !state.is_reached()) {
            return;
        }
        patient.in_use = None;
        if self.node.fitness.trouble() == Some(Trouble::DiskFull) {
            return;
        }
        let known = patient.fault.clone();
        match self.open(&planned, &known).await {
            Ok(kind) => {
                let tries = self.patients.remove(&number).map_or(0, |patient| patient.tries);
                self.recovered.insert(number, (Instant::now(), tries + 1));
                tracing::info!(shard = number, event = kind.as_str(), "replica runs again");
                self.node.note(kind, Some(number));
                self.count("done");
            }
            // Only now is it known what to do: at once.
            Err(fault) if fault.needs_new_state() && !known.needs_new_state() => {
                if let Some(patient) = self.patients.get_mut(&number) {
                    patient.fault = fault;
                }
            }
            Err(fault) => self.put_off(number, fault),
        }
    }

    fn put_off(&mut self, number: u32, fault: Fault) {
        self.count("failed");
        let Some(patient) = self.patients.get_mut(&number) else {
            return;
        };
        tracing::warn!(shard = number, %fault, tries = patient.tries, "replica cannot run yet");
        let replica_id = self.node.host.absent().get(&number).map_or(0, |a| a.replica_id);
        self.node.host.remove(
            number,
            Absent {
                replica_id,
                reason: fault.to_string(),
                repairing: fault.needs_new_state(),
            },
        );
        patient.tries += 1;
        patient.next = Instant::now() + back_off(patient.tries);
        patient.fault = fault;
    }

    fn count(&self, outcome: &'static str) {
        let repairs = &self.node.metrics.shard.repairs;
        repairs.get_or_create(&RepairLabel { outcome }).inc();
    }

    /// Opens a replica, with its state built anew where the fault asks for it.
    async fn open(&self, shard: &PlanShard, fault: &Fault) -> Result<EventKind, Fault> {
        let (store, kind) = match fault {
            Fault::StateDamaged(_) => (self.opener.begin_anew(shard)?, EventKind::ReplicaRepaired),
            Fault::StateBehind => (self.opener.open_behind(shard)?, EventKind::ReplicaRepaired),
            Fault::LogLost
            | Fault::LogDamaged(_)
            | Fault::OldCopy
            | Fault::Doubted
            | Fault::Refused(_)
            | Fault::Passing(_) => (self.opener.open_level(shard)?, EventKind::ReplicaReopened),
        };
        if has_gap(&self.opener.log(shard), &store) {
            self.fetch(shard, &store).await.map_err(|reason| {
                tracing::warn!(shard = shard.shard, reason, "fetch state from a peer");
                Fault::StateBehind
            })?;
        }
        let group = self.opener.start(shard, store).await?;
        self.node.host.insert(group);
        Ok(kind)
    }

    /// From the first peer that can give it.
    async fn fetch(&self, shard: &PlanShard, store: &ReplicaStore) -> Result<(), String> {
        let mut reason = "no peer has a replica of this shard".to_string();
        for peer in shard.members.iter().filter(|m| m.node_id != self.opener.node_id) {
            match self.fetch_from(shard, peer.node_id, peer.replica_id, store).await {
                Ok(()) => return Ok(()),
                Err(why) => reason = format!("node {}: {why}", peer.node_id),
            }
        }
        Err(reason)
    }

    async fn fetch_from(
        &self,
        shard: &PlanShard,
        node_id: u64,
        source: u64,
        store: &ReplicaStore,
    ) -> Result<(), String> {
        let replica_id = self.opener.replica_id(shard);
        let purged = self.opener.log(shard).purged();
        let request = pb::PullSnapshotRequest {
            for_replica: replica_id,
            index_min: purged.map_or(0, |id| id.index),
        };
        let delivery = self.node.deliveries.expect(shard.shard, replica_id);
        let fetched = async {
            let answer = self
                .node
                .peers
                .call(
                    node_id,
                    pb::GroupRequest {
                        shard: shard.shard,
                        target_replica: source,
                        kind: Some(pb::group_request::Kind::PullSnapshot(request)),
                    },
                    OFFER_DEADLINE,
                )
                .await
                .map_err(|error| error.to_string())?;
            match answer.kind {
                Some(pb::group_response::Kind::PullSnapshot(_)) => {}
                Some(pb::group_response::Kind::Unavailable(reason)) => return Err(reason),
                _ => return Err("answered something else".to_string()),
            }
            let delivery = timeout(DELIVERY_DEADLINE, delivery)
                .await
                .map_err(|_| "nothing came".to_string())?
                .map_err(|_| "nothing came".to_string())?;
            let restored = restore(store, delivery.start, &mut Inflow(delivery.parts)).await;
            // The sender may be gone.
            let _ = delivery.done.send(restored.clone());
            restored
        }
        .await;
        self.node.deliveries.forget(shard.shard);
        fetched
    }
}

/// Twice as long after every try.
fn back_off(tries: u32) -> Duration {
    BACK_OFF_MIN.saturating_mul(1 << tries.min(8)).min(BACK_OFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        assert_eq!(back_off(0), BACK_OFF_MIN);
        assert_eq!(back_off(1), 2 * BACK_OFF_MIN);
        assert_eq!(back_off(1_000), BACK_OFF_MAX);
    }
}
