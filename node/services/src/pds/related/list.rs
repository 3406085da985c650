//! `pds.list_related`: all who are there for a patient, or a version of one; nobody where the patient is sensitive.
//!
//! A merge takes nobody over. A number that was merged is answered with those of the survivor; its own stay readable, each
//! by its number, as its versions do. The answer then names the survivor, who may be sensitive by now, or
//! invalid, and may stand in another shard: whoever passes it on looks there first.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{ListRelatedRequest, ListRelatedResponse};
use spine_statemachine::key::{successor, suffix_of};
use spine_statemachine::store::OrderedRead;

use super::{RELATED_BYTES_MAX, RELATED_MAX, answer, row_of};
use crate::context::Context;
use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::json;
use crate::operation::Operation;
use crate::pds::patient::JSON_DEPTH_MAX;
use crate::pds::{PERMISSION_READ, access, keys, restricted, row};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// Bytes of all related persons in one answer: as many as a patient may have, each of the largest. Those that were
/// written before there was such a limit may be larger.
const LIST_BYTES_MAX: usize = RELATED_MAX as usize * RELATED_BYTES_MAX;

/// See the module.
pub struct ListRelated;

impl Operation for ListRelated {
    const NAME: &'static str = "pds.list_related";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = ListRelatedRequest;
    type Response = ListRelatedResponse;

    fn routing_key(request: &ListRelatedRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(_: &ListRelatedRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, request: &ListRelatedRequest, context: &Context) -> Result<Plan, Failure> {
        access::check_read(&context.principal, ids::nhs_number(&request.nhs_number)?)?;
        Ok(Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &ListRelatedRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<ListRelatedResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let patient = row::current(view, context, nhs_number)?;
        let mut response = ListRelatedResponse {
            position: Some(completed.position()),
            ..ListRelatedResponse::default()
        };
        response.superseded_by.clone_from(&patient.superseded_by);
        match (patient.superseded_by.is_empty(), request.number) {
            (true, _) => row::check_shown(&patient)?,
            (false, 0) => return Ok(response),
            // It is marked as invalid by the merge; somebody of the survivor's with this number is another person.
            (false, _) => {}
        }
        // A merge marks the superseded record as invalid: what it was stands in the version before.
        let told = match (patient.superseded_by.is_empty(), patient.version_id) {
            (false, version_id @ 2..) => row::version(view, context, nhs_number, version_id - 1)?,
            _ => patient,
        };
        let resource =
            json::parse(&told.fhir_json, JSON_DEPTH_MAX).map_err(|_| row::damaged("a patient is no JSON"))?;
        // Who is there for somebody sensitive leads to them: nobody is shown.
        response.restricted = restricted::is_restricted_record(&resource);
        if response.restricted {
            return Ok(response);
        }
        if request.number > 0 {
            let row = one(view, context, request)?;
            response.related.push(answer(nhs_number, request.number, row));
            return Ok(response);
        }
        let prefix = keys::all_related(&context.subject_key, nhs_number);
        let limit = usize::try_from(RELATED_MAX).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for (key, record) in view.range(&prefix, &successor(&prefix), limit)? {
            let row = row_of(&record)?;
            bytes += row.fhir_json.len();
            if bytes > LIST_BYTES_MAX {
                return Err(too_large());
            }
            if !row.fhir_json.is_empty() {
                let number = suffix_of(&key).and_then(|suffix| <[u8; 4]>::try_from(&suffix[..]).ok());
                let number = number.ok_or_else(|| row::damaged("a related person has no number"))?;
                let number = u32::from_be_bytes(number);
                response.related.push(answer(nhs_number, number, row));
            }
        }
        Ok(response)
    }
}

fn one(
    view: &dyn OrderedRead,
    context: &Context,
    request: &ListRelatedRequest,
) -> Result<spine_proto::storage::v1::RelatedRow, Failure> {
    let nhs_number = ids::nhs_number(&request.nhs_number)?;
    let key = keys::related(&context.subject_key, nhs_number, request.number);
    let current = view.get(&key)?.map(|record| row_of(&record)).transpose()?;
    let current = current.ok_or_else(not_found)?;
    if request.version_id == 0 || request.version_id == current.version_id {
        return Ok(current);
    }
    let key = keys::related_older(
        &context.subject_key,
        nhs_number,
        request.number,
        request.version_id,
    );
    let older = view.get(&key)?.map(|record| row_of(&record)).transpose()?;
    older.ok_or_else(|| {
        Failure::refused(
            ErrorKind::NotFound,
            reason::VERSION_NOT_FOUND,
            "version_id",
            "the related person has no such version",
        )
    })
}

fn too_large() -> Failure {
    let message =
        "the related persons of the patient are more than one answer holds; read each by its number";
    Failure::invalid(reason::ANSWER_TOO_LARGE, "nhs_number", message)
}

pub(super) fn not_found() -> Failure {
    Failure::refused(
        ErrorKind::NotFound,
        reason::RELATED_NOT_FOUND,
        "number",
        "the patient has no such related person",
    )
}
