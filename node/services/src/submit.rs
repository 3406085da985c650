//! From a plan to what a leader proposes, with every limit checked before anything is proposed.

use bytes::Bytes;
use prost::Message;
use spine_proto::storage::v1::{Guard, RequestKey, SubTxn};
use spine_statemachine::check;
use spine_statemachine::key::SubjectKey;
use spine_statemachine::limits::{
    GUARDS_MAX, MUTATIONS_MAX, OUTCOME_BYTES_MAX, RECORD_BYTES_MAX, TXN_BYTES_MAX,
};
use spine_statemachine::request::{self, Seen};

use crate::authorise::Principal;
use crate::error::{ErrorKind, SpineError};
use crate::ids::CallId;
use crate::operation::{Identity, OperationSpec};
use crate::plan::Plan;
use crate::{reason, session};

/// Bytes of a transaction that are not SubTxns: its time, tags and lengths.
const TXN_OVERHEAD_BYTES: usize = 64;

/// The key under which a call is remembered; `None` for one that changes nothing.
///
/// # Errors
/// Its session was not opened here.
pub fn request_key(
    spec: &OperationSpec,
    identity: &Identity,
    request: &[u8],
    principal: &Principal,
    subject_key: &SubjectKey,
) -> Result<Option<RequestKey>, SpineError> {
    let Some(id) = &identity.call_id else {
        return Ok(None);
    };
    let slot = identity.routing_key.slot();
    Ok(Some(match id {
        CallId::Request(id) => request::key_of(&principal.id, spec.name, id, slot, request),
        CallId::Session(call) => {
            let sequence = session::verified(call, &principal.id, subject_key)?;
            let id = &call.session_id;
            spine_statemachine::session::key_of(&principal.id, id, spec.name, sequence, slot, request)
        }
    }))
}

/// What is already known of a call, if it must not be executed.
///
/// # Errors
/// The id was used for another call; the session is forgotten or has too many calls.
pub fn known(seen: Seen) -> Result<Option<(u64, Bytes)>, SpineError> {
    match seen {
        Seen::New => Ok(None),
        Seen::Before {
            same: true,
            revision,
            outcome,
        } => Ok(Some((revision, outcome))),
        Seen::Before { .. } => Err(request_id_reused()),
        Seen::Expired => Err(session_expired()),
        Seen::Full => Err(broken_limit("SESSION_DONE_MAX")),
    }
}

/// What to propose for a plan and the guards its view gave, under the request key of [`request_key`].
///
/// # Errors
/// [`ErrorKind::Invalid`] where the plan breaks a limit; nothing may be proposed then.
pub fn sub_txn(plan: Plan, guards: Vec<Guard>, request: Option<RequestKey>) -> Result<SubTxn, SpineError> {
    let sub = SubTxn {
        request,
        guards,
        mutations: plan.mutations,
        outcome: plan.outcome,
    };
    check::limits(&sub).map_err(|check::Broken(limit)| broken_limit(limit))?;
    let bytes = sub.encoded_len();
    if bytes > TXN_BYTES_MAX - TXN_OVERHEAD_BYTES {
        return Err(SpineError::new(
            ErrorKind::Invalid,
            reason::TXN_TOO_LARGE,
            format!(
                "the change has {bytes} bytes, more than {}",
                TXN_BYTES_MAX - TXN_OVERHEAD_BYTES
            ),
        ));
    }
    Ok(sub)
}

/// What to propose where the call of this request key is given up: it changes nothing but what is remembered.
#[must_use]
pub fn void(key: &RequestKey) -> SubTxn {
    SubTxn {
        request: Some(request::void_of(key)),
        ..SubTxn::default()
    }
}

/// The error for a limit that the state machine names.
pub fn broken_limit(limit: &'static str) -> SpineError {
    let (word, message) = match limit {
        "RECORD_BYTES_MAX" => (
            reason::RECORD_TOO_LARGE,
            format!("a record has at most {RECORD_BYTES_MAX} bytes"),
        ),
        "GUARDS_MAX" => (
            reason::TOO_MANY_GUARDS,
            format!("a change has at most {GUARDS_MAX} guards"),
        ),
        "MUTATIONS_MAX" => (
            reason::TOO_MANY_MUTATIONS,
            format!("a change has at most {MUTATIONS_MAX} mutations"),
        ),
        "OUTCOME_BYTES_MAX" => (
            reason::OUTCOME_TOO_LARGE,
            format!("an outcome has at most {OUTCOME_BYTES_MAX} bytes"),
        ),
        "KEY" | "KEY_BYTES_MAX" => (
            reason::MALFORMED_KEY,
            "a key of the change is malformed".to_owned(),
        ),
        "SESSION_DONE_MAX" => (
            reason::SESSION_FULL,
            "the session has too many calls that may still be sent again".to_owned(),
        ),
        "RANGE_RECORDS_MAX" => (
            reason::RANGE_TOO_LARGE,
            "the change removes too large a range".to_owned(),
        ),
        _ => (reason::INTERNAL, format!("the change breaks the limit {limit}")),
    };
    let kind = reason::find(word).map_or(ErrorKind::Internal, |reason| reason.kind);
    SpineError::new(kind, word, message)
}

/// The error of a call whose session is, or may be, forgotten.
pub fn session_expired() -> SpineError {
    let message = "the session has expired: nothing was executed now";
    SpineError::new(ErrorKind::SessionExpired, reason::SESSION_EXPIRED, message).with_field("session")
}

/// The error of a call that was given up before it took effect.
pub fn not_executed() -> SpineError {
    let message = "the change did not take effect, and no try of it ever will";
    SpineError::new(ErrorKind::Conflict, reason::NOT_EXECUTED, message)
}

/// The error of a request id that was used before with another body.
pub fn request_id_reused() -> SpineError {
    let message = "this request id was used before with another body";
    SpineError::new(ErrorKind::RequestIdReused, reason::REQUEST_ID_REUSED, message).with_field("request_id")
}
