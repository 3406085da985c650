//! `DELETE Patient/{id}` marks a record as invalid; `POST Patient/$merge` merges one number into another.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use spine_proto::pds::v1::{InvalidateRequest, InvalidateResponse, MergeRequest};
use spine_services::{ErrorKind, SpineError, reason};

use super::Gate;
use super::answer;
use super::ask::Ask;
use super::patient::{RESOURCE_TYPES, check_id, mark_replayed, unsupported_type, version_named};
use super::routes::{Answer, Asked};

/// Who is to be superseded, and who stays, as later releases of FHIR name them.
const SOURCE: &str = "source-patient";
const TARGET: &str = "target-patient";

pub(super) async fn delete(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    check_id(asked.segment(0))?;
    let version_id = version_named(&ask, gate.dialect)?;
    let request = InvalidateRequest {
        nhs_number: asked.segment(0).to_owned(),
        version_id: version_id.unwrap_or(0),
        request_id: ask.request_id.clone(),
        ..InvalidateRequest::default()
    };
    let done: Result<InvalidateResponse, SpineError> = gate.call("pds.invalidate", &request, &ask).await;
    let replayed = match done {
        Ok(done) => done.replayed,
        // It is what was asked for.
        Err(error) if error.reason == reason::INVALIDATED_RESOURCE => false,
        Err(error) => return Err(error),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    mark_replayed(&mut response, replayed);
    Ok(response)
}

pub(super) async fn merge(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    if !RESOURCE_TYPES.contains(&ask.content_type.as_str()) {
        return Err(unsupported_type("application/fhir+json"));
    }
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let parameters: Value = serde_json::from_slice(&body.bytes).map_err(|_| {
        let message = "the body is no JSON";
        SpineError::new(ErrorKind::Invalid, reason::MALFORMED_JSON, message)
    })?;
    let request = MergeRequest {
        nhs_number: named(&parameters, SOURCE)?,
        version_id: 0,
        survivor: named(&parameters, TARGET)?,
        request_id: ask.request_id.clone(),
    };
    let merged = gate
        .http
        .edge
        .merge(&request, &ask.principal, ask.deadline)
        .await?;
    let patient = merged.patient.unwrap_or_default();
    let patient: Value = serde_json::from_slice(&patient.fhir_json).map_err(|_| {
        let message = "this replica holds what is no JSON";
        SpineError::new(ErrorKind::Corrupt, reason::STORE_DAMAGED, message)
    })?;
    let outcome = json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "information", "code": "informational" }],
    });
    let parameters = json!({
        "resourceType": "Parameters",
        "parameter": [
            { "name": "outcome", "resource": outcome },
            { "name": "result", "resource": patient },
        ],
    });
    let mut response = answer::built(StatusCode::OK, &parameters);
    mark_replayed(&mut response, merged.replayed);
    Ok(response)
}

/// The number that a parameter refers to.
///
/// # Errors
/// `MISSING_VALUE`, `INVALID_NHS_NUMBER`
fn named(parameters: &Value, name: &'static str) -> Result<String, SpineError> {
    let list = parameters["parameter"].as_array();
    let found = list.into_iter().flatten().find(|one| one["name"] == name);
    let reference = found.and_then(|one| one["valueReference"]["reference"].as_str());
    let Some(reference) = reference else {
        let message = format!("the parameter {name} with a reference is missing");
        return Err(SpineError::new(ErrorKind::Invalid, reason::MISSING_VALUE, message).with_field(name));
    };
    let number = reference.rsplit('/').next().unwrap_or_default();
    check_id(number)?;
    Ok(number.to_owned())
}
