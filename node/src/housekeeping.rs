//! Slow work of leaders and followers: first rows, log purge, Verify entries. May wait for a quorum.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_proto::storage::v1::{self as pb, ClusterPlan};
use spine_services::pds::search::backlog;
use spine_statemachine::store::OrderedRead as _;
use spine_statemachine::{Rule, frame, key, txn};
use tokio::time::{Instant, timeout};

use crate::beat::beat;
use crate::clock_agreement::LeaderTime;
use crate::cluster::rows::first_rows;
use crate::log_purge::{self, Progress, Wish};
use crate::shard::host::{Host, Shard};
use crate::shard::map::META_SHARD;
use crate::shard::proposals::txn_entry;

/// Pause between two rounds.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);
/// A shard without a quorum holds the others' housekeeping up no longer than this.
const SHARD_DEADLINE: Duration = Duration::from_millis(500);

/// Keeps all hosted replicas in order.
pub struct Housekeeper {
    host: Arc<Host>,
    plan: ClusterPlan,
    time: LeaderTime,
    /// When the node started.
    started: Instant,
    /// Entries kept behind a snapshot.
    keep_entries: u64,
    /// Entries between two Verify entries of a shard.
    verify_every: u64,
    rows_written: BTreeMap<u32, u64>,
    verified: BTreeMap<u32, u64>,
}

impl Housekeeper {
    /// A housekeeper for this node.
    #[must_use]
    pub fn new(
        host: Arc<Host>,
        plan: ClusterPlan,
        time: LeaderTime,
        started: Instant,
        raft: &spine_cluster_config::Raft,
    ) -> Self {
        Self {
            host,
            plan,
            time,
            started,
            keep_entries: raft.log_keep_entries,
            verify_every: raft.verify_every_entries,
            rows_written: BTreeMap::new(),
            verified: BTreeMap::new(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        loop {
            for shard in self.host.all() {
                // A shard that has no quorum now is looked at again in the next round.
                let _ = timeout(SHARD_DEADLINE, self.keep_house(&shard)).await;
            }
            beat(self.started, HOUSEKEEPING_INTERVAL).await;
        }
    }

    async fn keep_house(&mut self, shard: &Arc<Shard>) {
        let group = &shard.group;
        let status = group.status();
        if status.leading {
            self.write_first_rows(shard, status.term).await;
            self.verify(shard);
        }
        let progress = Progress {
            durable: group.store().durable_index().map_or(0, |id| id.index),
            snapshot: group.snapshot_index(),
            purged: status.purged_index,
        };
        let done = match log_purge::wish(progress, self.keep_entries) {
            Wish::Nothing => Ok(()),
            Wish::Snapshot => group.snapshot_and_purge().await,
            Wish::PurgeTo(index) => group.purge_to(index).await,
        };
        if let Err(error) = done {
            tracing::warn!(shard = group.identity().shard, %error, "purge log");
        }
    }

    /// A shard's first rows: which slots it owns, without which it refuses every client key; the meta group's copy of
    /// the plan.
    async fn write_first_rows(&mut self, shard: &Arc<Shard>, term: u64) {
        let number = shard.group.identity().shard;
        if self.rows_written.get(&number) == Some(&term) || shard.group.ready_to_plan().await.is_err() {
            return;
        }
        let (mark, sub) = if number == META_SHARD {
            (key::meta(b"plan"), first_rows(&self.plan))
        } else {
            let Some(planned) = self.plan.shards.iter().find(|planned| planned.shard == number) else {
                return;
            };
            let mut rows = slots_row(planned);
            // Nobody was written yet, so nobody was written without search tokens.
            if Rule::SEARCH_TOKENS.holds_at(self.plan.first_level) {
                rows.mutations.extend(backlog::done());
            }
            (key::slots_owned(), rows)
        };
        let present = shard
            .group
            .store()
            .read(|view| view.get(&mark).is_ok_and(|record| record.is_some()));
        let written = match present {
            Ok(true) => true,
            Ok(false) => {
                let entry = txn_entry(vec![sub], self.time.stamp_ms(shard));
                self.begin_at_first_level(shard).await && shard.group.propose(entry).await.is_ok()
            }
            Err(_) => false,
        };
        if written {
            self.rows_written.insert(number, term);
        }
    }

    /// A new shard has nothing that was written by older rules, and no caller before its first rows: it begins at the
    /// level that all nodes of `cluster init` knew.
    async fn begin_at_first_level(&self, shard: &Arc<Shard>) -> bool {
        let level = self.plan.first_level;
        let now = shard.group.store().status().level;
        now >= level || shard.group.propose(txn::level(level)).await.is_ok()
    }

    /// Lets every replica compare its digest with the leader's.
    fn verify(&mut self, shard: &Arc<Shard>) {
        let number = shard.group.identity().shard;
        let Ok((Some(applied), digest)) = shard
            .group
            .store()
            .read(|view| (view.applied(), view.system().digest))
        else {
            return;
        };
        let index = applied.index;
        let last = self.verified.get(&number).copied().unwrap_or(0);
        if index < last.saturating_add(self.verify_every) {
            return;
        }
        self.verified.insert(number, index);
        let verify = pb::Verify {
            index,
            digest: Bytes::copy_from_slice(&digest.to_bytes()),
        };
        let entry: Bytes = pb::Entry {
            kind: Some(pb::entry::Kind::Verify(verify)),
        }
        .encode_to_vec()
        .into();
        let group = Arc::clone(&shard.group);
        tokio::spawn(async move {
            if let Err(error) = group.propose(entry).await {
                tracing::debug!(shard = number, %error, "propose verify");
            }
        });
    }
}

/// The row that says which slots a shard owns, if there is none yet.
fn slots_row(planned: &pb::PlanShard) -> pb::SubTxn {
    let range = pb::SlotRange {
        first: planned.slot_first,
        last: planned.slot_last,
    };
    let key = key::slots_owned();
    let put = pb::Put {
        key: key.clone(),
        value: frame::encode(&range.encode_to_vec()),
        schema: 1,
    };
    pb::SubTxn {
        guards: vec![pb::Guard {
            kind: Some(pb::guard::Kind::Absent(pb::Absent { key })),
        }],
        mutations: vec![pb::Mutation {
            kind: Some(pb::mutation::Kind::Put(put)),
        }],
        ..pb::SubTxn::default()
    }
}
