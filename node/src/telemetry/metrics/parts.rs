//! The metrics of each module.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::labels::{Build, Operation, Peer, Queue, Reason, Request, Shard};
use super::register::{Level, NewSeconds, Register, Seconds, seconds};
use crate::version;

/// What callers see.
#[derive(Clone)]
pub struct GatewayMetrics {
    pub requests: Family<Request, Counter>,
    pub request_seconds: Family<Operation, Seconds, NewSeconds>,
    pub requests_open: Level,
}

impl GatewayMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        let seconds = Family::new_with_constructor(NewSeconds);
        Self {
            requests: to.add(
                "spine_gateway_requests",
                "operation, outcome",
                "Requests answered",
            ),
            request_seconds: to.add_metric(
                "spine_gateway_request_seconds",
                "operation",
                "From request to answer",
                seconds,
            ),
            requests_open: to.add("spine_gateway_requests_open", "", "Requests under way"),
        }
    }
}

/// Requests on their way to a leader.
#[derive(Clone)]
pub struct DispatchMetrics {
    /// By what came of it.
    pub forwards: Family<Reason, Counter>,
}

impl DispatchMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            forwards: to.add(
                "spine_dispatch_forwards",
                "reason",
                "Requests sent on to another node, by what came of it",
            ),
        }
    }
}

/// The groups of this node.
#[derive(Clone)]
pub struct ShardMetrics {
    pub leaders: Level,
    pub applied_index: Family<Shard, Level>,
    pub elections: Counter,
    pub commit_seconds: Seconds,
}

impl ShardMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            leaders: to.add("spine_shard_leaders", "", "Groups this node leads"),
            applied_index: to.add("spine_shard_applied_index", "shard", "Last log index applied"),
            elections: to.add(
                "spine_shard_elections",
                "",
                "Times a group of this node got another leader",
            ),
            commit_seconds: to.add_metric(
                "spine_shard_commit_seconds",
                "",
                "From proposal to applied, on the leader",
                seconds(),
            ),
        }
    }
}

/// The process.
#[derive(Clone)]
pub struct NodeMetrics {
    pub queue_depth: Family<Queue, Level>,
    pub queue_refusals: Family<Queue, Counter>,
    pub resident_bytes: Level,
    pub uptime_seconds: Level,
}

impl NodeMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        let build: Family<Build, Level> = to.add(
            "spine_node_build",
            "release, commit",
            "Always 1; the labels say what runs",
        );
        build
            .get_or_create(&Build {
                release: version::RELEASE,
                commit: version::COMMIT,
            })
            .set(1);
        Self {
            queue_depth: to.add(
                "spine_node_queue_depth",
                "queue",
                "Items that wait in a bounded queue",
            ),
            queue_refusals: to.add(
                "spine_node_queue_refusals",
                "queue",
                "Items refused because a queue was full",
            ),
            resident_bytes: to.add("spine_node_resident_bytes", "", "Resident memory of the process"),
            uptime_seconds: to.add("spine_node_uptime_seconds", "", "Time since the process started"),
        }
    }
}

/// Log, delta and engine.
#[derive(Clone)]
pub struct StorageMetrics {
    pub fsyncs: Counter,
    pub fsync_seconds: Seconds,
    pub wal_bytes: Counter,
    pub delta_bytes: Level,
    pub checkpoints: Counter,
    pub checkpoint_seconds: Seconds,
    pub free_bytes: Level,
}

impl StorageMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            fsyncs: to.add("spine_storage_fsyncs", "", "Completed fdatasync calls of the log"),
            fsync_seconds: to.add_metric(
                "spine_storage_fsync_seconds",
                "",
                "One fdatasync of the log",
                seconds(),
            ),
            wal_bytes: to.add("spine_storage_wal_bytes", "", "Bytes written to the log"),
            delta_bytes: to.add(
                "spine_storage_delta_bytes",
                "",
                "Changes in memory that no checkpoint has yet",
            ),
            checkpoints: to.add("spine_storage_checkpoints", "", "Checkpoints finished"),
            checkpoint_seconds: to.add_metric(
                "spine_storage_checkpoint_seconds",
                "",
                "One checkpoint of one shard",
                seconds(),
            ),
            free_bytes: to.add(
                "spine_storage_free_bytes",
                "",
                "Free space where the data directory is",
            ),
        }
    }
}

/// The links to other nodes.
#[derive(Clone)]
pub struct PeerMetrics {
    pub connected: Family<Peer, Level>,
    pub garbage: Counter,
    pub refusals: Family<Reason, Counter>,
}

impl PeerMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            connected: to.add(
                "spine_peer_connected",
                "peer",
                "1 while the links to a peer are up",
            ),
            garbage: to.add(
                "spine_peer_garbage",
                "",
                "Connections to the peer port closed for what they sent",
            ),
            refusals: to.add(
                "spine_peer_refusals",
                "reason",
                "Connections or messages of peers refused",
            ),
        }
    }
}

/// The admin port.
#[derive(Clone)]
pub struct AdminMetrics {
    pub connections_open: Level,
    pub refusals: Counter,
}

impl AdminMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            connections_open: to.add(
                "spine_admin_connections_open",
                "",
                "Connections to the admin port",
            ),
            refusals: to.add(
                "spine_admin_refusals",
                "",
                "Admin connections closed because there were too many",
            ),
        }
    }
}
