//! A replica whose log is damaged or gone may not vote any more: the cluster is told, and gives this node a new one.

use std::sync::Arc;
use std::time::Duration;

use spine_proto::internal::raft::v1::cluster_request::Kind;
use spine_proto::internal::raft::v1::{ClusterRequest, ReportLost};
use spine_proto::storage::v1::Member;
use tokio::time::Instant;

use super::supervisor::Supervisor;

/// Told again after this long, until the plan has a new replica in its place.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// One telling.
const TELL_TIME: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Tells of every replica that was lost; returns at once.
    pub(super) fn tell_of_lost(&mut self) {
        let now = Instant::now();
        let lost: Vec<u32> = self
            .patients
            .iter()
            .filter(|(_, patient)| patient.fault.is_loss())
            .filter(|(_, patient)| patient.next <= now)
            .map(|(shard, _)| *shard)
            .collect();
        for shard in lost {
            if let Some(patient) = self.patients.get_mut(&shard) {
                patient.next = now + TELL_EVERY;
            }
            self.tell(shard);
        }
    }

    fn tell(&self, shard: u32) {
        let (Some(running), Some(absent)) =
            (self.node.running(), self.node.host.absent().get(&shard).cloned())
        else {
            return;
        };
        let request = ClusterRequest {
            kind: Some(Kind::ReportLost(ReportLost {
                shard,
                replica: Some(Member {
                    replica_id: absent.replica_id,
                    node_id: running.node_id,
                }),
            })),
        };
        let node = Arc::clone(&self.node);
        self.node.spawn(async move {
            let told = node.ask_meta(request, Instant::now() + TELL_TIME).await;
            if let Err(refusal) = told {
                tracing::warn!(shard, reason = refusal.reason, "tell of a lost replica");
            }
        });
    }
}
