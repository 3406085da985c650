//! The client itself and how it is built.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::sync::Semaphore;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tower::Service;

use crate::address::Address;
use crate::admin::Admin;
use crate::call::Core;
use crate::dial::Connector;
use crate::dialer::Dialer;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::hedge::HedgeBudget;
use crate::options::Options;
use crate::pds::Pds;
use crate::pool::Pool;
use crate::records::Records;
use crate::route::Routes;
use crate::sessions::Sessions;

/// Names the caller in a cluster that runs in development mode.
const PRINCIPAL_HEADER: &str = "spine-principal";

/// A client of one cluster. Cheap to clone; all copies share connections and what was learned of
/// the cluster. Any call may be made from any task.
#[derive(Clone)]
pub struct SpineClient {
    core: Arc<Core>,
    endpoints: Arc<[Address]>,
}

impl fmt::Debug for SpineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpineClient")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl SpineClient {
    /// Starts to describe a client.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The generic record store: get, list, commit, watch.
    #[must_use]
    pub fn records(&self) -> Records {
        Records::new(Arc::clone(&self.core))
    }

    /// Personal demographics: register, retrieve, update, history, load.
    #[must_use]
    pub fn pds(&self) -> Pds {
        Pds::new(Arc::clone(&self.core))
    }

    /// Administration of one node, by its gRPC address. Such a call is made once, at that node.
    ///
    /// # Errors
    /// `MALFORMED_ADDRESS`.
    pub fn admin(&self, endpoint: &str) -> Result<Admin> {
        Ok(Admin::new(Arc::clone(&self.core), Address::parse(endpoint)?))
    }

    /// The addresses given to the builder.
    #[must_use]
    pub fn endpoints(&self) -> &[Address] {
        &self.endpoints
    }

    /// A fresh request id, for a caller who wants to keep it beyond the life of one call.
    #[must_use]
    pub fn new_request_id(&self) -> String {
        self.core.entropy.request_id()
    }
}

/// Describes a client.
#[derive(Default)]
pub struct Builder {
    endpoints: Vec<String>,
    options: Options,
    metadata: Vec<(String, String)>,
    connector: Option<Connector>,
    seed: Option<u64>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Metadata may hold a token.
        f.debug_struct("Builder")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Addresses of some nodes, `host:port` or `http://host:port`; the others are learned.
    #[must_use]
    pub fn endpoints<I: IntoIterator<Item = S>, S: Into<String>>(mut self, endpoints: I) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// Time a whole call may take, all tries together. Default 10 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// Time one try may take at first. Default 1 s.
    #[must_use]
    pub fn try_deadline(mut self, deadline: Duration) -> Self {
        self.options.try_deadline = deadline;
        self
    }

    /// A node from which nothing came for so long gets company: the same request, under the same request id, goes to
    /// another node as well, for at most one call in ten over time. Default 150 ms.
    #[must_use]
    pub fn hedge_after(mut self, after: Duration) -> Self {
        self.options.hedge_after = after;
        self
    }

    /// Without a connection for so long, the next address is tried beside the first. Default 50 ms.
    #[must_use]
    pub fn connect_hedge(mut self, after: Duration) -> Self {
        self.options.connect_hedge = after;
        self
    }

    /// An attempt to connect is given up after so long. Default 500 ms.
    #[must_use]
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.options.connect_limit = limit;
        self
    }

    /// Whether calls go to the leaders that answers name; else each key has a node of its own, which forwards. Such a
    /// client behaves as one behind a load balancer does. Default true.
    #[must_use]
    pub fn follow_leaders(mut self, follow: bool) -> Self {
        self.options.follow_leaders = follow;
        self
    }

    /// Pings every connection at this interval and closes it when one stays unanswered for
    /// `timeout`. Default 1 s and 1 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.keep_alive_interval = interval;
        self.options.keep_alive_timeout = timeout;
        self
    }

    /// Calls under way together; more wait. Default 4,096.
    #[must_use]
    pub fn calls_in_flight_max(mut self, calls: usize) -> Self {
        self.options.calls_in_flight_max = calls;
        self
    }

    /// Who calls, for a cluster in development mode (it refuses this in production).
    #[must_use]
    pub fn principal(self, id: impl Into<String>) -> Self {
        self.metadata(PRINCIPAL_HEADER, id)
    }

    /// A bearer token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.metadata("authorization", format!("Bearer {token}"))
    }

    /// Any other metadata, sent with every call.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Opens connections in another way than by TCP, for example inside a simulator. The stream is
    /// a hyper one: wrap an `AsyncRead + AsyncWrite` in `hyper_util::rt::TokioIo`.
    #[must_use]
    pub fn connector<S>(mut self, connector: S) -> Self
    where
        S: Service<Uri> + Clone + Send + Sync + 'static,
        S::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
    {
        self.connector = Some(Connector::new(connector));
        self
    }

    /// Seed of request ids and jitter, for simulations. Never use one seed twice against the same
    /// cluster: the request ids would repeat.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The client. It connects with the first call, so this neither waits nor needs a running
    /// cluster.
    ///
    /// # Errors
    /// `NO_ENDPOINTS`, `MALFORMED_ADDRESS` or `MALFORMED_METADATA`.
    pub fn connect(self) -> Result<SpineClient> {
        let endpoints: Vec<Address> = self
            .endpoints
            .iter()
            .map(|text| Address::parse(text))
            .collect::<Result<_>>()?;
        if endpoints.is_empty() {
            return Err(Error::invalid(
                "NO_ENDPOINTS",
                "endpoints",
                "give the address of at least one node",
            ));
        }
        let connector = self.connector.unwrap_or_else(Connector::tcp);
        let metadata = Arc::new(metadata(&self.metadata)?);
        let entropy = Arc::new(self.seed.map_or_else(Entropy::from_system, Entropy::from_seed));
        let dialer = Dialer {
            connector,
            options: self.options.clone(),
            metadata: Arc::clone(&metadata),
            entropy: Arc::clone(&entropy),
        };
        let core = Core {
            pool: Pool::new(dialer, &endpoints),
            routes: Routes::default(),
            entropy,
            metadata,
            in_flight: Semaphore::new(self.options.calls_in_flight_max),
            hedge: HedgeBudget::default(),
            sessions: Sessions::default(),
            options: self.options,
        };
        Ok(SpineClient {
            core: Arc::new(core),
            endpoints: endpoints.into(),
        })
    }
}

fn metadata(pairs: &[(String, String)]) -> Result<MetadataMap> {
    let mut map = MetadataMap::new();
    for (key, value) in pairs {
        let malformed = || {
            let message = format!("metadata {key} has a name or a value that cannot be sent");
            Error::invalid("MALFORMED_METADATA", "metadata", message)
        };
        let name: AsciiMetadataKey = key.parse().map_err(|_| malformed())?;
        let value: AsciiMetadataValue = value.parse().map_err(|_| malformed())?;
        map.insert(name, value);
    }
    Ok(map)
}
