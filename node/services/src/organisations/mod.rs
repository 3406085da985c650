//! Organisations of the Organisation Data Service: public reference data, the same in every shard, so that a plan can ask
//! for one on its own view.
//!
//! Where a shard was never given any, every code that is well formed counts as known.

pub mod load;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_proto::ids::OdsCode;
use spine_proto::pds::v1::OrganisationRole;
use spine_proto::storage::v1::OrganisationRow;
use spine_statemachine::frame;
use spine_statemachine::key::{Family, SUBJECT_BYTES, slots_owned};
use spine_statemachine::slots;
use spine_statemachine::store::ReadError;

use crate::failure::Failure;
use crate::view::View;

/// Permission to change organisations.
pub const PERMISSION_WRITE: &str = "organisations.write";
/// Number of `OrganisationRow` as an encoding of a record.
const SCHEMA: u32 = 1;
/// One organisation, by its code.
const KIND_ORGANISATION: u8 = 1;
/// That there are any.
const KIND_LOADED: u8 = 2;

/// Keys need a slot that their shard owns; codes are public, so they stand where other keys have a secret.
fn key(slot: u16, code: &str, kind: u8) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + 2 + SUBJECT_BYTES + 1);
    key.put_u8(Family::Organisation as u8);
    key.put_u16(slot);
    let mut subject = [0; SUBJECT_BYTES];
    for (place, byte) in subject.iter_mut().zip(code.bytes()) {
        *place = byte;
    }
    key.put_slice(&subject);
    key.put_u8(kind);
    key.freeze()
}

/// The first slot of the shard; none before it knows its slots, which then is a part of what the plan rests on.
fn first_slot(view: &mut View<'_>) -> Result<Option<u16>, Failure> {
    let Some(owned) = slots::owned(view.records())? else {
        view.get(&slots_owned())?;
        return Ok(None);
    };
    let first = u16::try_from(owned.first);
    Ok(Some(
        first.map_err(|_| ReadError("slot beyond all slots".to_owned()))?,
    ))
}

/// Whether there is an open organisation of this code with one of these roles, as far as the shard was told.
///
/// # Errors
/// [`Failure::Read`]
pub(crate) fn is_known(view: &mut View<'_>, code: &str, roles: &[OrganisationRole]) -> Result<bool, Failure> {
    let Some(slot) = first_slot(view)? else {
        return Ok(true);
    };
    if view.get(&key(slot, "", KIND_LOADED))?.is_none() {
        return Ok(true);
    }
    if OdsCode::parse(code).is_err() {
        return Ok(false);
    }
    let Some(record) = view.get(&key(slot, code, KIND_ORGANISATION))? else {
        return Ok(false);
    };
    let row = frame::decode(&record.value).map_err(|error| ReadError(format!("organisation: {error}")))?;
    let row = OrganisationRow::decode(row).map_err(|_| ReadError("organisation row".to_owned()))?;
    Ok(!row.closed && roles.iter().any(|role| row.roles.contains(&i32::from(*role))))
}
