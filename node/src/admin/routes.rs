//! What is served under which path.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::{AdminSource, Check};

/// A log filter is at most 1,024 bytes; nothing else has a body.
const BODY_BYTES_MAX: usize = 2_048;

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
const METRICS: [(header::HeaderName, &str); 1] = [(
    header::CONTENT_TYPE,
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)];

type Source<S> = State<Arc<S>>;

pub(super) fn router<S: AdminSource>(source: Arc<S>) -> Router {
    Router::new()
        .route("/livez", get(livez::<S>))
        .route("/readyz", get(readyz::<S>))
        .route("/metrics", get(metrics::<S>))
        .route("/version", get(version::<S>))
        .route("/loglevel", get(log_level::<S>).put(set_log_level::<S>))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(source)
}

async fn livez<S: AdminSource>(State(source): Source<S>) -> Response {
    if source.is_live().await {
        (StatusCode::OK, TEXT, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, TEXT, "not live\n").into_response()
    }
}

#[derive(Deserialize)]
struct Readyz {
    /// Present with any value: one line per check.
    verbose: Option<String>,
}

async fn readyz<S: AdminSource>(State(source): Source<S>, Query(query): Query<Readyz>) -> Response {
    let checks = source.checks().await;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verdict = if ready { "ready\n" } else { "not ready\n" };
    let body = if query.verbose.is_some() {
        let lines: String = checks.iter().map(line).collect();
        format!("{lines}{verdict}")
    } else {
        verdict.to_owned()
    };
    (status, TEXT, body).into_response()
}

/// `[+]name ok` or `[-]name failed: why`, as other systems print it.
fn line(check: &Check) -> String {
    let Check { name, ok, detail } = check;
    let (sign, word) = if *ok { ('+', "ok") } else { ('-', "failed") };
    let colon = if detail.is_empty() { "" } else { ": " };
    format!("[{sign}]{name} {word}{colon}{detail}\n")
}

async fn metrics<S: AdminSource>(State(source): Source<S>) -> Response {
    (StatusCode::OK, METRICS, source.metrics().await).into_response()
}

async fn version<S: AdminSource>(State(source): Source<S>) -> Response {
    match serde_json::to_string(&source.version()) {
        Ok(body) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")).into_response(),
    }
}

async fn log_level<S: AdminSource>(State(source): Source<S>) -> Response {
    (StatusCode::OK, TEXT, format!("{}\n", source.log_level())).into_response()
}

async fn set_log_level<S: AdminSource>(State(source): Source<S>, filter: String) -> Response {
    match source.set_log_level(filter.trim()) {
        Ok(()) => (StatusCode::OK, TEXT, format!("{}\n", source.log_level())).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, TEXT, format!("{why}\n")).into_response(),
    }
}
