//! A node whose data directory was replaced by an older copy of itself: its peers say so. From the first of them on none of
//! its replicas votes; once a majority of the cluster has said it, they are lost, and others come in their place. Where only
//! a minority says so, an operator must look: perhaps the older ones are the majority.

use std::sync::Arc;

use spine_consensus::runtime::blocking;
use spine_mutants::mutant;
use spine_proto::storage::v1::NodeState;

use super::open::Fault;
use super::supervisor::Supervisor;
use crate::events::EventKind;

impl Supervisor {
    /// Closes what may not vote any more, and keeps what is known of the peers.
    pub(super) async fn heed_refusals(&mut self) {
        self.keep_history();
        let history = Arc::clone(&self.node.history);
        let refusals = history.refusals();
        let Some(running) = self
            .node
            .running()
            .filter(|_| refusals > 0 && !mutant!("refusals-ignored"))
        else {
            self.trust_again();
            return;
        };
        let plan = running.plan();
        let there = plan
            .nodes
            .iter()
            .filter(|node| node.state() != NodeState::Removed);
        let others = there.filter(|node| node.node_id != running.node_id).count();
        let fault = if 2 * refusals > others {
            // Those that are stopped, too: their logs are as old.
            let replicas = self.opener.wal.replicas();
            if let Err(error) = blocking(|| history.condemn(replicas)) {
                tracing::warn!(%error, "condemn the replicas of an older copy");
                return;
            }
            tracing::error!("the data directory is an older copy: its replicas are lost");
            self.node.note(EventKind::OldCopyFound, None);
            Fault::OldCopy
        } else {
            Fault::Doubted
        };
        self.close_all(&fault).await;
        for patient in self.patients.values_mut() {
            patient.fault = fault.clone();
        }
    }

    pub(super) fn keep_history(&self) {
        // Syncs several times: every other task of the node would wait for the disk.
        if let Err(error) = blocking(|| self.node.history.keep(false)) {
            tracing::warn!(%error, "keep what is known of the peers");
        }
    }

    pub(super) async fn close_all(&mut self, fault: &Fault) {
        for shard in self.node.host.all() {
            self.close(shard, fault.clone()).await;
        }
    }

    /// Nobody refuses us: whoever did had heard of what is settled by now.
    fn trust_again(&mut self) {
        for patient in self.patients.values_mut() {
            if patient.fault == Fault::Doubted {
                patient.fault = Fault::Passing("no peer refuses it any more".to_string());
            }
        }
    }
}
