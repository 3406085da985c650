//! `pds.claim` and `pds.release`: one at a time of all who are born on a day.

use bytes::Bytes;
use prost::Message;
use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{ClaimRequest, ClaimResponse, ReleaseRequest, ReleaseResponse};
use spine_proto::storage::v1::ClaimRow;
use spine_statemachine::Rule;
use spine_statemachine::frame;
use spine_statemachine::store::{OrderedRead, Record};

use super::number;
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::operation::Operation;
use crate::pds::{PERMISSION_ALLOCATE, access, keys, row};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// Number of `ClaimRow` as an encoding of a record.
const SCHEMA: u32 = 1;
/// Bytes of what tells requests apart.
const HASH_BYTES: usize = 16;

/// The birth dates of a day stand in one shard.
pub(super) fn day(birth_date: &str) -> Result<RoutingKey, Failure> {
    ids::routing_key("birth_date", &format!("born-{birth_date}"))
}

fn row_of(record: &Record) -> Result<ClaimRow, Failure> {
    let plain = frame::decode(&record.value).map_err(|_| row::damaged("a claim has no frame"))?;
    ClaimRow::decode(plain).map_err(|_| row::damaged("a claim cannot be decoded"))
}

fn check_hash(field: &'static str, hash: &Bytes) -> Result<(), Failure> {
    if hash.len() == HASH_BYTES {
        return Ok(());
    }
    Err(Failure::invalid(
        reason::MALFORMED_REQUEST,
        field,
        "not a hash of 16 bytes",
    ))
}

/// See the module.
pub struct Claim;

impl Operation for Claim {
    const NAME: &'static str = "pds.claim";
    const PERMISSION: &'static str = PERMISSION_ALLOCATE;
    const WRITES: bool = true;
    type Request = ClaimRequest;
    type Response = ClaimResponse;

    fn routing_key(request: &ClaimRequest) -> Result<RoutingKey, Failure> {
        day(&request.birth_date)
    }

    fn call_id(request: &ClaimRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, None).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &ClaimRequest, context: &Context) -> Result<Plan, Failure> {
        access::check_create(&context.principal)?;
        view.requires(Rule::IDENTITIES)?;
        check_hash("holder", &request.holder)?;
        check_hash("body", &request.body)?;
        let key = keys::claim(&context.subject_key, &day(&request.birth_date)?);
        let mut plan = Plan::default();
        match view.get(&key)? {
            // Held, perhaps by an earlier try of the same request, which goes on with the same number.
            Some(record) => plan.outcome = row_of(&record)?.encode_to_vec().into(),
            None if request.peek => {}
            None => {
                let row = ClaimRow {
                    holder: request.holder.clone(),
                    nhs_number: number::draw(&context.entropy).expose(),
                };
                let row = row.encode_to_vec();
                plan.put(key, frame::encode(&row), SCHEMA);
                plan.outcome = row.into();
            }
        }
        Ok(plan)
    }

    fn respond(
        _: &dyn OrderedRead,
        request: &ClaimRequest,
        completed: &Completed,
        _: &Context,
    ) -> Result<ClaimResponse, Failure> {
        let row = ClaimRow::decode(completed.outcome.clone())
            .map_err(|_| row::damaged("the outcome of a claim cannot be decoded"))?;
        Ok(ClaimResponse {
            held: !row.nhs_number.is_empty() && row.holder != request.holder,
            nhs_number: row.nhs_number,
            holder: row.holder,
            position: Some(completed.position()),
        })
    }
}

/// See the module.
pub struct Release;

impl Operation for Release {
    const NAME: &'static str = "pds.release";
    const PERMISSION: &'static str = PERMISSION_ALLOCATE;
    const WRITES: bool = true;
    type Request = ReleaseRequest;
    type Response = ReleaseResponse;

    fn routing_key(request: &ReleaseRequest) -> Result<RoutingKey, Failure> {
        day(&request.birth_date)
    }

    fn call_id(request: &ReleaseRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, None).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &ReleaseRequest, context: &Context) -> Result<Plan, Failure> {
        access::check_create(&context.principal)?;
        let key = keys::claim(&context.subject_key, &day(&request.birth_date)?);
        let mut plan = Plan::default();
        if let Some(record) = view.get(&key)? {
            let row = row_of(&record)?;
            if row.holder == request.holder && row.nhs_number == request.nhs_number {
                plan.delete(key);
            }
        }
        Ok(plan)
    }

    fn respond(
        _: &dyn OrderedRead,
        _: &ReleaseRequest,
        completed: &Completed,
        _: &Context,
    ) -> Result<ReleaseResponse, Failure> {
        Ok(ReleaseResponse {
            position: Some(completed.position()),
        })
    }
}
