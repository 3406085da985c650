//! `pds.update`: a patient's next version, by who has read the current one, or asks for this content whatever it is.
//!
//! What differs from the current version keeps the rules of changes (`patch`). A first version is taken as it comes: it
//! is a record that another service has held. Who is new gets a number (`allocate`), and keeps those rules from then on.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{UpdateRequest, UpdateResponse};
use spine_statemachine::store::OrderedRead;

use super::patient::Patient;
use super::register::first;
use super::rules::{PDS_11, PDS_13};
use super::successor::Current;
use super::{PERMISSION_WRITE, access, patch, restricted, row};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::json::Json;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;
use crate::{ids, reason};

/// See the module.
pub struct Update;

impl Operation for Update {
    const NAME: &'static str = "pds.update";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = UpdateRequest;
    type Response = UpdateResponse;

    fn routing_key(request: &UpdateRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &UpdateRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &UpdateRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_replace(&context.principal, nhs_number)?;
        if request.version_id == 0 && !request.any_version && !request.may_create {
            return Err(Failure::invalid(
                reason::MISSING_VERSION_ID,
                "version_id",
                "no version is named",
            ));
        }
        let mut patient = Patient::parse(&request.fhir_json, context.now_ms)?;
        if patient.nhs_number() != nhs_number {
            return Err(PDS_13.refuse(
                "fhir_json.id",
                "the id is not the NHS Number of the patient to update",
            ));
        }
        match Current::read(view, context, nhs_number)? {
            Some(_) if request.version_id == 0 && !request.any_version => {
                Err(PDS_11.refuse("nhs_number", "a patient with this NHS Number is registered"))
            }
            Some(current) => {
                current.check_live()?;
                if request.version_id != 0 {
                    current.check_version(request.version_id)?;
                }
                let before = Json::Object(current.members()?);
                restricted::keep_hidden(&before, patient.members_mut())?;
                let patient = patch::changed(view, &before, patient, context)?;
                current.replaced_by(view, patient)
            }
            None if request.version_id == 0 && request.may_create => first(view, patient, context),
            None => Err(row::not_found()),
        }
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &UpdateRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<UpdateResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let version_id = row::version_of(&completed.outcome)?;
        let patient = if request.return_minimal {
            row::answer_minimal(nhs_number, version_id)
        } else {
            row::answer_version(view, context, nhs_number, version_id)?
        };
        Ok(UpdateResponse {
            patient: Some(patient),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}
