//! Accepts connections and serves each within its bounds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
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
use tower::ServiceExt as _;

use super::stall::Unstalled;
use super::{Http, routes};
use crate::shard::host::count;
use crate::telemetry::Metrics;

/// Memory per connection for a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// After an accept that failed (for example no file descriptor left) before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener that closes loses who waits in its queue: so many are still taken, as long as each comes within the pause.
const QUEUE_MAX: usize = 1_024;
const QUEUE_PAUSE: Duration = Duration::from_millis(2);

/// Bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections at once; more wait in the listener's queue.
    pub connections_max: usize,
    /// Until a request's head is there, on a new connection or one that waits for its next request.
    pub head_timeout: Duration,
    /// Until a request's body is there.
    pub body_timeout: Duration,
    /// Until the client takes a part of an answer.
    pub write_timeout: Duration,
    /// Bytes of one body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are being read or carried out.
    pub bodies_bytes_max: usize,
    /// In a planned stop: how long connections that wait for a request stay open, so that one which is on its way
    /// is answered; each ends with its next answer.
    pub linger: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            // As large as a record, and what a patch list or white space adds.
            body_bytes_max: 2 * 1_024 * 1_024,
            bodies_bytes_max: 256 * 1_024 * 1_024,
            linger: Duration::from_millis(500),
        }
    }
}

impl From<&Limits> for HttpLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            connections_max: count(limits.http_connections_max).min(Semaphore::MAX_PERMITS),
            ..Self::default()
        }
    }
}

/// Serves until `http.closing` is cancelled, then finishes what is under way. Connections that a client opened by then
/// are served, too.
pub async fn serve(listener: Box<dyn Listener>, http: Http, limits: HttpLimits) {
    let server = Server {
        metrics: Arc::clone(&http.edge.metrics),
        router: routes::router(&http, limits),
        slots: Arc::new(Semaphore::new(limits.connections_max)),
        tasks: TaskTracker::new(),
        ending: CancellationToken::new(),
        http,
        limits,
    };
    server
        .accept_until(&*listener, server.http.closing.cancelled())
        .await;
    // Who is connected or connects now gets an answer and the advice to go.
    let lingered = async {
        tokio::select! {
            () = sleep(limits.linger) => {}
            () = server.nobody() => {}
        }
    };
    server.accept_until(&*listener, lingered).await;
    drop(listener);
    server.ending.cancel();
    server.nobody().await;
}

struct Server {
    router: Router,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    http: Http,
    /// Connections that wait for a request end now.
    ending: CancellationToken,
    metrics: Arc<Metrics>,
    limits: HttpLimits,
}

impl Server {
    /// Takes connections until `end`, and those that wait in the listener's queue by then.
    async fn accept_until(&self, listener: &dyn Listener, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            let taken = tokio::select! {
                taken = self.take(listener) => taken,
                () = end.as_mut() => break,
            };
            if !taken {
                tokio::select! {
                    () = sleep(ACCEPT_PAUSE) => {}
                    () = end.as_mut() => return,
                }
            }
        }
        for _ in 0..QUEUE_MAX {
            match timeout(QUEUE_PAUSE, self.take(listener)).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Serves the next connection; false where it cannot be accepted.
    async fn take(&self, listener: &dyn Listener) -> bool {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return false;
        };
        let Ok((stream, _)) = listener.accept().await else {
            return false;
        };
        let open = Open::new(Arc::clone(&self.metrics), slot);
        let serving = self.connection(stream);
        self.tasks.spawn(async move {
            serving.await;
            drop(open);
        });
        true
    }

    /// Ends when no connection is open.
    async fn nobody(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn connection(&self, stream: Box<dyn Stream>) -> impl Future<Output = ()> + Send + use<> {
        let (router, http, ending) = (self.router.clone(), self.http.clone(), self.ending.clone());
        let limits = self.limits;
        let service =
            service_fn(move |request: Request<Incoming>| answer(router.clone(), request, http.clone()));
        let stream = Unstalled::new(stream, limits.write_timeout);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // An error here is the caller's: garbage, or gone.
                _ = connection.as_mut() => return,
                () = ending.cancelled() => {}
            }
            connection.as_mut().graceful_shutdown();
            // A head that does not come is bounded by hyper, all else by the deadline of its request. Whoever stops the
            // node does not wait for longer than its grace.
            let _ = timeout(limits.head_timeout, connection).await;
        }
    }
}

/// A connection that is counted while it lives.
struct Open {
    metrics: Arc<Metrics>,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: Arc<Metrics>, slot: OwnedSemaphorePermit) -> Self {
        metrics.http.connections_open.inc();
        Self { metrics, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.http.connections_open.dec();
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    http: Http,
) -> Result<Response<Body>, Infallible> {
    let mut response = router.oneshot(request).await?;
    if http.closing.is_cancelled() || http.node.is_draining() {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
