//! `pds.patch`: a patient's next version, by who says what differs.
//!
//! The list is carried out on the current version; what comes out must be a patient like any other. In the national
//! format the list must be written as the national service wants it (`structure.rs`), and what it changes must be what
//! the service lets be changed (`fields/`).

mod carry_out;
mod changes;
mod fields;
mod fill;
mod list;
mod merge;
mod organisations;
mod structure;

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{PatchFormat, PatchRequest, PatchResponse};
use spine_statemachine::store::OrderedRead;

use self::changes::Changes;
use super::patient::{JSON_DEPTH_MAX, Patient};
use super::rules::PDS_13;
use super::{PERMISSION_WRITE, access, row, successor};
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
        let after = patched(&before, format, request, context)?;
        if format == PatchFormat::Pds {
            organisations::check(view, &Changes::between(&before, &after))?;
        }
        // Checked like what any caller sends, by the same code.
        let patient = Patient::parse(&after.to_bytes(), context.now_ms)?;
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
            row::answer(nhs_number, row::version(view, context, nhs_number, version_id)?)
        };
        Ok(PatchResponse {
            patient: Some(patient),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// Completes a new patient of the national service, and checks it like what a patch brings.
///
/// # Errors
/// The first rule broken.
pub(super) fn complete_new(patient: &mut Json, context: &Context) -> Result<(), Failure> {
    let nobody = Json::Object(Vec::new());
    fill::complete(&nobody, patient, context);
    fields::check(&Changes::between(&nobody, patient), context)
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

fn patched(
    before: &Json,
    format: PatchFormat,
    request: &PatchRequest,
    context: &Context,
) -> Result<Json, Failure> {
    let mut after = before.clone();
    match format {
        PatchFormat::Merge => merge::merge(&mut after, list::parse(&request.patch)?)?,
        PatchFormat::Json => carry_out::carry_out(&mut after, list::bare(&request.patch)?)?,
        PatchFormat::Pds | PatchFormat::Unspecified => {
            let patches = structure::prepared(&mut after, list::wrapped(&request.patch)?)?;
            carry_out::named(&mut after, patches)?;
            fill::complete(before, &mut after, context);
            fields::check(&Changes::between(before, &after), context)?;
        }
    }
    fields::check_own(&Changes::between(before, &after), context)?;
    Ok(after)
}
