//! `pds.invalidate`: from now on nobody is shown the record, nor finds it; its versions stay.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{InvalidateRequest, InvalidateResponse};
use spine_statemachine::Rule;
use spine_statemachine::store::OrderedRead;

use super::confidentiality::{self, INVALID};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::operation::Operation;
use crate::pds::{PERMISSION_ADMINISTER, access};
use crate::plan::{Completed, Plan};
use crate::view::View;

/// See the module.
pub struct Invalidate;

impl Operation for Invalidate {
    const NAME: &'static str = "pds.invalidate";
    const PERMISSION: &'static str = PERMISSION_ADMINISTER;
    const WRITES: bool = true;
    type Request = InvalidateRequest;
    type Response = InvalidateResponse;

    fn routing_key(request: &InvalidateRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &InvalidateRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &InvalidateRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_replace(&context.principal, nhs_number)?;
        view.requires(Rule::IDENTITIES)?;
        super::changed(view, context, nhs_number, request.version_id, |members| {
            confidentiality::set(members, INVALID);
            Ok(())
        })
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &InvalidateRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<InvalidateResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        Ok(InvalidateResponse {
            patient: Some(super::answer(view, context, nhs_number, completed)?),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}
