//! Answers: resources, and failures as `OperationOutcome`.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};
use spine_services::error_table::Outcome;
use spine_services::{SpineError, error_table};

use super::Dialect;

/// Of every resource.
pub(super) const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");
/// Codes of failures.
const CODE_SYSTEM: &str = "https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode";
/// Our own reasons, in the plain dialect.
const REASON_SYSTEM: &str = "urn:spine:reason";
/// Whoever is told to come again is told to wait at least so long: the header has no fractions.
const RETRY_AFTER_SECONDS_MIN: u32 = 1;

/// A resource.
pub(super) fn resource(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, FHIR_JSON);
    response
}

/// A resource built here.
pub(super) fn built(status: StatusCode, value: &Value) -> Response<Body> {
    resource(status, value.to_string())
}

/// Sets a header whose value is made of ASCII that this node wrote.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        headers.insert(name, value);
    }
}

/// The version, as `ETag` and `If-Match` have it.
pub(super) fn etag(version_id: u32) -> String {
    format!("W/\"{version_id}\"")
}

/// A failure.
pub(super) fn failure(dialect: Dialect, error: &SpineError) -> Response<Body> {
    let outcome = error_table::outcome_of(error);
    let http = match dialect {
        Dialect::Plain => outcome.plain_http,
        Dialect::Pds => outcome.http,
    };
    let status = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = built(status, &operation_outcome(dialect, error));
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        let seconds = error.retry_after_ms.div_ceil(1_000).max(RETRY_AFTER_SECONDS_MIN);
        set(response.headers_mut(), header::RETRY_AFTER, seconds.to_string());
    }
    response
}

/// An outcome that is no failure.
pub(super) fn outcome(outcome: &Outcome, diagnostics: &str) -> Value {
    json!({ "resourceType": "OperationOutcome", "issue": [issue(outcome, diagnostics)] })
}

fn issue(outcome: &Outcome, diagnostics: &str) -> Value {
    json!({
        "severity": outcome.severity,
        "code": outcome.issue,
        "details": { "coding": [{
            "system": CODE_SYSTEM,
            "version": "1",
            "code": outcome.code,
            "display": outcome.display,
        }] },
        "diagnostics": diagnostics,
    })
}

pub(super) fn operation_outcome(dialect: Dialect, error: &SpineError) -> Value {
    let mut issue = issue(&error_table::outcome_of(error), &error.message);
    if dialect == Dialect::Plain {
        if let Some(coding) = issue["details"]["coding"].as_array_mut() {
            let words = [&*error.reason, &*error.rule]
                .into_iter()
                .filter(|word| !word.is_empty());
            coding.extend(words.map(|word| json!({ "system": REASON_SYSTEM, "code": word })));
        }
        if !error.field.is_empty() {
            issue["expression"] = json!([error.field]);
        }
    }
    json!({ "resourceType": "OperationOutcome", "issue": [issue] })
}
