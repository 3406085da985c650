//! `POST Patient`: a new patient gets a number.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use spine_proto::pds::v1::{AllocateRequest, AllocateResponse, Patient, SearchParameter};
use spine_services::error_table::{MULTIPLE_MATCHES, SINGLE_MATCH};
use spine_services::pds::rules::PDS_54;
use spine_services::{ErrorKind, SpineError, reason};

use super::answer;
use super::ask::Ask;
use super::patient::{RESOURCE_TYPES, answer_change, unsupported_type};
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};

/// Nobody is created where somebody meets this search.
const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
/// Parameters of that search; more are none.
const PARAMETERS_MAX: usize = 32;

pub(super) async fn create(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    if !RESOURCE_TYPES.contains(&ask.content_type.as_str()) {
        return Err(unsupported_type("application/fhir+json"));
    }
    let if_none = match gate.dialect {
        Dialect::Plain => if_none_exist(&asked.headers)?,
        Dialect::Pds => Vec::new(),
    };
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let request = AllocateRequest {
        fhir_json: body.bytes.clone(),
        request_id: ask.request_id.clone(),
        national: gate.dialect == Dialect::Pds,
        if_none,
    };
    let made = gate
        .http
        .edge
        .allocate(&request, &ask.principal, ask.deadline)
        .await?;
    answer_of(&gate, made)
}

fn answer_of(gate: &Gate, made: AllocateResponse) -> Answer {
    if made.several {
        let message = "several patients meet If-None-Exist";
        return Err(
            SpineError::new(ErrorKind::Conflict, reason::CRITERIA_NOT_SINGLE, message).with_rule(PDS_54.id),
        );
    }
    if !made.alike.is_empty() {
        return Ok(alike(gate.dialect, &made.alike));
    }
    let patient = made.patient.unwrap_or_default();
    let location = location(gate, &patient);
    let status = if made.existing {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let mut response = answer_change(status, patient, made.replayed);
    answer::set(response.headers_mut(), header::LOCATION, location);
    Ok(response)
}

fn location(gate: &Gate, patient: &Patient) -> String {
    let mut location = format!("{}/Patient/{}", gate.base_url(), patient.nhs_number);
    // The national service names the patient and no version.
    if gate.dialect == Dialect::Plain {
        location.push_str(&format!("/_history/{}", patient.version_id));
    }
    location
}

/// Names the number, as the national service does: this is an answer to its caller and nothing else.
fn alike(dialect: Dialect, numbers: &[String]) -> axum::http::Response<axum::body::Body> {
    let (outcome, diagnostics) = match numbers {
        [number] => (
            SINGLE_MATCH,
            format!("Unable to create new patient. NHS number {number} found for supplied demographic data."),
        ),
        _ => (
            MULTIPLE_MATCHES,
            "Unable to create new patient. Multiple matches found for supplied demographic data.".to_owned(),
        ),
    };
    let http = match dialect {
        Dialect::Plain => outcome.plain_http,
        Dialect::Pds => outcome.http,
    };
    let status = StatusCode::from_u16(http).unwrap_or(StatusCode::CONFLICT);
    answer::built(status, &answer::outcome(&outcome, &diagnostics))
}

/// # Errors
/// `INVALID_SEARCH_DATA`
fn if_none_exist(headers: &HeaderMap) -> Result<Vec<SearchParameter>, SpineError> {
    let refuse = |message| {
        let error = SpineError::new(ErrorKind::Invalid, reason::INVALID_SEARCH_DATA, message);
        Err(error.with_field("If-None-Exist"))
    };
    let Some(value) = headers.get(IF_NONE_EXIST) else {
        return Ok(Vec::new());
    };
    let Ok(text) = value.to_str() else {
        return refuse("If-None-Exist is not ASCII");
    };
    // Some clients send the whole of a search.
    let query = text.rsplit('?').next().unwrap_or_default();
    let parameters = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| SearchParameter {
        name: name.into_owned(),
        value: value.into_owned(),
    });
    let parameters: Vec<_> = parameters.take(PARAMETERS_MAX + 1).collect();
    match parameters.len() {
        0 => refuse("If-None-Exist asks for nothing"),
        1..=PARAMETERS_MAX => Ok(parameters),
        _ => refuse("If-None-Exist asks for too much"),
    }
}
