//! `organisations.load`: what one shard is told of some organisations. Told again, it changes nothing.

use bytes::Bytes;
use prost::Message as _;
use spine_proto::ids::{OdsCode, RoutingKey};
use spine_proto::pds::v1::{
    LoadOrganisationsRequest, LoadOrganisationsResponse, Organisation, OrganisationRole,
};
use spine_proto::storage::v1::OrganisationRow;
use spine_statemachine::frame;
use spine_statemachine::store::OrderedRead;

use super::{KIND_LOADED, KIND_ORGANISATION, PERMISSION_WRITE, SCHEMA, first_slot, key};
use crate::context::Context;
use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// Organisations of one request to a shard; each is a guard and a mutation of its transaction.
pub const ORGANISATIONS_MAX: usize = 100;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 200;

/// See the module.
pub struct Load;

impl Operation for Load {
    const NAME: &'static str = "organisations.load";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = LoadOrganisationsRequest;
    type Response = LoadOrganisationsResponse;

    /// Every shard is told, so no key decides.
    fn routing_key(_: &LoadOrganisationsRequest) -> Result<RoutingKey, Failure> {
        crate::ids::routing_key("", "organisations")
    }

    /// It is known by what it says.
    fn call_id(_: &LoadOrganisationsRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(view: &mut View<'_>, request: &LoadOrganisationsRequest, _: &Context) -> Result<Plan, Failure> {
        if request.organisations.len() > ORGANISATIONS_MAX {
            return Err(malformed("more organisations than one request may have"));
        }
        for organisation in &request.organisations {
            check(organisation)?;
        }
        let Some(slot) = first_slot(view)? else {
            // It has only just begun: the first entry of its leader says so.
            let message = "the shard does not know its slots yet";
            return Err(Failure::refused(
                ErrorKind::Unavailable,
                reason::NO_LEADER,
                "",
                message,
            ));
        };
        let mut plan = Plan::default();
        for organisation in &request.organisations {
            let key = key(slot, &organisation.code, KIND_ORGANISATION);
            let row = OrganisationRow {
                name: organisation.name.clone(),
                roles: organisation.roles.clone(),
                closed: organisation.closed,
            };
            let value = frame::encode(&row.encode_to_vec());
            if view.get(&key)?.is_none_or(|record| record.value != value) {
                plan.put(key, value, SCHEMA);
            }
        }
        let loaded = key(slot, "", KIND_LOADED);
        if !request.organisations.is_empty() && view.get(&loaded)?.is_none() {
            plan.put(loaded, frame::encode(&[]), SCHEMA);
        }
        let changed = u32::try_from(plan.mutations.len()).unwrap_or(u32::MAX);
        plan.outcome = Bytes::copy_from_slice(&changed.to_be_bytes());
        Ok(plan)
    }

    fn respond(
        _: &dyn OrderedRead,
        request: &LoadOrganisationsRequest,
        _: &Completed,
        _: &Context,
    ) -> Result<LoadOrganisationsResponse, Failure> {
        Ok(LoadOrganisationsResponse {
            organisations: u64::try_from(request.organisations.len()).unwrap_or(u64::MAX),
        })
    }
}

fn check(organisation: &Organisation) -> Result<(), Failure> {
    if OdsCode::parse(&organisation.code).is_err() {
        return Err(malformed("an organisation has an ODS code"));
    }
    let known = |role: &i32| {
        OrganisationRole::try_from(*role).is_ok_and(|role| role != OrganisationRole::Unspecified)
    };
    if !organisation.roles.iter().all(known) {
        return Err(malformed("a role is not one of this release"));
    }
    if organisation.name.chars().count() > NAME_CHARS_MAX || organisation.roles.len() > NAME_CHARS_MAX {
        return Err(malformed("the name of an organisation is too long"));
    }
    Ok(())
}

fn malformed(what: &'static str) -> Failure {
    Failure::invalid(reason::MALFORMED_REQUEST, "organisations", what)
}
