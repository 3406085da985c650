//! Older versions of a patient.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use serde_json::{Map, Value, json};
use spine_proto::pds::v1::{HistoryRequest, HistoryResponse, Patient};
use spine_services::{ErrorKind, SpineError, reason};

use super::answer::{self, etag};
use super::ask::Ask;
use super::patient::{check_id, of_read, retrieve};
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};

/// Versions of a page.
const COUNT: &str = "_count";
/// Versions below this one: where the next page begins. Ours; callers follow the link.
const BEFORE: &str = "_before";

/// `GET Patient/{id}/_history`
pub(super) async fn list(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    check_id(asked.segment(0))?;
    look_first(&gate, &ask, asked.segment(0)).await?;
    let request = page_asked_for(&asked)?;
    let page = ask_for(&gate, &request, &ask).await?;
    let body = bundle(&gate.base_url(), &request, &page)?;
    Ok(answer::resource(StatusCode::OK, body))
}

/// In the national dialect who may see it, whether there is such a patient, and whether the record was marked as
/// invalid, come before what is wrong with the request: all of that is as in a read.
///
/// # Errors
/// Those of a read.
async fn look_first(gate: &Gate, ask: &Ask, id: &str) -> Result<(), SpineError> {
    match gate.dialect {
        Dialect::Plain => Ok(()),
        Dialect::Pds => retrieve(gate, ask, id).await.map(drop),
    }
}

/// # Errors
/// `INVALID_VALUE`, `ADDITIONAL_PROPERTIES`
fn page_asked_for(asked: &Asked) -> Result<HistoryRequest, SpineError> {
    let mut request = HistoryRequest {
        nhs_number: asked.segment(0).to_owned(),
        ..HistoryRequest::default()
    };
    for (name, value) in form_urlencoded::parse(asked.query.as_bytes()) {
        let number = value.parse::<u32>().ok().filter(|number| *number > 0);
        match (&*name, number) {
            (COUNT, Some(number)) => request.page_size = number,
            (BEFORE, Some(number)) => request.before_version_id = number,
            (COUNT, None) => return Err(invalid_parameter(COUNT)),
            (BEFORE, None) => return Err(invalid_parameter(BEFORE)),
            _ => return Err(unknown_parameter()),
        }
    }
    Ok(request)
}

/// The newest version below this one.
fn one_below(asked: &Asked, before_version_id: u32) -> HistoryRequest {
    HistoryRequest {
        nhs_number: asked.segment(0).to_owned(),
        page_size: 1,
        before_version_id,
    }
}

/// `GET Patient/{id}/_history/{version}`
pub(super) async fn version(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    check_id(asked.segment(0))?;
    look_first(&gate, &ask, asked.segment(0)).await?;
    let wanted = asked.segment(1).parse::<u32>().ok();
    let wanted = wanted.filter(|version| (1..u32::MAX).contains(version));
    let request = one_below(&asked, wanted.map_or(1, |version| version + 1));
    let page = ask_for(&gate, &request, &ask).await?;
    let found = page
        .versions
        .into_iter()
        .find(|found| Some(found.version_id) == wanted);
    let found = found.ok_or_else(|| {
        let message = "the patient has no such version";
        SpineError::new(ErrorKind::NotFound, reason::VERSION_NOT_FOUND, message)
    })?;
    let mut response = answer::resource(StatusCode::OK, found.fhir_json);
    answer::set(response.headers_mut(), header::ETAG, etag(found.version_id));
    Ok(response)
}

async fn ask_for(gate: &Gate, request: &HistoryRequest, ask: &Ask) -> Result<HistoryResponse, SpineError> {
    let page: Result<HistoryResponse, SpineError> = gate.call("pds.history", request, ask).await;
    page.map_err(of_read)
}

/// A bundle of type history.
fn bundle(base: &str, request: &HistoryRequest, page: &HistoryResponse) -> Result<String, SpineError> {
    let full_url = format!("{base}/Patient/{}", request.nhs_number);
    let mut links = vec![json!({ "relation": "self", "url": format!("{full_url}/_history") })];
    if page.next_before_version_id > 0 {
        // What is asked for is below the number given, and the page named begins there.
        let before = page.next_before_version_id;
        let mut url = format!("{full_url}/_history?{BEFORE}={before}");
        if request.page_size > 0 {
            url.push_str(&format!("&{COUNT}={}", request.page_size));
        }
        links.push(json!({ "relation": "next", "url": url }));
    }
    let mut bundle = Map::new();
    bundle.insert("resourceType".to_owned(), json!("Bundle"));
    bundle.insert("type".to_owned(), json!("history"));
    if request.before_version_id == 0 {
        // Versions are counted from 1 without a gap.
        let total = page.versions.first().map_or(0, |newest| newest.version_id);
        bundle.insert("total".to_owned(), json!(total));
    }
    bundle.insert("link".to_owned(), Value::Array(links));
    let entries: Result<Vec<String>, SpineError> = page
        .versions
        .iter()
        .map(|version| entry(&full_url, version))
        .collect();
    // The entries are text already; building the whole as values would parse every resource.
    let mut text = Value::Object(bundle).to_string();
    text.truncate(text.len() - 1);
    text.push_str(&answer::entries(&entries?));
    text.push('}');
    Ok(text)
}

fn entry(full_url: &str, version: &Patient) -> Result<String, SpineError> {
    let resource = std::str::from_utf8(&version.fhir_json).map_err(|_| {
        let message = "this replica holds what is no text";
        SpineError::new(ErrorKind::Corrupt, reason::STORE_DAMAGED, message)
    })?;
    let status = if version.version_id == 1 { "201" } else { "200" };
    let url = format!("Patient/{}", version.nhs_number);
    let request = json!({ "method": "PUT", "url": url });
    let response = json!({ "status": status, "etag": etag(version.version_id) });
    let full_url = json!(full_url);
    Ok(format!(
        r#"{{"fullUrl":{full_url},"resource":{resource},"request":{request},"response":{response}}}"#
    ))
}

fn invalid_parameter(name: &'static str) -> SpineError {
    let message = format!("Invalid value in parameter '{name}'");
    SpineError::new(ErrorKind::Invalid, reason::INVALID_VALUE, message).with_field(name)
}

fn unknown_parameter() -> SpineError {
    let message = "a parameter is not one of this interaction";
    SpineError::new(ErrorKind::Invalid, reason::ADDITIONAL_PROPERTIES, message)
}
