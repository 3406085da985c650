//! `pds.register`: a patient's first version.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{RegisterRequest, RegisterResponse};
use spine_statemachine::store::OrderedRead;

use super::patient::Patient;
use super::row::{FIRST_VERSION, Plain};
use super::rules::PDS_11;
use super::search::index;
use super::{PERMISSION_WRITE, access, keys, row};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// See the module.
pub struct Register;

impl Operation for Register {
    const NAME: &'static str = "pds.register";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = RegisterRequest;
    type Response = RegisterResponse;

    fn routing_key(request: &RegisterRequest) -> Result<RoutingKey, Failure> {
        Ok(Patient::nhs_number_of(&request.fhir_json)?.routing_key())
    }

    fn call_id(request: &RegisterRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &RegisterRequest, context: &Context) -> Result<Plan, Failure> {
        let patient = Patient::parse(&request.fhir_json, context.now_ms)?;
        access::check_replace(&context.principal, patient.nhs_number())?;
        let key = keys::current(&context.subject_key, patient.nhs_number());
        if view.get(&key)?.is_some() {
            return Err(PDS_11.refuse("fhir_json.id", "a patient with this NHS Number is registered"));
        }
        first(view, patient, context)
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &RegisterRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<RegisterResponse, Failure> {
        let nhs_number = Patient::nhs_number_of(&request.fhir_json)?;
        let version_id = row::version_of(&completed.outcome)?;
        let patient = if request.return_minimal {
            row::answer_minimal(nhs_number, version_id)
        } else {
            row::answer_version(view, context, nhs_number, version_id)?
        };
        Ok(RegisterResponse {
            patient: Some(patient),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// The plan that makes `patient` the first version; its sender has seen that there is none.
pub(super) fn first(view: &mut View<'_>, patient: Patient, context: &Context) -> Result<Plan, Failure> {
    let key = keys::current(&context.subject_key, patient.nhs_number());
    let mut plan = Plan {
        outcome: row::outcome(FIRST_VERSION),
        ..Plan::default()
    };
    index::write(
        &mut plan,
        view,
        context,
        patient.nhs_number(),
        None,
        patient.members(),
    )?;
    let plain = Plain::new(FIRST_VERSION, patient.into_json(FIRST_VERSION)?);
    plan.put(key, plain.frame(), row::SCHEMA);
    Ok(plan)
}
