//! One log entry for all changes of a shard that wait together.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use spine_consensus::group::GroupError;
use spine_proto::storage::v1 as pb;
use spine_statemachine::{Applied, SubOutcome};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::gather::Gather;
use super::host::Shard;
use super::latch::LatchGuard;
use crate::clock_agreement::LeaderTime;

/// Entries of one shard on their way to a majority: while one is synced, the next one travels.
const ENTRIES_MAX: usize = 1;
/// Changes in one entry.
pub const ENTRY_SUBS_MAX: usize = 256;
/// Encoded bytes of the changes in one entry of more than one.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// The changes of a shard that are to be proposed.
pub struct Proposals(Gather<Waiting>);

struct Waiting {
    sub: pb::SubTxn,
    latch: Option<LatchGuard>,
    told: oneshot::Sender<Told>,
    _room: OwnedSemaphorePermit,
}

/// What became of a change, with its latch: to plan again before anybody else does.
type Told = (Option<LatchGuard>, Result<SubOutcome, GroupError>);

impl Default for Proposals {
    fn default() -> Self {
        Self(Gather::new(ENTRIES_MAX))
    }
}

impl Shard {
    /// Proposes a change and waits until it is applied or known dropped. It outlives a caller that gives up, and holds
    /// the latch until its fate is known.
    ///
    /// # Errors
    /// As `RaftGroup::propose`.
    pub async fn propose(
        self: &Arc<Self>,
        sub: pb::SubTxn,
        latch: Option<LatchGuard>,
        room: OwnedSemaphorePermit,
        time: &LeaderTime,
    ) -> (Option<LatchGuard>, Result<SubOutcome, GroupError>) {
        let (told, fate) = oneshot::channel();
        let waiting = Waiting {
            sub,
            latch,
            told,
            _room: room,
        };
        if self.proposals.0.add(waiting) {
            tokio::spawn(carry(Arc::clone(self), time.clone()));
        }
        // Nobody tells where the runtime ends.
        fate.await.unwrap_or((None, Err(GroupError::Unknown)))
    }
}

async fn carry(shard: Arc<Shard>, time: LeaderTime) {
    loop {
        // What the tasks that are ready now propose, too, goes into the same entry.
        tokio::task::yield_now().await;
        let (mut subs, mut bytes) = (0, 0);
        let lot = shard.proposals.0.take(|waiting| {
            subs += 1;
            bytes += waiting.sub.encoded_len();
            subs <= ENTRY_SUBS_MAX && bytes <= ENTRY_BYTES_MAX
        });
        if lot.is_empty() {
            return;
        }
        propose_lot(&shard, &time, lot).await;
    }
}

async fn propose_lot(shard: &Arc<Shard>, time: &LeaderTime, lot: Vec<Waiting>) {
    let (mut subs, mut callers) = (Vec::with_capacity(lot.len()), Vec::with_capacity(lot.len()));
    for Waiting {
        sub,
        latch,
        told,
        _room,
    } in lot
    {
        subs.push(sub);
        callers.push((latch, told, _room));
    }
    let entry = txn_entry(subs, time.stamp_ms(shard));
    let outcomes = match shard.group.propose(entry).await {
        Ok(proposed) => match proposed.applied {
            Applied::Txn(outcomes) if outcomes.len() == callers.len() => Ok(outcomes),
            _ => Err(GroupError::Unknown),
        },
        Err(error) => Err(error),
    };
    let mut outcomes = outcomes.map(Vec::into_iter);
    for (latch, told, _room) in callers {
        let outcome = match &mut outcomes {
            Ok(outcomes) => outcomes.next().ok_or(GroupError::Unknown),
            Err(error) => Err(error.clone()),
        };
        // A caller that has given up drops its latch here.
        let _ = told.send((latch, outcome));
    }
}

/// An encoded log entry that holds these SubTxns; `proposed_at_ms` as [`LeaderTime::stamp_ms`] gives it.
#[must_use]
pub fn txn_entry(subs: Vec<pb::SubTxn>, proposed_at_ms: i64) -> Bytes {
    let txn = pb::Txn { subs, proposed_at_ms };
    pb::Entry {
        kind: Some(pb::entry::Kind::Txn(txn)),
    }
    .encode_to_vec()
    .into()
}
