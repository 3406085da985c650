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

/// The entries of a bundle, to stand behind its other members; nothing where there are none: FHIR has no empty arrays.
pub(super) fn entries(entries: &[String]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    format!(r#","entry":[{}]"#, entries.join(","))
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use prost::Message as _;
    use spine_proto::common::v1::ErrorDetail;
    use spine_services::error_table::{of_kind, of_reason};
    use spine_services::{ErrorKind, reason};
    use tonic::Code;

    use super::*;
    use crate::gateway::status::to_status;

    /// One of each kind without a reason of its own, and one of each reason.
    fn errors() -> Vec<SpineError> {
        let kinds = ErrorKind::ALL.into_iter();
        let kinds = kinds.map(|kind| SpineError::new(kind, "", "text"));
        let reasons = reason::ALL.iter();
        let reasons = reasons.map(|known| SpineError::new(known.kind, known.word, "text"));
        kinds.chain(reasons).collect()
    }

    #[tokio::test]
    async fn every_failure_is_told_over_http_as_the_table_of_errors_says() {
        for error in errors() {
            let expected = of_reason(&error.reason).unwrap_or_else(|| of_kind(error.kind).outcome);
            for (dialect, http) in [
                (Dialect::Plain, expected.plain_http),
                (Dialect::Pds, expected.http),
            ] {
                let what = format!("{error:?} in the dialect {}", dialect.as_str());
                let response = failure(dialect, &error);
                assert_eq!(response.status().as_u16(), http, "{what}");
                let again = response.headers().contains_key(header::RETRY_AFTER);
                assert_eq!(again, matches!(http, 429 | 503), "{what}");
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let told: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(told["resourceType"], "OperationOutcome");
                let issue = &told["issue"][0];
                assert_eq!(issue["severity"], expected.severity, "{what}");
                assert_eq!(issue["code"], expected.issue, "{what}");
                assert_eq!(issue["diagnostics"], "text", "{what}");
                let codings = issue["details"]["coding"].as_array().unwrap();
                let codes: Vec<&str> = codings.iter().filter_map(|one| one["code"].as_str()).collect();
                let own = (dialect == Dialect::Plain && !error.reason.is_empty()).then_some(&*error.reason);
                let all: Vec<&str> = [expected.code].into_iter().chain(own).collect();
                assert_eq!(codes, all, "{what}");
            }
        }
    }

    #[test]
    fn every_failure_comes_back_from_a_grpc_status_as_it_was() {
        for error in errors() {
            let status = to_status(&error);
            assert_eq!(
                status.code(),
                Code::from_i32(of_kind(error.kind).grpc),
                "{error:?}"
            );
            let detail = ErrorDetail::decode(status.details()).unwrap();
            let back = SpineError::from_detail(error.kind, status.message().to_owned(), detail);
            assert_eq!(back, error);
        }
    }
}
