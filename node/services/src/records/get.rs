//! `records.get`: one record, or that there is none.

use bytes::Bytes;
use spine_proto::ids::RoutingKey;
use spine_proto::records::v1::{GetRequest, GetResponse};
use spine_statemachine::store::OrderedRead;

use super::{PERMISSION_READ, answer, check_suffix, key_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// See the module.
pub struct Get;

impl Operation for Get {
    const NAME: &'static str = "records.get";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = GetRequest;
    type Response = GetResponse;

    fn routing_key(request: &GetRequest) -> Result<RoutingKey, Failure> {
        parse(request).map(|(routing_key, _)| routing_key)
    }

    fn call_id(_: &GetRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, request: &GetRequest, _: &Context) -> Result<Plan, Failure> {
        parse(request).map(|_| Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &GetRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<GetResponse, Failure> {
        let (routing_key, suffix) = parse(request)?;
        let record = view.get(&key_of(context, &routing_key, &suffix))?;
        let record = record
            .map(|record| answer(&routing_key, suffix, &record))
            .transpose()?;
        Ok(GetResponse {
            record,
            position: Some(completed.position()),
        })
    }
}

fn parse(request: &GetRequest) -> Result<(RoutingKey, Bytes), Failure> {
    let key = request.key.as_ref();
    let routing_key = ids::routing_key("key.routing_key", key.map_or("", |key| key.routing_key.as_str()))?;
    let suffix = key.map(|key| key.suffix.clone()).unwrap_or_default();
    check_suffix(|| "key.suffix".to_owned(), &suffix)?;
    Ok((routing_key, suffix))
}
