//! What a person is: whether their record is shown, and to whom; whether they are alive; which numbers are theirs.
//!
//! Each of these is an operation of its own that makes a new version of the record, so that its history tells all.

pub(super) mod confidentiality;
pub mod death;
pub mod invalidate;
pub mod merge;
pub mod sensitivity;

use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::Patient as Answer;
use spine_statemachine::store::OrderedRead;

use super::patient::Patient;
use super::row;
use super::successor::Current;
use crate::context::Context;
use crate::failure::Failure;
use crate::json::Json;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// The members of a resource.
type Members = Vec<(String, Json)>;

/// The plan that changes the current version of a record that is live. `version_id` 0 stands for whatever is current.
fn changed(
    view: &mut View<'_>,
    context: &Context,
    nhs_number: NhsNumber,
    version_id: u32,
    change: impl FnOnce(&mut Members) -> Result<(), Failure>,
) -> Result<Plan, Failure> {
    let current = live(view, context, nhs_number)?;
    if version_id != 0 {
        current.check_version(version_id)?;
    }
    let mut members = current.members()?;
    change(&mut members)?;
    let row = current.row().clone();
    current.followed_by(view, Patient::of_stored(nhs_number, members), row)
}

/// The current version of a record that may be changed.
fn live<'a>(
    view: &mut View<'_>,
    context: &'a Context,
    nhs_number: NhsNumber,
) -> Result<Current<'a>, Failure> {
    let current = Current::read(view, context, nhs_number)?.ok_or_else(row::not_found)?;
    current.check_live()?;
    Ok(current)
}

/// The version that a change has made, as callers see it now.
fn answer(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
    completed: &Completed,
) -> Result<Answer, Failure> {
    let version_id = row::version_of(&completed.outcome)?;
    row::answer_version(view, context, nhs_number, version_id)
}
