//! `pds.set_sensitivity`: whether the record says where the patient is.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{Sensitivity, SetSensitivityRequest, SetSensitivityResponse};
use spine_statemachine::Rule;
use spine_statemachine::store::OrderedRead;

use super::confidentiality::{self, RESTRICTED, UNRESTRICTED};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::operation::Operation;
use crate::pds::{PERMISSION_ADMINISTER, access};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// See the module.
pub struct SetSensitivity;

impl Operation for SetSensitivity {
    const NAME: &'static str = "pds.set_sensitivity";
    const PERMISSION: &'static str = PERMISSION_ADMINISTER;
    const WRITES: bool = true;
    type Request = SetSensitivityRequest;
    type Response = SetSensitivityResponse;

    fn routing_key(request: &SetSensitivityRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &SetSensitivityRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(
        view: &mut View<'_>,
        request: &SetSensitivityRequest,
        context: &Context,
    ) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_replace(&context.principal, nhs_number)?;
        view.requires(Rule::IDENTITIES)?;
        let code = match Sensitivity::try_from(request.sensitivity) {
            Ok(Sensitivity::Unrestricted) => UNRESTRICTED,
            Ok(Sensitivity::Restricted) => RESTRICTED,
            Ok(Sensitivity::Unspecified) | Err(_) => {
                let message = "the sensitivity is not one of this release";
                return Err(Failure::invalid(
                    reason::MALFORMED_REQUEST,
                    "sensitivity",
                    message,
                ));
            }
        };
        super::changed(view, context, nhs_number, request.version_id, |members| {
            confidentiality::set(members, code);
            Ok(())
        })
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &SetSensitivityRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<SetSensitivityResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        Ok(SetSensitivityResponse {
            patient: Some(super::answer(view, context, nhs_number, completed)?),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}
