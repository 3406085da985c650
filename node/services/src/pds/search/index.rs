//! Where tokens stand: in the patient's own shard, all tokens of a shard together, so that those of one meaning are one
//! range.
//!
//! A key needs a slot that its shard owns. All tokens of a shard carry the first one: the slot of the patient would
//! spread one range over thousands. `token(8) | subject(16)` stands where other keys have subject, kind and suffix.

use std::collections::BTreeSet;

use bytes::{BufMut as _, Bytes, BytesMut};
use spine_mutants::mutant;
use spine_proto::ids::{NhsNumber, RoutingKey};
use spine_statemachine::Rule;
use spine_statemachine::key::{Family, SUBJECT_BYTES, SubjectKey, level, slots_owned, successor};
use spine_statemachine::slots;
use spine_statemachine::store::{OrderedRead, ReadError};

use super::tokens::{Members, Token, any_of_patient, birth_of, has_many, of_birth, of_patient, of_request};
use crate::context::Context;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::view::View;

/// Number of an empty value as an encoding of a record.
const SCHEMA: u32 = 1;
/// Family, slot, token.
const PREFIX_BYTES: usize = 1 + 2 + 8;

/// Adds to a plan what finding the patient needs, once no leader is left that would not keep it up. `before` is the
/// last version; one that was written before that is found by nothing, so that all tokens of the new one are written.
///
/// # Errors
/// [`Failure::Read`] where the shard does not know its slots.
pub(in crate::pds) fn write(
    plan: &mut Plan,
    view: &mut View<'_>,
    context: &Context,
    nhs_number: NhsNumber,
    before: Option<&Members>,
    after: &Members,
) -> Result<(), Failure> {
    if !view.follows(Rule::SEARCH_TOKENS) {
        // Should the level rise before this is applied, it is planned again: nobody is written without tokens then.
        if !mutant!("level-not-guarded") {
            view.get(&level())?;
        }
        return Ok(());
    }
    let subject_key = &context.subject_key;
    let slot = slot_of_tokens(view, nhs_number)?;
    let subject = subject_key.subject(&nhs_number.routing_key());
    let mut old = BTreeSet::new();
    if let Some(before) = before
        && has_tokens(view, context, nhs_number, before)?
    {
        old = of_patient(subject_key, before);
    }
    let new = of_patient(subject_key, after);
    for token in old.difference(&new) {
        plan.delete(key(slot, token, &subject));
    }
    // Which few of many are chosen was decided otherwise once: what stands there is not what is computed.
    if let Some(before) = before
        && has_many(before)
    {
        for token in any_of_patient(subject_key, before).difference(&new) {
            let other = key(slot, token, &subject);
            // Without a guard of its own: tokens are written with the record, which was read under one, or by
            // `backlog::missing`, along with the birth token, which `has_tokens` has looked for under one.
            if !old.contains(token) && view.records().get(&other)?.is_some() {
                plan.delete(other);
            }
        }
        old.clear();
    }
    for token in new.difference(&old) {
        plan.put(key(slot, token, &subject), Bytes::new(), SCHEMA);
    }
    Ok(())
}

/// Adds to the plan of a new patient what finds it by the request it was created for.
///
/// # Errors
/// [`Failure::Read`] where the shard does not know its slots.
pub(in crate::pds) fn write_request(
    plan: &mut Plan,
    view: &mut View<'_>,
    context: &Context,
    nhs_number: NhsNumber,
    holder: &[u8],
) -> Result<(), Failure> {
    let subject_key = &context.subject_key;
    let slot = slot_of_tokens(view, nhs_number)?;
    let subject = subject_key.subject(&nhs_number.routing_key());
    let token = of_request(subject_key, holder);
    plan.put(key(slot, &token, &subject), Bytes::new(), SCHEMA);
    Ok(())
}

/// Whether the patient with these members, as they stand, was written with tokens. They are written together, so one
/// tells for all.
pub(super) fn has_tokens(
    view: &mut View<'_>,
    context: &Context,
    nhs_number: NhsNumber,
    members: &Members,
) -> Result<bool, Failure> {
    let Some(birth) = birth_of(members) else {
        return Ok(false);
    };
    let subject_key = &context.subject_key;
    let slot = slot_of_tokens(view, nhs_number)?;
    let subject = subject_key.subject(&nhs_number.routing_key());
    let token = key(slot, &of_birth(subject_key, birth), &subject);
    Ok(view.get(&token)?.is_some())
}

fn slot_of_tokens(view: &mut View<'_>, nhs_number: NhsNumber) -> Result<u16, Failure> {
    if let Some(slot) = first_slot(view.records())? {
        return Ok(slot);
    }
    // Apply takes nothing before the shard knows its slots; should it know them by then, this is planned again.
    view.get(&slots_owned())?;
    Ok(nhs_number.routing_key().slot().get())
}

/// The slot is read without a guard: apply refuses the keys of one that the shard has lost since.
fn first_slot(records: &dyn OrderedRead) -> Result<Option<u16>, Failure> {
    let Some(owned) = slots::owned(records)? else {
        return Ok(None);
    };
    let first = u16::try_from(owned.first);
    Ok(Some(
        first.map_err(|_| ReadError("slot beyond all slots".to_owned()))?,
    ))
}

fn prefix(slot: u16, token: &Token) -> BytesMut {
    let mut key = BytesMut::with_capacity(PREFIX_BYTES + SUBJECT_BYTES);
    key.put_u8(Family::PdsToken as u8);
    key.put_u16(slot);
    key.put_slice(token);
    key
}

fn key(slot: u16, token: &Token, subject: &[u8; SUBJECT_BYTES]) -> Bytes {
    let mut key = prefix(slot, token);
    key.put_slice(subject);
    key.freeze()
}

/// The patients of this shard that have the token; at most `limit`.
///
/// # Errors
/// [`Failure::Read`]
pub(in crate::pds) fn patients(
    records: &dyn OrderedRead,
    subject_key: &SubjectKey,
    token: &Token,
    limit: usize,
) -> Result<Vec<NhsNumber>, Failure> {
    let Some(slot) = first_slot(records)? else {
        return Ok(Vec::new());
    };
    let start = prefix(slot, token).freeze();
    let found = records.range(&start, &successor(&start), limit)?;
    let numbers = found.iter().map(|(key, _)| {
        let subject = key.get(PREFIX_BYTES..)?.try_into().ok()?;
        let routing_key: RoutingKey = subject_key.routing_key(&subject)?;
        NhsNumber::parse(routing_key.expose()).ok()
    });
    let numbers: Option<Vec<NhsNumber>> = numbers.collect();
    Ok(numbers.ok_or_else(|| ReadError("a search token names nobody".to_owned()))?)
}
