//! Patients that were written before there were search tokens. Until all of them have theirs a shard does not search:
//! a search is complete or an error.
//!
//! A row of the shard says that it is done. It stays done: what is written behind level 2 carries its tokens with it.

use bytes::Bytes;
use spine_mutants::mutant;
use spine_proto::ids::NhsNumber;
use spine_proto::storage::v1::Mutation;
use spine_statemachine::{Rule, frame, key};

use super::index;
use crate::context::Context;
use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::pds::successor::Current;
use crate::plan::Plan;
use crate::reason;
use crate::view::View;

/// Number of an empty value as an encoding of a record.
const SCHEMA: u32 = 1;

/// The row that says that no patient of the shard lacks tokens.
#[must_use]
pub fn done_key() -> Bytes {
    key::system(b"pds-tokens")
}

/// Writes it.
#[must_use]
pub fn done() -> Vec<Mutation> {
    let mut plan = Plan::default();
    plan.put(done_key(), frame::encode(&[]), SCHEMA);
    plan.mutations
}

/// Refuses to search for patients who may not be found yet.
///
/// # Errors
/// `LEVEL_TOO_LOW`, `INDEX_NOT_READY`
pub(in crate::pds) fn require_done(view: &mut View<'_>) -> Result<(), Failure> {
    view.requires(Rule::SEARCH_TOKENS)?;
    if view.get(&done_key())?.is_some() || mutant!("search-before-done") {
        return Ok(());
    }
    Err(Failure::refused(
        ErrorKind::Unavailable,
        reason::INDEX_NOT_READY,
        "",
        "patients of before the upgrade are still being made findable",
    ))
}

/// What makes a patient findable that was written before there were tokens; empty where nothing is missing.
///
/// # Errors
/// [`Failure::Read`]
pub fn missing(view: &mut View<'_>, context: &Context, nhs_number: NhsNumber) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let Some(current) = Current::read(view, context, nhs_number)? else {
        return Ok(plan);
    };
    let members = current.members()?;
    // Those that are not shown are not found: they were marked behind level 2, so nothing of theirs is missing.
    let is_shown = current.check_live().is_ok();
    if is_shown && !index::has_tokens(view, context, nhs_number, &members)? {
        index::write(&mut plan, view, context, nhs_number, None, &members)?;
    }
    Ok(plan)
}
