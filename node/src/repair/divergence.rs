//! Replicas that came to differ. A Verify entry shows it: whose digest is not the one in it asks the other voters for
//! theirs at that index, with its own, so that whoever differs from it asks around as well, the leader included. Who stands
//! alone against a majority halts as damaged, and the supervisor builds it anew. Without a majority nobody is touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spine_consensus::peers::Peers as _;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1 as pb;
use spine_statemachine::Digest;
use spine_storage::replica::Mismatch;
use tokio::time::{Instant, sleep};

use super::judge::{Judgement, judge};
use crate::beat::beat;
use crate::events::EventKind;
use crate::node::Inner;
use crate::shard::host::Shard;
use crate::telemetry::metrics::Divergence;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A voter answers within this.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// Asked again after this long, while too few have answered ...
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// ... and where all have, without a majority.
const AGAIN_WITHOUT_MAJORITY: Duration = Duration::from_secs(10);
/// A leader that was convicted leads on for at most so long, for somebody else to take its place.
const HAND_OVER_TIME: Duration = Duration::from_millis(300);
const HAND_OVER_POLL: Duration = Duration::from_millis(10);

/// What is under way for one shard.
struct Inquiry {
    index: u64,
    next: Instant,
    /// What was said of it last.
    said: Option<Judgement>,
}

/// See the module.
pub struct Referee {
    node: Arc<Inner>,
    inquiries: BTreeMap<u32, Inquiry>,
}

impl Referee {
    /// A referee for the replicas of this node.
    #[must_use]
    pub fn new(node: Arc<Inner>) -> Self {
        Self {
            node,
            inquiries: BTreeMap::new(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        loop {
            for shard in self.node.host.all() {
                self.look(&shard).await;
            }
            beat(self.node.started, LOOK_EVERY).await;
        }
    }

    async fn look(&mut self, shard: &Arc<Shard>) {
        let number = shard.group.identity().shard;
        let Some(mismatch) = shard.group.store().mismatch() else {
            self.inquiries.remove(&number);
            return;
        };
        let now = Instant::now();
        let known = self
            .inquiries
            .get(&number)
            .filter(|known| known.index == mismatch.index);
        let (next, said) = known.map_or((now, None), |known| (known.next, known.said));
        if known.is_none() {
            self.notice(number, &mismatch);
        }
        if next > now {
            return;
        }
        let found = self.inquire(shard, &mismatch).await;
        let pause = match found {
            Judgement::NoMajority => AGAIN_WITHOUT_MAJORITY,
            _ => AGAIN_AFTER,
        };
        let inquiry = Inquiry {
            index: mismatch.index,
            next: Instant::now() + pause,
            said: Some(found),
        };
        self.inquiries.insert(number, inquiry);
        if said != Some(found) {
            self.say(number, &mismatch, found);
        }
        match found {
            Judgement::Convicted => self.convict(shard, &mismatch).await,
            Judgement::Acquitted => shard.group.store().acquit(mismatch.index),
            Judgement::Open | Judgement::NoMajority => {}
        }
    }

    fn notice(&self, shard: u32, mismatch: &Mismatch) {
        let Mismatch { index, ours, theirs } = mismatch;
        tracing::error!(shard, index, %ours, %theirs, "digests of replicas differ");
        self.node.note(EventKind::DigestsDiffer, Some(shard));
        self.count("noticed");
    }

    fn say(&self, shard: u32, mismatch: &Mismatch, found: Judgement) {
        let index = mismatch.index;
        match found {
            Judgement::Convicted => {
                tracing::error!(
                    shard,
                    index,
                    "this replica differs from the majority of its group"
                );
                self.node.note(EventKind::ReplicaDiverged, Some(shard));
                self.count("convicted");
            }
            Judgement::Acquitted => {
                tracing::info!(shard, index, "the majority has this replica's digest");
                self.count("acquitted");
            }
            Judgement::NoMajority => {
                tracing::error!(shard, index, "no digest has a majority; nobody is repaired");
                self.count("no_majority");
            }
            Judgement::Open => tracing::warn!(shard, index, "too few replicas say their digests"),
        }
    }

    fn count(&self, verdict: &'static str) {
        let divergences = &self.node.metrics.shard.divergences;
        divergences.get_or_create(&Divergence { verdict }).inc();
    }

    /// Asks all other voters at once.
    async fn inquire(&self, shard: &Arc<Shard>, mismatch: &Mismatch) -> Judgement {
        let (identity, voters) = (shard.group.identity(), shard.group.voters());
        let others = voters
            .iter()
            .filter(|(replica, _)| *replica != identity.replica_id);
        let asked = others.map(|(replica, node)| self.ask(identity.shard, *replica, *node, mismatch));
        judge(mismatch.ours, &join_all(asked).await)
    }

    async fn ask(&self, shard: u32, replica: u64, node: u64, mismatch: &Mismatch) -> Option<Digest> {
        if self.node.peers.is_gone(NodeId(node)) {
            return None;
        }
        let request = pb::GroupRequest {
            shard,
            target_replica: replica,
            kind: Some(pb::group_request::Kind::Digest(pb::DigestRequest {
                index: mismatch.index,
                digest: mismatch.ours.to_bytes().to_vec().into(),
            })),
        };
        match self.node.peers.call(node, request, ANSWER_TIME).await.ok()?.kind {
            Some(pb::group_response::Kind::Digest(answer)) => Digest::from_bytes(&answer.digest),
            _ => None,
        }
    }

    /// The replica serves nothing any more. A leader hands over first, so that nobody waits for an election.
    async fn convict(&self, shard: &Arc<Shard>, mismatch: &Mismatch) {
        let group = &shard.group;
        let until = Instant::now() + HAND_OVER_TIME;
        if group.status().leading
            && let Some(successor) = self.node.best_successor(shard)
            && group.transfer_to(successor).await.is_ok()
        {
            while group.status().leading && Instant::now() < until {
                sleep(HAND_OVER_POLL).await;
            }
        }
        let why = format!(
            "at index {} its digest is not that of the majority of its group",
            mismatch.index
        );
        group.store().halt_as_damaged(&why);
    }
}
