//! Accepts connections and serves each within its bounds.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spine_cluster_config::Limits;
use spine_consensus::net::{Listener, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{AdminSource, routes};
use crate::telemetry::Metrics;

/// Memory per connection for a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// After an accept that failed (for example no file descriptor left) before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of the admin port.
#[derive(Clone, Copy, Debug)]
pub struct AdminLimits {
    /// Connections at once; more are closed at once.
    pub connections_max: usize,
    /// From the first byte of a request's head to its last, and how long an idle connection stays.
    pub head_timeout: Duration,
    /// From a request's head to the start of its answer, its body included.
    pub request_timeout: Duration,
    /// After this a connection ends with its current request.
    pub connection_age_max: Duration,
    /// How long an ending connection may still take.
    pub close_timeout: Duration,
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            head_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            connection_age_max: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl From<&Limits> for AdminLimits {
    fn from(limits: &Limits) -> Self {
        let connections_max = usize::try_from(limits.admin_connections_max)
            .map_or(Semaphore::MAX_PERMITS, |n| n.min(Semaphore::MAX_PERMITS));
        Self {
            connections_max,
            ..Self::default()
        }
    }
}

/// Serves until `stop` is cancelled; then connections finish within `close_timeout`. A listener that fails to
/// accept is tried again.
pub async fn serve<S: AdminSource>(
    listener: Box<dyn Listener>,
    source: Arc<S>,
    metrics: Arc<Metrics>,
    limits: AdminLimits,
    stop: CancellationToken,
) {
    let router = routes::router(source);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            metrics.admin.refusals.inc();
            continue;
        };
        let open = Open::new(Arc::clone(&metrics), slot);
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            connection(stream, router, limits, stop).await;
            drop(open);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// A connection that is counted while it lives.
struct Open {
    metrics: Arc<Metrics>,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: Arc<Metrics>, slot: OwnedSemaphorePermit) -> Self {
        metrics.admin.connections_open.inc();
        Self { metrics, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.admin.connections_open.dec();
    }
}

async fn connection(stream: Box<dyn Stream>, router: Router, limits: AdminLimits, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request, limits));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error here is the caller's: garbage, or gone.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(limits.connection_age_max) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.close_timeout, connection).await;
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    limits: AdminLimits,
) -> Result<Response<Body>, std::convert::Infallible> {
    match timeout(limits.request_timeout, router.oneshot(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let mut answer = Response::new(Body::from("took too long\n"));
            *answer.status_mut() = StatusCode::REQUEST_TIMEOUT;
            Ok(answer)
        }
    }
}
