//! What is served under which path.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::handler::Handler;
use axum::http::{HeaderMap, Response};
use axum::routing::{MethodRouter, get, post};
use spine_services::{ErrorKind, SpineError, reason};

use super::ask::Echo;
use super::body::Budget;
use super::{
    Dialect, Gate, Http, HttpLimits, answer, capability, create, feed, gone, history, openapi, patient,
    related, search, search_plain, status,
};
use crate::telemetry::metrics::HttpAnswer;

/// What a handler gives.
pub(super) type Answer = Result<Response<Body>, SpineError>;

/// A request as handlers see it.
pub(super) struct Asked {
    /// Segments of the path that the route names, decoded, in order; empty where they cannot be decoded.
    segments: Vec<String>,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl Asked {
    /// The segment at this place.
    pub(super) fn segment(&self, at: usize) -> &str {
        self.segments.get(at).map_or("", String::as_str)
    }
}

pub(super) fn router(http: &Http, limits: HttpLimits) -> Router {
    let bodies = Budget::new(&limits);
    let gate = |dialect| {
        Arc::new(Gate {
            http: http.clone(),
            dialect,
            limits,
            bodies: bodies.clone(),
        })
    };
    Router::new()
        .nest(Dialect::Plain.base(), plain(gate(Dialect::Plain)))
        .nest(Dialect::Pds.base(), pds(gate(Dialect::Pds)))
        .route("/openapi.json", get(on(openapi::serve)))
        .route("/docs", get(on(openapi::page)))
        .fallback(on(nothing))
        .method_not_allowed_fallback(on(no_such_method))
        .with_state(gate(Dialect::Plain))
}

fn plain(gate: Arc<Gate>) -> Router<Arc<Gate>> {
    let one = get(on(patient::read))
        .put(on(patient::put))
        .patch(on(patient::patch))
        .delete(on(gone::delete));
    let related = get(on(related::read))
        .put(on(related::put))
        .delete(on(related::delete));
    common(one)
        .route("/Patient", get(on(search_plain::search)).post(on(create::create)))
        .route("/Patient/_search", post(on(search_plain::posted)))
        .route("/Patient/$merge", post(on(gone::merge)))
        .route("/RelatedPerson", get(on(related::list)).post(on(related::create)))
        .route("/RelatedPerson/{id}", related)
        .route("/RelatedPerson/{id}/_history/{version}", get(on(related::read)))
        .route("/_feed", get(on(feed::feed)))
        .with_state(gate)
}

fn pds(gate: Arc<Gate>) -> Router<Arc<Gate>> {
    common(get(on(patient::read)).patch(on(patient::patch)))
        .route("/Patient", get(on(search::search)).post(on(create::create)))
        .with_state(gate)
}

fn common(patient: MethodRouter<Arc<Gate>>) -> Router<Arc<Gate>> {
    Router::new()
        .route("/Patient/{id}", patient)
        .route("/Patient/{id}/_history", get(on(history::list)))
        .route("/Patient/{id}/_history/{version}", get(on(history::version)))
        .route("/Patient/{id}/RelatedPerson", get(on(related::of_patient)))
        .route("/metadata", get(on(capability::statement)))
        .route("/_ping", get(on(status::ping)))
        .route("/_status", get(on(status::status)))
        .fallback(on(nothing))
        .method_not_allowed_fallback(on(no_such_method))
}

async fn nothing(_: Arc<Gate>, _: Asked) -> Answer {
    Err(SpineError::new(
        ErrorKind::Invalid,
        reason::UNSUPPORTED_SERVICE,
        "there is nothing at this path",
    ))
}

async fn no_such_method(_: Arc<Gate>, _: Asked) -> Answer {
    Err(SpineError::new(
        ErrorKind::Invalid,
        reason::METHOD_NOT_ALLOWED,
        "the resource at this path has no such method",
    ))
}

/// A handler as axum wants it: failures become answers, headers are echoed, answers are counted.
#[derive(Clone)]
struct On<F>(F);

fn on<F, Fut>(handler: F) -> On<F>
where
    F: Fn(Arc<Gate>, Asked) -> Fut,
    Fut: Future<Output = Answer>,
{
    On(handler)
}

impl<F, Fut> Handler<(), Arc<Gate>> for On<F>
where
    F: Fn(Arc<Gate>, Asked) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    type Future = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

    fn call(self, request: Request, gate: Arc<Gate>) -> Self::Future {
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let params = RawPathParams::from_request_parts(&mut parts, &()).await;
            let segments = params.iter().flatten().map(|(_, value)| value.to_owned());
            let echo = Echo::of(&parts.headers);
            let asked = Asked {
                segments: segments.collect(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body,
            };
            let dialect = gate.dialect;
            let metrics = Arc::clone(&gate.http.edge.metrics);
            let answered = (self.0)(gate, asked).await;
            let mut response = answered.unwrap_or_else(|error| answer::failure(dialect, &error));
            echo.onto(response.headers_mut());
            let label = HttpAnswer {
                dialect: dialect.as_str(),
                status: response.status().as_u16(),
            };
            metrics.http.answers.get_or_create(&label).inc();
            response
        })
    }
}
