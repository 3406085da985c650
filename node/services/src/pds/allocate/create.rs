//! `pds.create` and `pds.void`: what becomes of a number that was drawn. Each is decided by the number itself, once.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{CreateRequest, CreateResponse, VoidRequest, VoidResponse};
use spine_proto::storage::v1::{Allocated, PatientRow};
use spine_statemachine::Rule;
use spine_statemachine::frame;
use spine_statemachine::store::OrderedRead;

use super::new_patient::NewPatient;
use crate::context::Context;
use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::operation::Operation;
use crate::pds::patient::Patient;
use crate::pds::row::{self, FIRST_VERSION, Plain};
use crate::pds::search::index;
use crate::pds::successor::Current;
use crate::pds::{PERMISSION_ALLOCATE, access, keys};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// Number of an empty value as an encoding of a record.
const VOID_SCHEMA: u32 = 1;
/// The outcome of a number that was void already, or has a patient.
const CREATED: &[u8] = b"created";

/// See the module.
pub struct Create;

impl Operation for Create {
    const NAME: &'static str = "pds.create";
    const PERMISSION: &'static str = PERMISSION_ALLOCATE;
    const WRITES: bool = true;
    type Request = CreateRequest;
    type Response = CreateResponse;

    fn routing_key(request: &CreateRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &CreateRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, None).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &CreateRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_create(&context.principal)?;
        view.requires(Rule::IDENTITIES)?;
        let allocated = Allocated {
            holder: request.holder.clone(),
            body: request.body.clone(),
        };
        if let Some(current) = Current::read(view, context, nhs_number)? {
            if current.row().allocated.as_ref() == Some(&allocated) {
                if current.row().superseded_by.is_empty() {
                    row::check_shown(current.row())?;
                }
                return Ok(Plan {
                    outcome: row::outcome(FIRST_VERSION),
                    ..Plan::default()
                });
            }
            return Err(taken());
        }
        if view.get(&keys::void(&context.subject_key, nhs_number))?.is_some() {
            return Err(taken());
        }
        let resource = NewPatient::read(&request.fhir_json, request.national, context.now_ms)?
            .under(view, nhs_number, context)?;
        let patient = Patient::parse(&resource.to_bytes(), context.now_ms)?;
        let mut plan = Plan {
            outcome: row::outcome(FIRST_VERSION),
            ..Plan::default()
        };
        index::write(&mut plan, view, context, nhs_number, None, patient.members())?;
        index::write_request(&mut plan, view, context, nhs_number, &request.holder)?;
        let row = PatientRow {
            version_id: FIRST_VERSION,
            fhir_json: patient.into_json(FIRST_VERSION)?.into(),
            allocated: Some(allocated),
            ..PatientRow::default()
        };
        let key = keys::current(&context.subject_key, nhs_number);
        plan.put(key, Plain::of_row(&row).frame(), row::SCHEMA);
        Ok(plan)
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &CreateRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<CreateResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let version_id = row::version_of(&completed.outcome)?;
        Ok(CreateResponse {
            patient: Some(row::answer_version(view, context, nhs_number, version_id)?),
            // What has changed nothing has found its patient there.
            replayed: completed.replayed || completed.revision == 0,
            position: Some(completed.position()),
        })
    }
}

/// See the module.
pub struct Void;

impl Operation for Void {
    const NAME: &'static str = "pds.void";
    const PERMISSION: &'static str = PERMISSION_ALLOCATE;
    const WRITES: bool = true;
    type Request = VoidRequest;
    type Response = VoidResponse;

    fn routing_key(request: &VoidRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &VoidRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, None).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &VoidRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_create(&context.principal)?;
        view.requires(Rule::IDENTITIES)?;
        let mut plan = Plan::default();
        if view
            .get(&keys::current(&context.subject_key, nhs_number))?
            .is_some()
        {
            plan.outcome = CREATED.into();
            return Ok(plan);
        }
        let key = keys::void(&context.subject_key, nhs_number);
        if view.get(&key)?.is_none() {
            plan.put(key, frame::encode(&[]), VOID_SCHEMA);
        }
        Ok(plan)
    }

    fn respond(
        _: &dyn OrderedRead,
        _: &VoidRequest,
        completed: &Completed,
        _: &Context,
    ) -> Result<VoidResponse, Failure> {
        Ok(VoidResponse {
            created: completed.outcome == CREATED,
            position: Some(completed.position()),
        })
    }
}

fn taken() -> Failure {
    Failure::refused(
        ErrorKind::AlreadyExists,
        reason::NUMBER_TAKEN,
        "nhs_number",
        "the number is taken",
    )
}
