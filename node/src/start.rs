//! Starting and stopping a node, in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spine_consensus::net::Listener;
use spine_services::{Principal, catalogue};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminLimits, AdminSource, Check};
use crate::cluster::join;
use crate::gateway::admin::{ADMIN_PERMISSION, Admin};
use crate::gateway::admission::Admission;
use crate::gateway::edge::{DispatcherSource, Edge};
use crate::gateway::http::{self, Http, HttpLimits};
use crate::gateway::server;
use crate::node::{Inner, NodeError, Parts};
use crate::readiness;
use crate::shard::host::count;
use crate::shard::latch::Latches;
use crate::telemetry::metrics::{Peer as PeerLabel, Shard as ShardLabel, mirror};
use crate::telemetry::{self, LevelHandle};
use crate::version::Version;

/// A running node.
pub struct Node {
    inner: Arc<Inner>,
    /// Ends the servers that take connections.
    closing: CancellationToken,
    /// Ends watches, as the first thing of a stop.
    draining: CancellationToken,
    servers: tokio_util::task::TaskTracker,
}

impl Node {
    /// Binds every address, opens what the data directory holds, and serves.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn start(
        config: spine_cluster_config::Config,
        parts: Parts,
        level: Option<LevelHandle>,
    ) -> Result<Self, NodeError> {
        let listen = config.listen.clone();
        let net = Arc::clone(&parts.net);
        let bind = async |address: &str| {
            let bound = net.bind(address).await;
            bound.map_err(|error| NodeError::Listen {
                address: address.to_string(),
                error,
            })
        };
        let (grpc, admin) = (bind(&listen.grpc).await?, bind(&listen.admin).await?);
        let fhir = if listen.http.is_empty() {
            None
        } else {
            Some(bind(&listen.http).await?)
        };
        let inner = Inner::new(config, parts);
        inner
            .peers
            .links()
            .start_listener(&listen.peer)
            .await
            .map_err(|error| NodeError::Listen {
                address: listen.peer.clone(),
                error,
            })?;
        let node = Self {
            inner,
            closing: CancellationToken::new(),
            draining: CancellationToken::new(),
            servers: tokio_util::task::TaskTracker::new(),
        };
        node.serve_admin(admin, level);
        let edge = node.edge();
        if let Some(fhir) = fhir {
            node.serve_http(fhir, edge.clone());
        }
        node.serve_grpc(grpc, edge);
        if node.inner.resume().await? {
            tracing::info!(node = node.inner.addresses().node_id, "resumed");
        } else {
            tracing::info!("no data yet; waiting for cluster init, or to be let in");
            node.inner.spawn(join::ask_to_join(Arc::clone(&node.inner)));
        }
        Ok(node)
    }

    /// The parts that services share.
    #[must_use]
    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// One for all servers of clients: what they take on counts together.
    #[must_use]
    pub fn edge(&self) -> Edge {
        Edge {
            source: Arc::clone(&self.inner) as Arc<dyn DispatcherSource>,
            development_principal: development_principal(&self.inner).map(Arc::new),
            metrics: Arc::clone(&self.inner.metrics),
            admission: Arc::new(Admission::new(
                count(self.inner.config.limits.requests_max),
                self.inner.metrics.gateway.clone(),
            )),
            watches: Arc::new(Semaphore::new(count(self.inner.config.limits.watches_max))),
            draining: self.draining.clone(),
            deadline_max: self.inner.config.limits.deadline_max(),
            slow: Duration::from_millis(self.inner.config.telemetry.slow_request_ms),
            clock: Arc::clone(&self.inner.clock) as _,
            newcomers: Arc::new(Latches::new(count(self.inner.config.limits.key_waiters_max))),
        }
    }

    fn serve_http(&self, listener: Box<dyn Listener>, edge: Edge) {
        let http = Http {
            node: Arc::clone(&self.inner),
            edge,
            closing: self.closing.clone(),
        };
        let limits = HttpLimits::from(&self.inner.config.limits);
        self.servers.spawn(http::serve(listener, http, limits));
    }

    fn serve_grpc(&self, listener: Box<dyn Listener>, edge: Edge) {
        let connections = count(self.inner.config.limits.grpc_connections_max);
        let admin = Admin {
            node: Arc::clone(&self.inner),
            edge: edge.clone(),
        };
        let closing = self.closing.clone();
        self.servers.spawn(async move {
            if let Err(error) = server::serve(listener, connections, edge, admin, closing).await {
                tracing::error!(%error, "serve gRPC");
            }
        });
    }

    fn serve_admin(&self, listener: Box<dyn Listener>, level: Option<LevelHandle>) {
        let source = Arc::new(AdminPort {
            node: Arc::clone(&self.inner),
            level,
        });
        let limits = AdminLimits::from(&self.inner.config.limits);
        let serving = crate::admin::serve(
            listener,
            source,
            Arc::clone(&self.inner.metrics),
            limits,
            self.closing.clone(),
        );
        self.servers.spawn(async move {
            serving.await;
        });
    }

    /// Returns the reason when the node can no longer do its work and must end.
    pub fn fatal(&self) -> impl Future<Output = String> + use<> {
        let mut fatal = self.inner.fatal.subscribe();
        async move {
            match fatal.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// A planned stop: unready, leaders handed over, calls in flight finished, everything flushed. Bounded.
    pub async fn stop(&self) {
        let until = Instant::now() + self.inner.config.limits.shutdown_grace();
        // Until others lead, calls go on through here: whoever was sent away would only come back by a detour.
        let left = self.inner.drain().await;
        self.draining.cancel();
        if left > 0 {
            tracing::warn!(shards = left, "nobody took over some shards; stopping anyway");
        }
        self.closing.cancel();
        self.servers.close();
        if tokio::time::timeout_at(until, self.servers.wait()).await.is_err() {
            tracing::warn!("calls in flight did not finish in time");
        }
        self.inner.shutdown(until).await;
    }
}

/// In development mode everybody is this principal, with every permission. Loud at every start.
fn development_principal(inner: &Inner) -> Option<Principal> {
    let security = &inner.config.security;
    if !security.is_development() || security.development_principal.is_empty() {
        return None;
    }
    let mut permissions: Vec<String> = catalogue::permissions().into_iter().map(str::to_string).collect();
    permissions.push(ADMIN_PERMISSION.to_string());
    Some(Principal {
        id: security.development_principal.clone(),
        permissions,
    })
}

/// What the admin port shows of a node.
struct AdminPort {
    node: Arc<Inner>,
    level: Option<LevelHandle>,
}

#[async_trait]
impl AdminSource for AdminPort {
    async fn is_live(&self) -> bool {
        self.node.fatal.borrow().is_none()
    }

    async fn checks(&self) -> Vec<Check> {
        readiness::checks(&self.node)
    }

    async fn metrics(&self) -> String {
        let (node, metrics) = (&self.node, &self.node.metrics);
        let shards = node.host.all();
        metrics.node.uptime_seconds.set(node.started.elapsed().as_secs());
        metrics
            .node
            .resident_bytes
            .set(telemetry::process::resident_bytes());
        metrics
            .shard
            .leaders
            .set(shards.iter().filter(|shard| shard.group.status().leading).count() as u64);
        metrics.shard.stopped.set(node.stopped_replicas() as u64);
        for shard in &shards {
            let label = ShardLabel {
                shard: shard.group.identity().shard,
            };
            let applied = shard.group.store().applied().map_or(0, |id| id.index);
            metrics.shard.applied_index.get_or_create(&label).set(applied);
        }
        metrics
            .storage
            .delta_bytes
            .set(shards.iter().map(|s| s.group.store().delta_bytes() as u64).sum());
        metrics.storage.feed_bytes.set(
            shards
                .iter()
                .map(|s| s.group.store().status().feed_bytes as u64)
                .sum(),
        );
        let free = node.parts.disk.free_bytes(&node.config.node.data_dir);
        metrics.storage.free_bytes.set(free.unwrap_or(0));
        let links = node.peers.links();
        for (peer, seen) in &links.liveness().borrow().peers {
            let up = seen.silent_since.is_none() && seen.evidence.is_none();
            metrics
                .peer
                .connected
                .get_or_create(&PeerLabel { peer: peer.0 })
                .set(u64::from(up));
        }
        let counters = links.counters();
        mirror(&metrics.peer.garbage, counters.garbage);
        mirror(&metrics.peer.refusals, counters.refusals);
        mirror(&metrics.peer.wire_refusals, counters.wire_refusals);
        if let Some(running) = node.running() {
            mirror(&metrics.storage.fsyncs, running.wal.stats().fsyncs);
            mirror(&metrics.storage.wal_bytes, running.wal.stats().bytes);
        }
        metrics.encode()
    }

    fn version(&self) -> Version {
        Version::from(&self.node.parts.release)
    }

    fn log_level(&self) -> String {
        self.level.as_ref().map(LevelHandle::current).unwrap_or_default()
    }

    fn set_log_level(&self, filter: &str) -> Result<(), String> {
        match &self.level {
            Some(level) => level.set(filter).map_err(|error| error.to_string()),
            None => Err("the log level of this process is fixed".to_string()),
        }
    }
}
