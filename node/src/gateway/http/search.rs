//! `GET Patient`: search, in the PDS dialect.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;
use spine_proto::pds::v1::{SearchMatch, SearchParameter, SearchRequest, SearchResponse};
use spine_services::error_table::TOO_MANY_MATCHES;
use spine_services::pds::search;
use spine_services::{ErrorKind, SpineError, reason};

use super::Gate;
use super::answer;
use super::ask::Ask;
use super::patient::of_read;
use super::routes::{Answer, Asked};
use crate::clock::Clock as _;

/// Parameters of a search; more are none.
pub(super) const PARAMETERS_MAX: usize = 32;
/// A score of one.
pub(super) const EXACT: f64 = 10_000.0;

pub(super) async fn search(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let parameters = form_urlencoded::parse(asked.query.as_bytes()).take(PARAMETERS_MAX + 1);
    let parameters: Vec<SearchParameter> = parameters
        .map(|(name, value)| SearchParameter {
            name: name.into_owned(),
            value: value.into_owned(),
        })
        .collect();
    if parameters.len() > PARAMETERS_MAX {
        let message = "too many parameters";
        return Err(SpineError::new(
            ErrorKind::Invalid,
            reason::INVALID_SEARCH_DATA,
            message,
        ));
    }
    let request = SearchRequest { parameters };
    let found = gate
        .http
        .edge
        .search(&request, &ask.principal, ask.deadline)
        .await
        .map_err(of_read)?;
    if found.too_many {
        let message = "there are more matches than were asked for, or than one answer holds";
        let outcome = answer::outcome(&TOO_MANY_MATCHES, message);
        return Ok(answer::built(StatusCode::OK, &outcome));
    }
    let body = bundle(
        &gate.base_url(),
        &found,
        &search::timestamp(gate.http.node.clock.now_ms()),
    )?;
    Ok(answer::resource(StatusCode::OK, body))
}

/// A bundle of type searchset; resources stand in it as text.
fn bundle(base: &str, found: &SearchResponse, now: &str) -> Result<String, SpineError> {
    let entries: Result<Vec<String>, SpineError> = found.matches.iter().map(|one| entry(base, one)).collect();
    let (total, now, entries) = (found.matches.len(), json!(now), answer::entries(&entries?));
    Ok(format!(
        r#"{{"resourceType":"Bundle","type":"searchset","timestamp":{now},"total":{total}{entries}}}"#
    ))
}

fn entry(base: &str, one: &SearchMatch) -> Result<String, SpineError> {
    let patient = one.patient.clone().unwrap_or_default();
    let resource = search::entry(&patient.fhir_json)?;
    let resource = String::from_utf8(resource).map_err(|_| {
        SpineError::new(
            ErrorKind::Corrupt,
            reason::STORE_DAMAGED,
            "this replica holds what is no text",
        )
    })?;
    let full_url = json!(format!("{base}/Patient/{}", patient.nhs_number));
    let score = json!({ "score": f64::from(one.score) / EXACT });
    Ok(format!(
        r#"{{"fullUrl":{full_url},"search":{score},"resource":{resource}}}"#
    ))
}
