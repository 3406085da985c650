//! `pds.update`: a patient's next version, by who has read the current one.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{UpdateRequest, UpdateResponse};
use spine_statemachine::store::{OrderedRead, ReadError};

use super::patient::Patient;
use super::row::Plain;
use super::rules::{PDS_12, PDS_13};
use super::{PERMISSION_WRITE, keys, row};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::CallId;
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
        if request.version_id == 0 {
            return Err(Failure::invalid(
                reason::MISSING_VERSION_ID,
                "version_id",
                "no version is named",
            ));
        }
        let patient = Patient::parse(&request.fhir_json, context.now_ms)?;
        if patient.nhs_number() != nhs_number {
            return Err(PDS_13.refuse(
                "fhir_json.id",
                "the id is not the NHS Number of the patient to update",
            ));
        }
        let key = keys::current(&context.subject_key, nhs_number);
        let record = view.get(&key)?.ok_or_else(row::not_found)?;
        let plain = Plain::of(&record)?;
        let current = plain.row()?.version_id;
        if current != request.version_id {
            let message = format!(
                "version {} is not the current version {current}",
                request.version_id
            );
            return Err(PDS_12.refuse("version_id", message));
        }
        let next = current
            .checked_add(1)
            .ok_or_else(|| ReadError("no version id is left".to_owned()))?;
        let updated = Plain::new(next, patient.into_json(next)?);
        let mut plan = Plan {
            outcome: row::outcome(next),
            ..Plan::default()
        };
        plan.put(
            keys::older(&context.subject_key, nhs_number, current),
            row::frame_of_older(current, &plain, record.value, &updated),
            row::SCHEMA,
        );
        plan.put(key, updated.frame(), row::SCHEMA);
        Ok(plan)
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
            row::answer(nhs_number, row::version(view, context, nhs_number, version_id)?)
        };
        Ok(UpdateResponse {
            patient: Some(patient),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}
