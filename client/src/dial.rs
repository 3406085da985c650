//! One HTTP/2 connection to one node, made by a connector that the simulator can replace.
//!
//! tonic's own channel reconnects behind the caller's back; here a broken connection must be seen
//! at once, so that the call goes to the next node, and a request that was never sent must be told
//! from one whose outcome is unknown.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tower::{Service, ServiceExt as _};

use crate::attempt::Try;
use crate::exchange::{Exchange, REQUEST_BYTES_MAX};
use crate::options::Options;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A byte stream to a node.
trait Io: hyper::rt::Read + hyper::rt::Write + Send + Unpin {}
impl<T: hyper::rt::Read + hyper::rt::Write + Send + Unpin> Io for T {}

type BoxIo = Box<dyn Io>;

/// Opens byte streams; wraps the tower service given to the builder.
#[derive(Clone)]
pub(crate) struct Connector {
    open: Arc<dyn Fn(Uri) -> BoxFuture<'static, Result<BoxIo, BoxError>> + Send + Sync>,
}

impl Connector {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Uri> + Clone + Send + Sync + 'static,
        S::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        Self {
            open: Arc::new(move |uri| {
                let service = service.clone();
                Box::pin(async move {
                    let io = service.oneshot(uri).await.map_err(Into::into)?;
                    let io: BoxIo = Box::new(io);
                    Ok(io)
                })
            }),
        }
    }

    /// Plain TCP of the operating system.
    pub(crate) fn tcp() -> Self {
        Self::new(tower::service_fn(|uri: Uri| async move {
            let authority = uri
                .authority()
                .map_or("", http::uri::Authority::as_str)
                .to_owned();
            let stream = tokio::net::TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }))
    }

    /// Connects and starts HTTP/2. The connection's own task ends with the last copy of the link; what comes with the
    /// link ends with the connection.
    pub(crate) async fn dial(
        &self,
        uri: Uri,
        options: &Options,
    ) -> Result<(Link, oneshot::Receiver<()>), BoxError> {
        let io = (self.open)(uri.clone()).await?;
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .handshake(io)
            .await?;
        let (lives, ended) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(lives);
        });
        let link = Link {
            send,
            origin: uri,
            exchange: Arc::default(),
        };
        Ok((link, ended))
    }
}

/// A connection. Cheap to clone; calls on it run side by side.
#[derive(Clone)]
pub(crate) struct Link {
    send: http2::SendRequest<Body>,
    origin: Uri,
    /// Once the node has accepted one.
    exchange: Arc<OnceLock<Arc<Exchange>>>,
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }

    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// Opens a stream for calls beside those that go alone. Until the node has accepted it, or where it does not, all
    /// do.
    pub(crate) fn open_exchange(&self, metadata: MetadataMap) {
        let (bare, place) = (self.bare(), Arc::downgrade(&self.exchange));
        tokio::spawn(async move {
            let exchange = Exchange::open(bare, metadata).await;
            // Without a place the last copy of the link is gone.
            if let (Some(exchange), Some(place)) = (exchange, place.upgrade()) {
                let _ = place.set(Arc::new(exchange));
            }
        });
    }

    /// A copy that keeps no stream of calls open.
    fn bare(&self) -> Self {
        Self {
            exchange: Arc::default(),
            ..self.clone()
        }
    }

    /// One call: over the stream where there is one and the request is small, else alone.
    pub(crate) async fn call<Q, A, F, Fut>(
        self,
        operation: &str,
        attempt: Try<Q>,
        alone: F,
    ) -> Result<Response<A>, Status>
    where
        Q: prost::Message,
        A: prost::Message + Default,
        F: FnOnce(Self, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let exchange = self.exchange.get().filter(|exchange| exchange.is_open()).cloned();
        match exchange {
            Some(exchange) if attempt.message.encoded_len() <= REQUEST_BYTES_MAX => {
                let request = attempt.message.encode_to_vec().into();
                exchange
                    .call(operation, request, attempt.left, attempt.settle, attempt.sending)
                    .await
            }
            _ => alone(self, attempt.into_request()).await,
        }
    }
}

/// Why a link did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The request never left: for certain nothing happened.
    #[error("the connection was closed before the request was sent")]
    NotSent,
    /// The connection took the request in no time: for certain nothing happened.
    #[error("the request waited for its connection until its time was over")]
    Waited,
    /// The connection broke after the request had been sent.
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    /// The stream that the request went through broke.
    #[error("the stream of calls broke")]
    Lost,
}

impl Service<http::Request<Body>> for Link {
    type Response = http::Response<Incoming>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, LinkError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        // A closed connection gives the request back in `call`, which says more than an error here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.send.try_send_request(request);
        Box::pin(async move {
            answer.await.map_err(|mut error| match error.take_message() {
                Some(_) => LinkError::NotSent,
                None => LinkError::Broken(error.into_error()),
            })
        })
    }
}
