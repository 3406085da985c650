//! Identifiers of requests: parsed once, and told apart by field where they are wrong.

use spine_proto::common::v1::SessionCall;
use spine_proto::ids::{NhsNumber, RequestId, RoutingKey};

use crate::failure::Failure;
use crate::{reason, session};

/// The routing key in `field`.
pub(crate) fn routing_key(field: &'static str, text: &str) -> Result<RoutingKey, Failure> {
    RoutingKey::parse(text).map_err(|error| Failure::invalid(reason::MALFORMED_KEY, field, error.to_string()))
}

/// By what a change is known again.
#[derive(Clone)]
pub enum CallId {
    /// An id that the caller chose.
    Request(RequestId),
    /// A number in a session.
    Session(SessionCall),
}

/// By what a change is known again: exactly one of the two.
pub(crate) fn call_id(request_id: &str, session: Option<&SessionCall>) -> Result<CallId, Failure> {
    match session {
        None => parse_request_id(request_id).map(CallId::Request),
        Some(call) if request_id.is_empty() => {
            session::check(call)?;
            Ok(CallId::Session(call.clone()))
        }
        Some(_) => Err(Failure::invalid(
            reason::INVALID_REQUEST_ID,
            "request_id",
            "a change has either a request id or a session",
        )),
    }
}

fn parse_request_id(text: &str) -> Result<RequestId, Failure> {
    RequestId::parse(text)
        .map_err(|error| Failure::invalid(reason::INVALID_REQUEST_ID, "request_id", error.to_string()))
}

/// The NHS Number of a request.
pub(crate) fn nhs_number(text: &str) -> Result<NhsNumber, Failure> {
    NhsNumber::parse(text)
        .map_err(|error| Failure::invalid(reason::INVALID_NHS_NUMBER, "nhs_number", error.to_string()))
}
