//! `pds.put_related`: somebody new who is there for a patient, the next version of one, or their removal.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{PutRelatedRequest, PutRelatedResponse};
use spine_proto::storage::v1::RelatedRow;
use spine_statemachine::store::{OrderedRead, ReadError};

use super::list::not_found;
use super::{RELATED_MAX, SCHEMA, answer, framed, person, row_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::operation::Operation;
use crate::pds::rules::{PDS_12, PDS_63};
use crate::pds::successor::Current;
use crate::pds::{PERMISSION_WRITE, access, keys, row};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// Bytes of an outcome: number and version.
const OUTCOME_BYTES: usize = 8;
/// Version id of somebody new.
const FIRST_VERSION: u32 = 1;

/// See the module.
pub struct PutRelated;

impl Operation for PutRelated {
    const NAME: &'static str = "pds.put_related";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = PutRelatedRequest;
    type Response = PutRelatedResponse;

    fn routing_key(request: &PutRelatedRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &PutRelatedRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &PutRelatedRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_replace(&context.principal, nhs_number)?;
        if request.remove && (request.number == 0 || !request.fhir_json.is_empty()) {
            let message = "a removal names a related person, and has no resource";
            return Err(Failure::invalid(reason::MALFORMED_REQUEST, "remove", message));
        }
        Current::read(view, context, nhs_number)?
            .ok_or_else(row::not_found)?
            .check_live()?;
        let mut plan = Plan::default();
        let (number, version_id) = match request.number {
            0 => (next_number(view, context, request)?, FIRST_VERSION),
            number => (number, keep_older(&mut plan, view, context, request)?),
        };
        let fhir_json = if request.remove {
            Vec::new()
        } else {
            person::stored(&request.fhir_json, nhs_number, number, version_id)?
        };
        let row = RelatedRow {
            version_id,
            fhir_json: fhir_json.into(),
        };
        let key = keys::related(&context.subject_key, nhs_number, number);
        plan.put(key, framed(&row), SCHEMA);
        plan.outcome = [number.to_be_bytes(), version_id.to_be_bytes()].concat().into();
        Ok(plan)
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &PutRelatedRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<PutRelatedResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let outcome = <[u8; OUTCOME_BYTES]>::try_from(&completed.outcome[..])
            .map_err(|_| ReadError("outcome is not a number and a version".to_owned()))?;
        let outcome = u64::from_be_bytes(outcome);
        let number = u32::try_from(outcome >> 32).unwrap_or(u32::MAX);
        let version_id = u32::try_from(outcome & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let key = keys::related(&context.subject_key, nhs_number, number);
        let older = keys::related_older(&context.subject_key, nhs_number, number, version_id);
        let mut found = view.get(&key)?.map(|record| row_of(&record)).transpose()?;
        if found.as_ref().is_none_or(|row| row.version_id != version_id) {
            found = view.get(&older)?.map(|record| row_of(&record)).transpose()?;
        }
        let row = found.ok_or_else(|| row::damaged("a version of a related person is missing"))?;
        Ok(PutRelatedResponse {
            related: Some(answer(nhs_number, number, row)),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// # Errors
/// `PDS-63`
fn next_number(view: &mut View<'_>, context: &Context, request: &PutRelatedRequest) -> Result<u32, Failure> {
    let nhs_number = ids::nhs_number(&request.nhs_number)?;
    let known = view.range(&keys::all_related(&context.subject_key, nhs_number))?;
    // None is ever deleted, so that the count is the last number.
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    if count >= RELATED_MAX {
        let message = format!("a patient has at most {RELATED_MAX} related persons, over time");
        return Err(PDS_63.refuse("nhs_number", message));
    }
    Ok(count + 1)
}

/// Keeps the current version among the older ones, and gives the id of the next.
fn keep_older(
    plan: &mut Plan,
    view: &mut View<'_>,
    context: &Context,
    request: &PutRelatedRequest,
) -> Result<u32, Failure> {
    let nhs_number = ids::nhs_number(&request.nhs_number)?;
    let key = keys::related(&context.subject_key, nhs_number, request.number);
    let record = view.get(&key)?.ok_or_else(not_found)?;
    let row = row_of(&record)?;
    if row.fhir_json.is_empty() {
        return Err(not_found());
    }
    if request.version_id != 0 && request.version_id != row.version_id {
        let message = format!(
            "version {} is not the current version {}",
            request.version_id, row.version_id
        );
        return Err(PDS_12.refuse("version_id", message));
    }
    let older = keys::related_older(&context.subject_key, nhs_number, request.number, row.version_id);
    plan.put(older, record.value, SCHEMA);
    row.version_id
        .checked_add(1)
        .ok_or_else(|| row::damaged("no version id is left"))
}
