//! `pds.watch`: every version of every patient that is written, in the order of each shard.
//!
//! As an operation it only answers where each shard stands, which is where "from now on" begins. The versions themselves
//! come from a replica's feed; which they are, what of each is shown, and where one may go on, is said here.

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
pub fn versions<'a>(
    changes: impl Iterator<Item = (&'a Key, Option<&'a Record>)> + 'a,
    skip: usize,
) -> impl Iterator<Item = Written<'a>> + 'a {
    changes
        .filter(|(key, _)| key::is_patient(key))
        .filter_map(|(key, record)| {
            let record = record?;
            Some(Written { key, record })
        })
        .skip(skip)
}

/// A version of a patient as it was written. It is not shown before it is known what the patient is now.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    /// Where the patient's current version stands.
    pub key: &'a Key,
    record: &'a Record,
}

impl Written<'_> {
    /// The version as callers see it, where `current` is what stands at its key now: whoever comes late with a
    /// cursor of old is not told where somebody was who has become sensitive since.
    ///
    /// # Errors
    /// `STORE_DAMAGED` where a key or a record is not what was written.
    pub fn shown(&self, subject_key: &SubjectKey, current: Option<&Record>) -> Result<Patient, SpineError> {
        let is_hidden = match current {
            // It is the current version, which says for itself what it hides.
            Some(current) if current.value == self.record.value => false,
            Some(current) => row::hides_versions(current)?,
            // Nobody knows what became of the patient.
            None => true,
        };
        Ok(version(subject_key, self.key, self.record, is_hidden)?)
    }
}

/// The patient whose version this record is, as callers see it; where `is_hidden`, without where they were.
///
/// # Errors
/// The store is damaged.
pub(super) fn version(
    subject_key: &SubjectKey,
    key: &Key,
    record: &Record,
    is_hidden: bool,
) -> Result<Patient, Failure> {
    let parts = key::parse(key).ok_or_else(unreadable_key)?;
    let routing_key = subject_key
        .routing_key(&parts.subject)
        .ok_or_else(unreadable_key)?;
    let nhs_number = NhsNumber::parse(routing_key.expose()).map_err(|_| unreadable_key())?;
    row::answer(nhs_number, row::Plain::of(record)?.row()?, is_hidden)
}

/// A key of this family that is not one of it.
pub(super) fn unreadable_key() -> Failure {
    ReadError("key of another form".to_owned()).into()
}
