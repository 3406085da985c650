//! `records.list`: the records of one routing key whose suffix begins with a prefix, in key order, by pages.

use bytes::Bytes;
use spine_proto::ids::RoutingKey;
use spine_proto::records::v1::{ListRequest, ListResponse};
use spine_statemachine::key::{just_after, successor, suffix_of};
use spine_statemachine::store::{Key, OrderedRead, ReadError, Record};

use super::page_token::PageToken;
use super::{PERMISSION_READ, answer, check_suffix, key_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::page::{PAGE_BYTES_MAX, page_size};
use crate::plan::{Completed, Plan};
use crate::view::View;

/// Records in a page where the caller does not say.
const PAGE_RECORDS_DEFAULT: u32 = 100;
/// Most records in a page.
const PAGE_RECORDS_MAX: u32 = 1_000;
/// Records read at once at first; doubled for as long as they are small, so that a page of large records is not read
/// whole only to be cut.
const CHUNK_RECORDS_MIN: usize = 4;
/// Most records read at once: 64 MiB of the largest.
const CHUNK_RECORDS_MAX: usize = 32;

/// See the module.
pub struct List;

/// A request that is in order.
struct Parsed {
    routing_key: RoutingKey,
    prefix: Bytes,
    size: usize,
    after: Option<PageToken>,
}

impl Operation for List {
    const NAME: &'static str = "records.list";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = ListRequest;
    type Response = ListResponse;

    fn routing_key(request: &ListRequest) -> Result<RoutingKey, Failure> {
        parse(request).map(|parsed| parsed.routing_key)
    }

    fn call_id(_: &ListRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, request: &ListRequest, _: &Context) -> Result<Plan, Failure> {
        parse(request).map(|_| Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &ListRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<ListResponse, Failure> {
        let parsed = parse(request)?;
        let prefix = key_of(context, &parsed.routing_key, &parsed.prefix);
        let start = match &parsed.after {
            Some(token) => just_after(&key_of(context, &parsed.routing_key, &token.last_suffix)),
            None => prefix.clone(),
        };
        let (page, more) = read_page(view, start, &successor(&prefix), parsed.size)?;
        let mut records = Vec::with_capacity(page.len());
        for (key, record) in page {
            let suffix = suffix_of(&key).ok_or_else(|| ReadError("key without a suffix".to_owned()))?;
            records.push(answer(&parsed.routing_key, suffix, &record)?);
        }
        let last_suffix = records
            .last()
            .and_then(|record| record.key.as_ref())
            .map(|key| key.suffix.clone());
        let next_page_token = match last_suffix {
            Some(last_suffix) if more => PageToken {
                index: completed.index,
                last_suffix,
            }
            .encode(),
            Some(_) | None => Bytes::new(),
        };
        Ok(ListResponse {
            records,
            next_page_token,
            position: Some(completed.position()),
        })
    }
}

fn parse(request: &ListRequest) -> Result<Parsed, Failure> {
    let routing_key = ids::routing_key("routing_key", &request.routing_key)?;
    let prefix = request.suffix_prefix.clone();
    check_suffix(|| "suffix_prefix".to_owned(), &prefix)?;
    let size = page_size(request.page_size, PAGE_RECORDS_DEFAULT, PAGE_RECORDS_MAX)?;
    let after = match request.page_token.is_empty() {
        true => None,
        false => Some(PageToken::decode(&request.page_token, &prefix)?),
    };
    Ok(Parsed {
        routing_key,
        prefix,
        size,
        after,
    })
}

/// At most `size` records from `start` on, fewer where they are large, and whether there are more.
fn read_page(
    view: &dyn OrderedRead,
    mut start: Key,
    end: &[u8],
    size: usize,
) -> Result<(Vec<(Key, Record)>, bool), ReadError> {
    let (mut page, mut bytes, mut chunk) = (Vec::new(), 0, CHUNK_RECORDS_MIN);
    loop {
        // One more than fits tells whether there is a next page.
        let wanted = chunk.min(size + 1 - page.len());
        let records = view.range(&start, end, wanted)?;
        let is_last = records.len() < wanted;
        for (key, record) in records {
            if page.len() == size || bytes >= PAGE_BYTES_MAX {
                return Ok((page, true));
            }
            start = just_after(&key);
            bytes += record.value.len();
            page.push((key, record));
        }
        if is_last {
            return Ok((page, false));
        }
        chunk = (chunk * 2).min(CHUNK_RECORDS_MAX);
    }
}
