//! Identifiers of requests: parsed once, and told apart by field where they are wrong.

use spine_proto::ids::{NhsNumber, RequestId, RoutingKey};

use crate::failure::Failure;
use crate::reason;

/// The routing key in `field`.
pub(crate) fn routing_key(field: &'static str, text: &str) -> Result<RoutingKey, Failure> {
    RoutingKey::parse(text).map_err(|error| Failure::invalid(reason::MALFORMED_KEY, field, error.to_string()))
}

/// The request id of a change.
pub(crate) fn request_id(text: &str) -> Result<RequestId, Failure> {
    RequestId::parse(text)
        .map_err(|error| Failure::invalid(reason::INVALID_REQUEST_ID, "request_id", error.to_string()))
}

/// The NHS Number of a request.
pub(crate) fn nhs_number(text: &str) -> Result<NhsNumber, Failure> {
    NhsNumber::parse(text)
        .map_err(|error| Failure::invalid(reason::INVALID_NHS_NUMBER, "nhs_number", error.to_string()))
}
