//! From an error to a gRPC status; the details carry what a program needs.

use prost::Message as _;
use spine_services::SpineError;
use tonic::{Code, Status};

/// The one place where an error becomes a status.
#[must_use]
pub fn to_status(error: &SpineError) -> Status {
    let code = Code::from_i32(error.grpc_code());
    Status::with_details(
        code,
        error.message.clone(),
        error.to_detail().encode_to_vec().into(),
    )
}
