//! What can be said of a transaction without its store: known kinds, limits, slots.

use bytes::Bytes;
use spine_proto::storage::v1::{self as pb, guard, mutation};

use crate::key::{self, Family};
use crate::limits::{
    CHOSEN_KEY_BYTES_MAX, FRAME_BYTES_MAX, GUARDS_MAX, INTERNAL_MUTATIONS_MAX, KEY_BYTES_MAX, MUTATIONS_MAX,
    OUTCOME_BYTES_MAX, RANGE_RECORDS_MAX, SUBS_MAX, TXN_BYTES_MAX,
};
use crate::{request, slots};

/// A broken limit's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// Whether every guard and mutation is of a kind that this release knows. Anything else halts the replica.
pub(crate) fn is_known(txn: &pb::Txn) -> bool {
    txn.subs.iter().all(|sub| {
        sub.guards.iter().all(|guard| guard.kind.is_some())
            && sub.mutations.iter().all(|mutation| mutation.kind.is_some())
    })
}

/// Limits of a transaction as a whole, whose entry has `bytes` bytes.
///
/// # Errors
/// [`Broken`]
pub fn txn_limits(txn: &pb::Txn, bytes: usize) -> Result<(), Broken> {
    at_most(txn.subs.len(), SUBS_MAX, "SUBS_MAX")?;
    at_most(bytes, TXN_BYTES_MAX, "TXN_BYTES_MAX")
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
    if sub
        .request
        .as_ref()
        .is_some_and(|key| !request::is_well_formed(key))
    {
        return Err(Broken("REQUEST_KEY"));
    }
    sub.guards.iter().try_for_each(guard_fits)?;
    sub.mutations.iter().try_for_each(mutation_fits)
}

fn guard_fits(guard: &pb::Guard) -> Result<(), Broken> {
    match &guard.kind {
        Some(guard::Kind::RevisionIs(guard)) => key_fits(&guard.key, KEY_BYTES_MAX),
        Some(guard::Kind::Absent(guard)) => key_fits(&guard.key, KEY_BYTES_MAX),
        Some(guard::Kind::RangeUnchanged(guard)) => {
            prefix_fits(&guard.prefix)?;
            let count = usize::try_from(guard.count).unwrap_or(usize::MAX);
            at_most(count, RANGE_RECORDS_MAX, "RANGE_RECORDS_MAX")
        }
        None => Ok(()),
    }
}

fn mutation_fits(mutation: &pb::Mutation) -> Result<(), Broken> {
    match &mutation.kind {
        Some(mutation::Kind::Put(put)) => put_fits(put),
        Some(mutation::Kind::Append(append)) => {
            is_open_to_callers(&append.stream)?;
            key_fits(&append.stream, CHOSEN_KEY_BYTES_MAX)?;
            at_most(append.value.len(), FRAME_BYTES_MAX, "RECORD_BYTES_MAX")
        }
        Some(mutation::Kind::Delete(delete)) => {
            is_open_to_callers(&delete.key)?;
            key_fits(&delete.key, KEY_BYTES_MAX)
        }
        Some(mutation::Kind::DeleteRange(range)) => {
            is_open_to_callers(&range.prefix)?;
            prefix_fits(&range.prefix)
        }
        None => Ok(()),
    }
}

fn put_fits(put: &pb::Put) -> Result<(), Broken> {
    is_open_to_callers(&put.key)?;
    if Family::of(&put.key) == Some(Family::Stream) {
        // Rows of streams come from appends alone, else a chain could be forged.
        return Err(Broken("APPEND_ONLY"));
    }
    key_fits(&put.key, CHOSEN_KEY_BYTES_MAX)?;
    at_most(put.value.len(), FRAME_BYTES_MAX, "RECORD_BYTES_MAX")?;
    if put.key == key::slots_owned() && slots::parse(&put.value).is_none() {
        // A wrong row would stop every replica at its next read of it.
        return Err(Broken("SLOTS_ROW"));
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

/// Request rows are counted; only apply itself writes and removes them.
fn is_open_to_callers(key: &[u8]) -> Result<(), Broken> {
    if Family::of(key) == Some(Family::Request) {
        Err(Broken("KEY"))
    } else {
        Ok(())
    }
}

fn key_fits(key: &[u8], bytes_max: usize) -> Result<(), Broken> {
    has_family_and_slot(key, key::PREFIX_BYTES)?;
    at_most(key.len(), bytes_max, "KEY_BYTES_MAX")
}

/// A prefix names at least one subject. An empty one would be the whole shard.
fn prefix_fits(prefix: &[u8]) -> Result<(), Broken> {
    has_family_and_slot(prefix, key::PREFIX_BYTES - 1)?;
    at_most(prefix.len(), KEY_BYTES_MAX, "KEY_BYTES_MAX")
}

fn has_family_and_slot(key: &[u8], slotted_bytes_min: usize) -> Result<(), Broken> {
    let fits = if key::is_slotted(key) {
        key.len() >= slotted_bytes_min && key::slot_of(key).is_some()
    } else {
        Family::of(key).is_some()
    };
    if fits { Ok(()) } else { Err(Broken("KEY")) }
}

/// The keys, prefixes and streams that a SubTxn changes.
fn changed(sub: &pb::SubTxn) -> impl Iterator<Item = &Bytes> {
    sub.mutations.iter().filter_map(|mutation| match &mutation.kind {
        Some(mutation::Kind::Put(put)) => Some(&put.key),
        Some(mutation::Kind::Delete(delete)) => Some(&delete.key),
        Some(mutation::Kind::DeleteRange(range)) => Some(&range.prefix),
        Some(mutation::Kind::Append(append)) => Some(&append.stream),
        None => None,
    })
}

/// Whether a SubTxn changes rows of the shard itself, its owned slots among them.
pub(crate) fn touches_shard_rows(sub: &pb::SubTxn) -> bool {
    changed(sub).any(|key| !key::is_slotted(key))
}

/// The slots of the keys that a SubTxn touches.
pub(crate) fn slots(sub: &pb::SubTxn) -> Vec<u16> {
    let guarded = sub.guards.iter().filter_map(|guard| match &guard.kind {
        Some(guard::Kind::RevisionIs(guard)) => Some(&guard.key),
        Some(guard::Kind::Absent(guard)) => Some(&guard.key),
        Some(guard::Kind::RangeUnchanged(guard)) => Some(&guard.prefix),
        None => None,
    });
    let mut slots: Vec<u16> = guarded
        .chain(changed(sub))
        .filter(|key| key::is_slotted(key))
        .filter_map(|key| key::slot_of(key).map(|slot| slot.get()))
        .collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}
