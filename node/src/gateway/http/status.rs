//! `_ping` and `_status`: whether anybody is there, and whether callers should be.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::Gate;
use super::answer::built;
use super::routes::{Answer, Asked};
use crate::{readiness, version};

/// The process answers.
pub(super) async fn ping(_: Arc<Gate>, _: Asked) -> Answer {
    Ok(plain_json(
        StatusCode::OK,
        &json!({ "status": "pass", "version": version::RELEASE }),
    ))
}

/// What `/readyz` of the admin port says, in the form of the national services.
pub(super) async fn status(gate: Arc<Gate>, _: Asked) -> Answer {
    let checks = readiness::checks(&gate.http.node);
    let ready = checks.iter().all(|check| check.ok);
    let checks: serde_json::Map<String, Value> = checks
        .into_iter()
        .map(|check| {
            let status = if check.ok { "pass" } else { "fail" };
            (
                check.name.to_owned(),
                json!([{ "status": status, "output": check.detail }]),
            )
        })
        .collect();
    let (code, word) = if ready {
        (StatusCode::OK, "pass")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "fail")
    };
    let body = json!({ "status": word, "releaseId": version::RELEASE, "checks": checks });
    Ok(plain_json(code, &body))
}

fn plain_json(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = built(code, value);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
