//! `pds.retrieve`: a patient's current version, or the number that answers for this one.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{RetrieveRequest, RetrieveResponse};
use spine_statemachine::store::OrderedRead;

use super::{PERMISSION_READ, access, row};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// See the module.
pub struct Retrieve;

impl Operation for Retrieve {
    const NAME: &'static str = "pds.retrieve";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = RetrieveRequest;
    type Response = RetrieveResponse;

    fn routing_key(request: &RetrieveRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(_: &RetrieveRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, request: &RetrieveRequest, context: &Context) -> Result<Plan, Failure> {
        access::check_read(&context.principal, ids::nhs_number(&request.nhs_number)?)?;
        Ok(Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &RetrieveRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<RetrieveResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let row = row::current(view, context, nhs_number)?;
        if !row.superseded_by.is_empty() {
            // In another shard: whoever took the call goes there.
            return Ok(RetrieveResponse {
                superseded_by: row.superseded_by,
                position: Some(completed.position()),
                ..RetrieveResponse::default()
            });
        }
        Ok(RetrieveResponse {
            patient: Some(row::answer_current(nhs_number, row)?),
            position: Some(completed.position()),
            ..RetrieveResponse::default()
        })
    }
}
