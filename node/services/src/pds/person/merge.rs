//! Two numbers of one person: from now on one of them answers for both.
//!
//! The records may stand in two shards, and nothing is locked. First the survivor *absorbs* the other number
//! (`pds.absorb`), which makes a new version of the survivor; then the other one is *superseded* (`pds.supersede`), but
//! only while it is still at the version that was read before. So no two numbers supersede each other, nor do more in a
//! ring: of each merge in a ring the first step would have changed the version that the second step of another needs.
//! A merge that breaks off in between leaves a survivor that says what is not so yet, and nothing else: what a number
//! answers with is decided at the number itself. The same request, or any other of the same numbers, finishes it.

use spine_proto::ids::{NhsNumber, RoutingKey};
use spine_proto::pds::v1::{
    AbsorbRequest, AbsorbResponse, MergeRequest, MergeResponse, Patient as Answer, RetrieveRequest,
    RetrieveResponse, SupersedeRequest, SupersedeResponse,
};
use spine_statemachine::Rule;
use spine_statemachine::store::OrderedRead;

use super::confidentiality::{self, INVALID};
use crate::authorise::Principal;
use crate::context::Context;
use crate::error::{ErrorKind, SpineError};
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::operation::Operation;
use crate::pds::allocate::steps::{Steps, call, holder, step_id};
use crate::pds::patient::Patient;
use crate::pds::rules::{PDS_12, PDS_55, PDS_56};
use crate::pds::{PERMISSION_ADMINISTER, access};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// How often a merge of whatever is current begins again because the record has changed.
const TRIES_MAX: u32 = 4;

/// `pds.absorb`: see the module.
pub struct Absorb;

impl Operation for Absorb {
    const NAME: &'static str = "pds.absorb";
    const PERMISSION: &'static str = PERMISSION_ADMINISTER;
    const WRITES: bool = true;
    type Request = AbsorbRequest;
    type Response = AbsorbResponse;

    fn routing_key(request: &AbsorbRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &AbsorbRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, None).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &AbsorbRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let other = check_other(nhs_number, &request.superseded)?;
        access::check_replace(&context.principal, nhs_number)?;
        view.requires(Rule::IDENTITIES)?;
        let current = super::live(view, context, nhs_number)?;
        let members = current.members()?;
        let mut row = current.row().clone();
        row.replaces.retain(|known| *known != other);
        // Also where it was there: the version must rise.
        if !request.undo {
            row.replaces.push(other);
        }
        current.followed_by(view, Patient::of_stored(nhs_number, members), row)
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &AbsorbRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<AbsorbResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        Ok(AbsorbResponse {
            patient: Some(super::answer(view, context, nhs_number, completed)?),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// `pds.supersede`: see the module.
pub struct Supersede;

impl Operation for Supersede {
    const NAME: &'static str = "pds.supersede";
    const PERMISSION: &'static str = PERMISSION_ADMINISTER;
    const WRITES: bool = true;
    type Request = SupersedeRequest;
    type Response = SupersedeResponse;

    fn routing_key(request: &SupersedeRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &SupersedeRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, None).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &SupersedeRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let survivor = check_other(nhs_number, &request.survivor)?;
        access::check_replace(&context.principal, nhs_number)?;
        view.requires(Rule::IDENTITIES)?;
        let current = super::live(view, context, nhs_number)?;
        current.check_version(request.version_id)?;
        let mut members = current.members()?;
        confidentiality::set(&mut members, INVALID);
        let mut row = current.row().clone();
        row.superseded_by = survivor;
        current.followed_by(view, Patient::of_stored(nhs_number, members), row)
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &SupersedeRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<SupersedeResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        Ok(SupersedeResponse {
            patient: Some(super::answer(view, context, nhs_number, completed)?),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// # Errors
/// `PDS-55`
fn check_other(nhs_number: NhsNumber, other: &str) -> Result<String, Failure> {
    let other = ids::nhs_number(other)?;
    if other == nhs_number {
        return Err(PDS_55.refuse("survivor", "a number is not merged with itself"));
    }
    Ok(other.expose())
}

/// Carries out a merge, step by step. Sent again under its request id it goes on where it broke off.
///
/// # Errors
/// What a step gives; where the other number is refused, the survivor is as it was.
pub async fn merge<S: Steps>(
    steps: &S,
    request: &MergeRequest,
    principal: &Principal,
) -> Result<MergeResponse, SpineError> {
    let nhs_number = ids::nhs_number(&request.nhs_number)?;
    check_other(nhs_number, &request.survivor)?;
    ids::call_id(&request.request_id, None)?;
    let holder = holder(principal, &request.request_id);
    let mut tries = 0;
    loop {
        let read = read(steps, &request.nhs_number).await?;
        if read.superseded_by == request.survivor {
            return survivor(steps, request, true).await;
        }
        if !read.superseded_by.is_empty() {
            let message = "this number was merged into another";
            return Err(PDS_56.refuse("nhs_number", message).into());
        }
        let current = read.patient.unwrap_or_default().version_id;
        if request.version_id != 0 && request.version_id != current {
            let message = format!(
                "version {} is not the current version {current}",
                request.version_id
            );
            return Err(PDS_12.refuse("version_id", message).into());
        }
        absorb(steps, request, &holder, current, false).await?;
        match supersede(steps, request, &holder, current).await {
            Ok(_) => return survivor(steps, request, false).await,
            // Nothing is known of it; the same request finds out.
            Err(error) if error.kind.is_transient() => return Err(error),
            Err(error) => {
                absorb(steps, request, &holder, current, true).await?;
                tries += 1;
                let stale = error.reason == reason::VERSION_MISMATCH && request.version_id == 0;
                if !stale || tries == TRIES_MAX {
                    return Err(error);
                }
            }
        }
    }
}

async fn read<S: Steps>(steps: &S, nhs_number: &str) -> Result<RetrieveResponse, SpineError> {
    let request = RetrieveRequest {
        nhs_number: nhs_number.to_owned(),
    };
    call(steps, "pds.retrieve", &request).await
}

async fn absorb<S: Steps>(
    steps: &S,
    request: &MergeRequest,
    holder: &[u8; 16],
    version_id: u32,
    undo: bool,
) -> Result<AbsorbResponse, SpineError> {
    // With the version: an absorption under another one is another.
    let step = format!("{}{version_id}", if undo { 'u' } else { 'a' });
    let request = AbsorbRequest {
        nhs_number: request.survivor.clone(),
        superseded: request.nhs_number.clone(),
        undo,
        request_id: step_id(holder, &step),
    };
    call(steps, "pds.absorb", &request).await
}

async fn supersede<S: Steps>(
    steps: &S,
    request: &MergeRequest,
    holder: &[u8; 16],
    version_id: u32,
) -> Result<SupersedeResponse, SpineError> {
    let request = SupersedeRequest {
        nhs_number: request.nhs_number.clone(),
        version_id,
        survivor: request.survivor.clone(),
        request_id: step_id(holder, &format!("s{version_id}")),
    };
    call(steps, "pds.supersede", &request).await
}

async fn survivor<S: Steps>(
    steps: &S,
    request: &MergeRequest,
    replayed: bool,
) -> Result<MergeResponse, SpineError> {
    let read = read(steps, &request.survivor).await?;
    let patient: Answer = read.patient.ok_or_else(|| {
        let message = "the survivor was merged into another itself";
        SpineError::new(ErrorKind::Conflict, reason::PATIENT_SUPERSEDED, message)
    })?;
    Ok(MergeResponse {
        patient: Some(patient),
        replayed,
        position: read.position,
    })
}
