//! What carries out the steps of a change that reaches over several shards. Each step is an operation of its own, and
//! whoever carries it out may die before or after it.

use bytes::Bytes;
use prost::Message;
use spine_proto::pds::v1::AllocateRequest;

use crate::authorise::Principal;
use crate::error::{ErrorKind, SpineError};
use crate::reason;

/// Carries out steps until the deadline of the whole.
pub trait Steps: Sync {
    /// One operation of the catalogue, in the shard that its request names; sent again until it is answered.
    fn call(
        &self,
        operation: &'static str,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, SpineError>> + Send;

    /// One read in every shard: complete, or an error.
    fn every_shard(
        &self,
        operation: &'static str,
        request: Bytes,
    ) -> impl Future<Output = Result<Vec<Bytes>, SpineError>> + Send;

    /// Lets others go on.
    ///
    /// # Errors
    /// The time of the whole is up.
    fn pause(&self, ms: u64) -> impl Future<Output = Result<(), SpineError>> + Send;
}

/// See [`Steps::call`].
///
/// # Errors
/// What the operation gives.
pub(in crate::pds) async fn call<S: Steps, R: Message + Default>(
    steps: &S,
    operation: &'static str,
    request: &impl Message,
) -> Result<R, SpineError> {
    // Encoded before the first await, so that the future need not hold the request.
    let answer = steps.call(operation, request.encode_to_vec().into());
    decoded(answer.await?)
}

/// See [`Steps::every_shard`].
///
/// # Errors
/// What the operation gives.
pub(in crate::pds) async fn every_shard<S: Steps, R: Message + Default>(
    steps: &S,
    operation: &'static str,
    request: &impl Message,
) -> Result<Vec<R>, SpineError> {
    let answers = steps.every_shard(operation, request.encode_to_vec().into());
    answers.await?.into_iter().map(decoded).collect()
}

fn decoded<R: Message + Default>(answer: Bytes) -> Result<R, SpineError> {
    R::decode(answer)
        .map_err(|_| SpineError::new(ErrorKind::Internal, reason::INTERNAL, "response of another kind"))
}

/// Which request it is: the same for each of its tries, and meaningless to others.
pub(in crate::pds) fn holder(principal: &Principal, request_id: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("spine pds request of several steps 1");
    // The lengths keep the two apart.
    hasher.update(&(principal.id.len() as u64).to_le_bytes());
    hasher.update(principal.id.as_bytes());
    hasher.update(request_id.as_bytes());
    short(&hasher)
}

/// What a request says.
pub(super) fn body(request: &AllocateRequest) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("spine pds allocation 1");
    let mut said = request.clone();
    said.request_id.clear();
    hasher.update(&said.encode_to_vec());
    short(&hasher)
}

fn short(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}

/// The request id of a step.
pub(in crate::pds) fn step_id(holder: &[u8; 16], step: &str) -> String {
    format!("{:032x}/{step}", u128::from_be_bytes(*holder))
}
