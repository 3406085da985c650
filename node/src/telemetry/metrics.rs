//! Every metric of a node, in one registry. Names are `spine_<module>_<thing>_<unit>`; each stands in
//! `docs/metrics.md`, and no label ever carries personal data or text a caller chose.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::version;

/// Seconds, from 100 us (a read in memory) to 10 s (a deadline).
const SECONDS_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A histogram of durations.
pub type Seconds = Histogram;
/// A gauge that holds an unsigned number.
pub type Level = Gauge<u64, AtomicU64>;

/// Labels of a request: names from the catalogue of operations and of error kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// `pds.update`; `unknown` for a name that is not in the catalogue.
    pub operation: &'static str,
    /// `ok`, `rejected`, or the error kind.
    pub outcome: &'static str,
}

/// Label of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    pub operation: &'static str,
}

/// Label of a shard; 0 is the meta group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Shard {
    pub shard: u32,
}

/// Label of a bounded queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Queue {
    pub queue: &'static str,
}

/// Label of a reason, from a fixed list in the code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    pub reason: &'static str,
}

/// Label of another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Peer {
    pub peer: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    release: &'static str,
    commit: &'static str,
}

/// Makes the histograms of a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewSeconds;

impl MetricConstructor<Seconds> for NewSeconds {
    fn new_metric(&self) -> Seconds {
        seconds()
    }
}

fn seconds() -> Seconds {
    Histogram::new(SECONDS_BUCKETS)
}

/// Handles to all metrics. A handle is cheap to clone and safe to use from any thread.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    pub gateway_requests: Family<Request, Counter>,
    pub gateway_request_seconds: Family<Operation, Seconds, NewSeconds>,
    pub gateway_requests_open: Level,
    pub dispatch_forwards: Family<Reason, Counter>,
    pub shard_leaders: Level,
    pub shard_applied_index: Family<Shard, Level>,
    pub shard_elections: Counter,
    pub shard_commit_seconds: Seconds,
    pub node_queue_depth: Family<Queue, Level>,
    pub node_queue_refusals: Family<Queue, Counter>,
    pub node_resident_bytes: Level,
    pub node_uptime_seconds: Level,
    pub storage_fsyncs: Counter,
    pub storage_fsync_seconds: Seconds,
    pub storage_wal_bytes: Counter,
    pub storage_delta_bytes: Level,
    pub storage_checkpoints: Counter,
    pub storage_checkpoint_seconds: Seconds,
    pub storage_free_bytes: Level,
    pub peer_connected: Family<Peer, Level>,
    pub peer_garbage: Counter,
    pub peer_refusals: Family<Reason, Counter>,
    pub admin_connections_open: Level,
    pub admin_refusals: Counter,
}

/// One line of the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// As scraped; counters end in `_total`.
    pub name: String,
    pub kind: &'static str,
    pub labels: &'static str,
    pub help: &'static str,
}

struct Builder {
    registry: Registry,
    described: Vec<Described>,
}

impl Builder {
    fn add<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        labels: &'static str,
        help: &'static str,
        metric: M,
    ) -> M {
        let (kind, suffix) = match metric.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        self.described.push(Described {
            name: format!("{name}{suffix}"),
            kind,
            labels,
            help,
        });
        // The library ends the help text with a full stop of its own.
        self.registry.register(name, help, metric.clone());
        metric
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every metric at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut b = Builder {
            registry: Registry::default(),
            described: Vec::new(),
        };
        let build: Family<Build, Level> = b.add(
            "spine_node_build",
            "release, commit",
            "Always 1; the labels say what runs",
            Family::default(),
        );
        build
            .get_or_create(&Build {
                release: version::RELEASE,
                commit: version::COMMIT,
            })
            .set(1);
        Self {
            gateway_requests: b.add(
                "spine_gateway_requests",
                "operation, outcome",
                "Requests answered",
                Family::default(),
            ),
            gateway_request_seconds: b.add(
                "spine_gateway_request_seconds",
                "operation",
                "From request to answer",
                Family::new_with_constructor(NewSeconds),
            ),
            gateway_requests_open: b.add(
                "spine_gateway_requests_open",
                "",
                "Requests under way",
                Level::default(),
            ),
            dispatch_forwards: b.add(
                "spine_dispatch_forwards",
                "reason",
                "Requests sent on to another node, by what came of it",
                Family::default(),
            ),
            shard_leaders: b.add(
                "spine_shard_leaders",
                "",
                "Groups this node leads",
                Level::default(),
            ),
            shard_applied_index: b.add(
                "spine_shard_applied_index",
                "shard",
                "Last log index applied",
                Family::default(),
            ),
            shard_elections: b.add(
                "spine_shard_elections",
                "",
                "Times a group of this node got another leader",
                Counter::default(),
            ),
            shard_commit_seconds: b.add(
                "spine_shard_commit_seconds",
                "",
                "From proposal to applied, on the leader",
                seconds(),
            ),
            node_queue_depth: b.add(
                "spine_node_queue_depth",
                "queue",
                "Items that wait in a bounded queue",
                Family::default(),
            ),
            node_queue_refusals: b.add(
                "spine_node_queue_refusals",
                "queue",
                "Items refused because a queue was full",
                Family::default(),
            ),
            node_resident_bytes: b.add(
                "spine_node_resident_bytes",
                "",
                "Resident memory of the process",
                Level::default(),
            ),
            node_uptime_seconds: b.add(
                "spine_node_uptime_seconds",
                "",
                "Time since the process started",
                Level::default(),
            ),
            storage_fsyncs: b.add(
                "spine_storage_fsyncs",
                "",
                "Completed fdatasync calls of the log",
                Counter::default(),
            ),
            storage_fsync_seconds: b.add(
                "spine_storage_fsync_seconds",
                "",
                "One fdatasync of the log",
                seconds(),
            ),
            storage_wal_bytes: b.add(
                "spine_storage_wal_bytes",
                "",
                "Bytes written to the log",
                Counter::default(),
            ),
            storage_delta_bytes: b.add(
                "spine_storage_delta_bytes",
                "",
                "Changes in memory that no checkpoint has yet",
                Level::default(),
            ),
            storage_checkpoints: b.add(
                "spine_storage_checkpoints",
                "",
                "Checkpoints finished",
                Counter::default(),
            ),
            storage_checkpoint_seconds: b.add(
                "spine_storage_checkpoint_seconds",
                "",
                "One checkpoint of one shard",
                seconds(),
            ),
            storage_free_bytes: b.add(
                "spine_storage_free_bytes",
                "",
                "Free space where the data directory is",
                Level::default(),
            ),
            peer_connected: b.add(
                "spine_peer_connected",
                "peer",
                "1 while the links to a peer are up",
                Family::default(),
            ),
            peer_garbage: b.add(
                "spine_peer_garbage",
                "",
                "Connections to the peer port closed for what they sent",
                Counter::default(),
            ),
            peer_refusals: b.add(
                "spine_peer_refusals",
                "reason",
                "Connections or messages of peers refused",
                Family::default(),
            ),
            admin_connections_open: b.add(
                "spine_admin_connections_open",
                "",
                "Connections to the admin port",
                Level::default(),
            ),
            admin_refusals: b.add(
                "spine_admin_refusals",
                "",
                "Admin connections closed because there were too many",
                Counter::default(),
            ),
            registry: b.registry,
            described: b.described,
        }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if text::encode(&mut out, &self.registry).is_err() {
            // Writing to a string does not fail; an encoder of the library's that does must not end the node.
            out.clear();
            let _ = writeln!(out, "# encoding failed");
        }
        out
    }

    /// Every metric there is, in the order of registration.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        &self.described
    }
}

/// Sets a counter to a total that is counted elsewhere, for example by the log's writer thread.
pub fn mirror(counter: &Counter, total: u64) {
    counter.inner().store(total, Ordering::Relaxed);
}
