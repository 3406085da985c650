//! `pds.patch`: a patient's next version, by who says what differs.
//!
//! What is said is carried out on the current version; what comes out must be a patient like any other, and what it
//! changes must be what the national service lets be changed (`fields/`, `organisations.rs`), whichever format it is said
//! in, and where a whole resource is sent (`pds.update`) as well. In the national format the list must be written as the
//! national service wants it, too (`structure.rs`, `names.rs`).

mod carry_out;
mod changes;
mod empty;
mod fields;
mod fill;
mod hidden;
mod keep;
mod list;
mod merge;
mod names;
mod organisations;
mod structure;

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{PatchFormat, PatchRequest, PatchResponse};
use spine_statemachine::store::OrderedRead;

use self::changes::Changes;
use super::patient::{JSON_DEPTH_MAX, Patient};
use super::rules::PDS_13;
use super::{PERMISSION_WRITE, access, restricted, row, successor};
use crate::authorise::Principal;
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::json::Json;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;
use crate::{ids, json, reason};

/// See the module.
pub struct Patch;

impl Operation for Patch {
    const NAME: &'static str = "pds.patch";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = PatchRequest;
    type Response = PatchResponse;

    fn routing_key(request: &PatchRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &PatchRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &PatchRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_change(&context.principal, nhs_number)?;
        let format = format_of(request)?;
        let any_version = request.version_id == 0 && format != PatchFormat::Pds;
        let current = successor::Current::read(view, context, nhs_number)?.ok_or_else(row::not_found)?;
        current.check_live()?;
        if !any_version {
            current.check_version(request.version_id)?;
        }
        let before = json::parse(current.fhir_json(), JSON_DEPTH_MAX)
            .map_err(|_| row::damaged("a patient is no JSON"))?;
        if restricted::is_restricted_record(&before) {
            hidden::check(format, &request.patch)?;
        }
        let mut after = carried_out(&before, format, &request.patch)?;
        let is_national = format == PatchFormat::Pds;
        // The national service tells what may not be changed before what is no patient, and in words of its own.
        if is_national {
            settle(view, &before, &mut after, context)?;
        }
        // Checked like what any caller sends, by the same code.
        let mut patient = Patient::parse(&after.to_bytes(), context.now_ms)?;
        if !is_national {
            patient = changed(view, &before, patient, context)?;
        }
        if patient.nhs_number() != nhs_number {
            return Err(PDS_13.refuse("patch", "a patch keeps the id of the patient"));
        }
        current.replaced_by(view, patient)
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &PatchRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<PatchResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let version_id = row::version_of(&completed.outcome)?;
        let patient = if request.return_minimal {
            row::answer_minimal(nhs_number, version_id)
        } else {
            row::answer_version(view, context, nhs_number, version_id)?
        };
        Ok(PatchResponse {
            patient: Some(patient),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// Completes a new patient, and checks it like what a patch brings; less is refused where it is not `national`.
/// Ids are made of `entropy`.
///
/// # Errors
/// The first rule broken.
pub(super) fn complete_new(
    patient: &mut Json,
    national: bool,
    principal: &Principal,
    now_ms: i64,
    entropy: [u8; 32],
) -> Result<(), Failure> {
    let nobody = Json::Object(Vec::new());
    fill::complete(&nobody, patient, now_ms, entropy);
    let changes = Changes {
        of_plain_newcomer: !national,
        ..Changes::between(&nobody, patient)
    };
    fields::check(&changes, principal, now_ms)
}

/// Whether the organisations are there that a new patient names.
///
/// # Errors
/// `PDS-42`, `PDS-43`
pub(super) fn check_organisations(view: &mut View<'_>, patient: &Json) -> Result<(), Failure> {
    let nobody = Json::Object(Vec::new());
    organisations::check(view, &Changes::between(&nobody, patient))
}

/// The patient that somebody made of `before`, completed, and within the rules of what may be changed.
///
/// # Errors
/// The first rule broken.
pub(super) fn changed(
    view: &mut View<'_>,
    before: &Json,
    mut patient: Patient,
    context: &Context,
) -> Result<Patient, Failure> {
    let mut after = Json::Object(std::mem::take(patient.members_mut()));
    keep::left_out(before, &mut after);
    settle(view, before, &mut after, context)?;
    if let Json::Object(members) = after {
        *patient.members_mut() = members;
    }
    Ok(patient)
}

/// Completes what differs from `before`, and checks it.
fn settle(view: &mut View<'_>, before: &Json, after: &mut Json, context: &Context) -> Result<(), Failure> {
    fill::complete(before, after, context.now_ms, context.entropy);
    let changes = Changes::between(before, after);
    fields::check(&changes, &context.principal, context.now_ms)?;
    fields::check_own(&changes, &context.principal)?;
    organisations::check(view, &changes)
}

fn format_of(request: &PatchRequest) -> Result<PatchFormat, Failure> {
    match PatchFormat::try_from(request.format) {
        Ok(PatchFormat::Unspecified) | Err(_) => Err(Failure::invalid(
            reason::MALFORMED_REQUEST,
            "format",
            "the format of the patch is not one of this release",
        )),
        Ok(format) => Ok(format),
    }
}

fn carried_out(before: &Json, format: PatchFormat, patch: &[u8]) -> Result<Json, Failure> {
    let mut after = before.clone();
    match format {
        PatchFormat::Merge => merge::merge(&mut after, list::parse(patch)?)?,
        PatchFormat::Json => carry_out::carry_out(&mut after, list::bare(patch)?)?,
        PatchFormat::Pds | PatchFormat::Unspecified => {
            let patches = list::wrapped(patch)?;
            let names = structure::prepared(&mut after, &patches)?;
            carry_out::named(&mut after, &names, patches)?;
        }
    }
    empty::drop_arrays(before, &mut after);
    Ok(after)
}
