//! A node that is to stop, or to rest: it leads nothing and asks not to be elected, and goes on to answer whoever still
//! calls it, by way of the new leaders.

use std::sync::Arc;
use std::time::Duration;

use spine_consensus::elections::preference;
use spine_consensus::group::GroupStatus;
use spine_proto::ids::ShardId;
use tokio::time::{Instant, sleep};

use crate::driver::CAUGHT_UP_ENTRIES_MAX;
use crate::node::Inner;
use crate::shard::host::Shard;
use crate::unfit::Reason;

/// Leaders that are asked to hand over get this long together.
const HAND_OVER_GRACE: Duration = Duration::from_secs(3);
/// A drain lasts at least so long: a peer that has not heard of it yet may still hand over a shard to this node. Seven
/// frames of a watch connection, and what it takes to hand over.
const NEWS_GRACE: Duration = Duration::from_millis(150);
/// Pause between two looks at what is left.
const HAND_OVER_POLL: Duration = Duration::from_millis(5);
/// An offer that nobody has taken is made again after this long.
const OFFER_AGAIN: Duration = Duration::from_millis(100);

impl Inner {
    /// Makes this node unready and unelectable and hands its leaders over. Returns how many shards nobody took.
    pub async fn drain(&self) -> usize {
        self.peers.unfit().set(Reason::Draining, true);
        self.hand_over().await
    }

    /// Takes [`Inner::drain`] back; leaders return as after an absence.
    pub fn undrain(&self) {
        self.peers.unfit().set(Reason::Draining, false);
    }

    /// Waits until another node leads each shard that this one led and has committed an entry of its own, or nobody
    /// can take it; and at least [`NEWS_GRACE`], in which it takes care of what is still handed to it.
    async fn hand_over(&self) -> usize {
        let began = Instant::now();
        let is_shared = |shard: &Arc<Shard>| shard.group.voters().len() > 1;
        let mut shards = self.host.all();
        shards.retain(is_shared);
        let mut left: Vec<Arc<Shard>> = Vec::new();
        let mut again = began;
        while !shards.is_empty() {
            let had = left.len();
            for shard in shards.iter().filter(|shard| shard.group.status().leading) {
                if !left.iter().any(|known| Arc::ptr_eq(known, shard)) {
                    left.push(Arc::clone(shard));
                }
            }
            let now = Instant::now();
            if now >= again {
                self.offer(&left).await;
                again = now + OFFER_AGAIN;
            } else {
                self.offer(&left[had..]).await;
            }
            left.retain(|shard| !is_handed_over(&shard.group.status(), shard.group.identity().replica_id));
            if is_over(left.is_empty(), now - began) {
                break;
            }
            sleep(HAND_OVER_POLL).await;
        }
        left.len()
    }

    async fn offer(&self, shards: &[Arc<Shard>]) {
        for shard in shards.iter().filter(|shard| shard.group.status().leading) {
            let (number, Some(replica)) = (shard.group.identity().shard, self.best_successor(shard)) else {
                continue;
            };
            tracing::info!(
                shard = number,
                replica,
                "hand leadership over: this node is to stop or to rest"
            );
            if let Err(error) = shard.group.transfer_to(replica).await {
                tracing::warn!(shard = number, %error, "hand over leadership");
            }
        }
    }

    /// Of the followers that are heard and nearly level, the one that is preferred among those left: any other would
    /// hand the shard on again. Where none is level, the furthest.
    pub(crate) fn best_successor(&self, shard: &Shard) -> Option<u64> {
        let (identity, voters) = (shard.group.identity(), shard.group.voters());
        let last = shard.group.status().last_log_index;
        let liveness = self.peers.links().liveness().borrow().clone();
        let is_up = |node: u64| {
            liveness.peers.iter().any(|(id, peer)| {
                let fit = !peer.unfit && !peer.unfit_shards.contains(&ShardId(identity.shard));
                id.0 == node && peer.silent_since.is_none() && peer.evidence.is_none() && fit
            })
        };
        let matched = shard.group.matched();
        let order = preference(identity.shard, &voters);
        let mut candidates: Vec<(u64, u64)> = Vec::new();
        for node in order.iter().filter(|node| is_up(**node)) {
            // While voters change a node may have two of them, one of which is gone.
            let here = voters.iter().filter(|(_, at)| at == node);
            candidates.extend(here.filter_map(|(replica, _)| {
                let (_, index) = matched.iter().find(|(id, _)| id == replica)?;
                (*replica != identity.replica_id).then_some((*replica, *index))
            }));
        }
        let level = candidates
            .iter()
            .find(|(_, index)| index.saturating_add(CAUGHT_UP_ENTRIES_MAX) >= last);
        level
            .or_else(|| candidates.iter().max_by_key(|(_, index)| *index))
            .map(|(replica, _)| *replica)
    }
}

/// Whether a drain that has lasted so long ends.
fn is_over(is_nothing_left: bool, lasted: Duration) -> bool {
    is_nothing_left && lasted >= NEWS_GRACE || lasted >= HAND_OVER_GRACE
}

fn is_handed_over(status: &GroupStatus, own_replica: u64) -> bool {
    let led_elsewhere = status.leader.is_some_and(|(replica, _)| replica != own_replica);
    status.stopped.is_some() || (led_elsewhere && status.committed_term == status.term)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(leader: Option<u64>, term: u64, committed_term: u64) -> GroupStatus {
        GroupStatus {
            term,
            leader: leader.map(|replica| (replica, 1)),
            leading: leader == Some(7),
            stopped: None,
            last_log_index: 10,
            committed_index: 10,
            committed_term,
            purged_index: 0,
        }
    }

    #[test]
    fn a_drain_lasts_until_nobody_hands_it_a_shard_any_more() {
        assert!(!is_over(true, Duration::ZERO), "a peer may not have heard of it");
        assert!(is_over(true, NEWS_GRACE));
        assert!(!is_over(false, NEWS_GRACE));
        assert!(is_over(false, HAND_OVER_GRACE), "nobody takes it");
    }

    #[test]
    fn handed_over_is_led_elsewhere_with_a_commit_of_the_new_term() {
        assert!(!is_handed_over(&status(Some(7), 3, 3), 7), "led here");
        assert!(!is_handed_over(&status(None, 4, 3), 7), "led by nobody");
        assert!(
            !is_handed_over(&status(Some(8), 4, 3), 7),
            "nothing committed yet"
        );
        assert!(is_handed_over(&status(Some(8), 4, 4), 7));
    }
}
