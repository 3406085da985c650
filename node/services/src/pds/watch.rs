//! `pds.watch`: every version of every patient that is written, in the order of each shard.
//!
//! As an operation it only answers where each shard stands, which is where "from now on" begins. The versions themselves
//! come from a replica's feed; which they are, and where one may go on behind each, is said here.

use spine_proto::ids::{NhsNumber, RoutingKey};
use spine_proto::pds::v1::{Patient, WatchRequest, WatchResponse};
use spine_statemachine::key::{self, Family, SubjectKey};
use spine_statemachine::store::{Key, OrderedRead, ReadError, Record};

use super::{PERMISSION_READ, access, row};
use crate::authorise::Principal;
use crate::context::Context;
use crate::error::SpineError;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// What all keys whose changes the feed of patients shows begin with.
pub const PREFIX: &[u8] = &[Family::Pds as u8];

/// See the module.
pub struct Watch;

impl Operation for Watch {
    const NAME: &'static str = "pds.watch";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = WatchRequest;
    type Response = WatchResponse;

    /// Every shard is asked, so no key decides.
    fn routing_key(_: &WatchRequest) -> Result<RoutingKey, Failure> {
        crate::ids::routing_key("", "watch")
    }

    fn call_id(_: &WatchRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, _: &WatchRequest, context: &Context) -> Result<Plan, Failure> {
        access::check_watch(&context.principal)?;
        Ok(Plan::read())
    }

    fn respond(
        _: &dyn OrderedRead,
        _: &WatchRequest,
        completed: &Completed,
        _: &Context,
    ) -> Result<WatchResponse, Failure> {
        Ok(WatchResponse {
            position: Some(completed.position()),
            ..WatchResponse::default()
        })
    }
}

/// Whether this principal may see what is written of all patients.
///
/// # Errors
/// `PDS-16`, `PDS-47`
pub fn check(principal: &Principal) -> Result<(), SpineError> {
    Ok(access::check_watch(principal)?)
}

/// The versions that one log entry wrote, in its order, without the first `skip` of them.
///
/// # Errors
/// `STORE_DAMAGED` where a key or a record is not what was written.
pub fn versions<'a>(
    subject_key: &'a SubjectKey,
    changes: impl Iterator<Item = (&'a Key, Option<&'a Record>)> + 'a,
    skip: usize,
) -> impl Iterator<Item = Result<Patient, SpineError>> + 'a {
    changes
        .filter(|(key, _)| key::is_patient(key))
        .filter_map(|(key, record)| Some((key, record?)))
        .skip(skip)
        .map(|(key, record)| Ok(version(subject_key, key, record)?))
}

/// The patient whose version this record is, as callers see it.
///
/// # Errors
/// The store is damaged.
pub(super) fn version(subject_key: &SubjectKey, key: &Key, record: &Record) -> Result<Patient, Failure> {
    let parts = key::parse(key).ok_or_else(unreadable_key)?;
    let routing_key = subject_key
        .routing_key(&parts.subject)
        .ok_or_else(unreadable_key)?;
    let nhs_number = NhsNumber::parse(routing_key.expose()).map_err(|_| unreadable_key())?;
    row::answer(nhs_number, row::Plain::of(record)?.row()?, false)
}

/// A key of this family that is not one of it.
pub(super) fn unreadable_key() -> Failure {
    ReadError("key of another form".to_owned()).into()
}
