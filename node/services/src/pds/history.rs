//! `pds.history`: the versions of one patient, newest first, by pages. Of who is sensitive now none says where they were.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{HistoryRequest, HistoryResponse};
use spine_statemachine::store::OrderedRead;

use super::row::{FIRST_VERSION, Versions};
use super::{PERMISSION_READ, access, row};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::page::{PAGE_BYTES_MAX, page_size};
use crate::plan::{Completed, Plan};
use crate::view::View;

/// Versions in a page where the caller does not say.
const PAGE_VERSIONS_DEFAULT: u32 = 20;
/// Most versions in a page.
const PAGE_VERSIONS_MAX: u32 = 100;

/// See the module.
pub struct History;

impl Operation for History {
    const NAME: &'static str = "pds.history";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = HistoryRequest;
    type Response = HistoryResponse;

    fn routing_key(request: &HistoryRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(_: &HistoryRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, request: &HistoryRequest, context: &Context) -> Result<Plan, Failure> {
        // Whether there is such a patient comes before what is wrong with the page.
        access::check_read(&context.principal, ids::nhs_number(&request.nhs_number)?)?;
        Ok(Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &HistoryRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<HistoryResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        let mut at = Versions::current(view, context, nhs_number)?;
        let size = page_size(request.page_size, PAGE_VERSIONS_DEFAULT, PAGE_VERSIONS_MAX)?;
        let newest = match request.before_version_id {
            0 => u32::MAX,
            before => before - 1,
        };
        let is_hidden = at.hide_places()?;
        let mut versions = Vec::new();
        let mut bytes = 0;
        // Nothing is below version 1, where pages end.
        let mut more = newest >= FIRST_VERSION;
        if more {
            at.go_to(newest)?;
        }
        while more {
            let row = at.row()?;
            bytes += row.fhir_json.len();
            versions.push(row::answer(nhs_number, row, is_hidden)?);
            more = at.version_id() > FIRST_VERSION;
            if !more || versions.len() == size || bytes >= PAGE_BYTES_MAX {
                break;
            }
            at.step()?;
        }
        Ok(HistoryResponse {
            versions,
            next_before_version_id: if more { at.version_id() } else { 0 },
            position: Some(completed.position()),
        })
    }
}
