//! What can be said of a transaction without its store: known kinds, limits, slots.

use spine_proto::storage::v1::{self as pb, guard, mutation};

use crate::key::{self, Family};
use crate::limits::{
    FRAME_BYTES_MAX, GUARDS_MAX, INTERNAL_MUTATIONS_MAX, KEY_BYTES_MAX, MUTATIONS_MAX, OUTCOME_BYTES_MAX,
    SUBS_MAX,
};
use crate::request::HASH_BYTES;

/// A broken limit's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// Whether every guard and mutation is of a kind that this release knows. Anything else halts the replica.
pub(crate) fn is_known(txn: &pb::Txn) -> bool {
    txn.subs.len() <= SUBS_MAX
        && txn.subs.iter().all(|sub| {
            sub.guards.iter().all(|guard| guard.kind.is_some())
                && sub.mutations.iter().all(|mutation| mutation.kind.is_some())
        })
}

/// Limits of one SubTxn. Leaders check them before they propose; apply checks them again.
///
/// # Errors
/// [`Broken`]
pub fn limits(sub: &pb::SubTxn) -> Result<(), Broken> {
    let mutations_max = if sub.request.is_some() {
        MUTATIONS_MAX
    } else {
        INTERNAL_MUTATIONS_MAX
    };
    at_most(sub.guards.len(), GUARDS_MAX, "GUARDS_MAX")?;
    at_most(sub.mutations.len(), mutations_max, "MUTATIONS_MAX")?;
    at_most(sub.outcome.len(), OUTCOME_BYTES_MAX, "OUTCOME_BYTES_MAX")?;
    if let Some(request) = &sub.request
        && (request.id.len() != HASH_BYTES || request.body_digest.len() != HASH_BYTES)
    {
        return Err(Broken("REQUEST_KEY"));
    }
    for mutation in &sub.mutations {
        match &mutation.kind {
            Some(mutation::Kind::Put(put)) => {
                key_fits(&put.key)?;
                at_most(put.value.len(), FRAME_BYTES_MAX, "RECORD_BYTES_MAX")?;
            }
            Some(mutation::Kind::Append(append)) => {
                key_fits(&append.stream)?;
                at_most(append.value.len(), FRAME_BYTES_MAX, "RECORD_BYTES_MAX")?;
            }
            Some(mutation::Kind::Delete(delete)) => key_fits(&delete.key)?,
            // An empty prefix would be the whole shard.
            Some(mutation::Kind::DeleteRange(range)) => key_fits(&range.prefix)?,
            None => {}
        }
    }
    Ok(())
}

fn at_most(actual: usize, most: usize, limit: &'static str) -> Result<(), Broken> {
    if actual <= most {
        Ok(())
    } else {
        Err(Broken(limit))
    }
}

fn key_fits(key: &[u8]) -> Result<(), Broken> {
    let family = Family::of(key).ok_or(Broken("KEY"))?;
    if family.is_slotted() && (key.len() < key::PREFIX_BYTES || key::slot_of(key).is_none()) {
        return Err(Broken("KEY"));
    }
    at_most(key.len(), KEY_BYTES_MAX, "KEY_BYTES_MAX")
}

/// The slots that a SubTxn touches.
pub(crate) fn slots(sub: &pb::SubTxn) -> Vec<u16> {
    let guarded = sub.guards.iter().filter_map(|guard| match &guard.kind {
        Some(guard::Kind::RevisionIs(guard)) => Some(&guard.key),
        Some(guard::Kind::Absent(guard)) => Some(&guard.key),
        Some(guard::Kind::RangeUnchanged(guard)) => Some(&guard.prefix),
        None => None,
    });
    let changed = sub.mutations.iter().filter_map(|mutation| match &mutation.kind {
        Some(mutation::Kind::Put(put)) => Some(&put.key),
        Some(mutation::Kind::Delete(delete)) => Some(&delete.key),
        Some(mutation::Kind::DeleteRange(range)) => Some(&range.prefix),
        Some(mutation::Kind::Append(append)) => Some(&append.stream),
        None => None,
    });
    let mut slots: Vec<u16> = guarded
        .chain(changed)
        .filter(|key| Family::of(key).is_some_and(Family::is_slotted))
        .filter_map(|key| key::slot_of(key).map(|slot| slot.get()))
        .collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}
