//! The metrics of each module.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::labels::{
    Build, DiskTrouble, Divergence, Election, HttpAnswer, LeaderChange, Operation, Peer, Repair, Request,
    Scrub, Shard,
};
use super::register::{Level, NewSeconds, Register, Seconds, SignedLevel};
use crate::version;

/// What callers see.
#[derive(Clone)]
pub struct GatewayMetrics {
    pub requests: Family<Request, Counter>,
    pub request_seconds: Family<Operation, Seconds, NewSeconds>,
    pub watches_open: Level,
    pub calls_limit: Level,
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
            watches_open: to.add("spine_gateway_watches_open", "", "Watches being served"),
            calls_limit: to.add(
                "spine_gateway_calls_limit",
                "",
                "Calls that may be under way at once; lower while answers are late",
            ),
        }
    }
}

/// The groups of this node.
#[derive(Clone)]
pub struct ShardMetrics {
    pub leaders: Level,
    pub applied_index: Family<Shard, Level>,
    pub elections: Family<Election, Counter>,
    pub leader_changes: Family<LeaderChange, Counter>,
    pub repairs: Family<Repair, Counter>,
    pub divergences: Family<Divergence, Counter>,
    pub stopped: Level,
}

impl ShardMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            leaders: to.add("spine_shard_leaders", "", "Groups this node leads"),
            applied_index: to.add("spine_shard_applied_index", "shard", "Last log index applied"),
            elections: to.add(
                "spine_shard_elections",
                "reason",
                "Elections and transfers of leadership that this node began",
            ),
            leader_changes: to.add(
                "spine_shard_leader_changes",
                "change, reason",
                "Times that this node became or ceased to be a leader",
            ),
            repairs: to.add(
                "spine_shard_repairs",
                "outcome",
                "Tries to run a stopped replica again",
            ),
            divergences: to.add(
                "spine_shard_divergences",
                "verdict",
                "Digests of this node's replicas that were not another replica's, and what became of it",
            ),
            stopped: to.add(
                "spine_shard_stopped_replicas",
                "",
                "Replicas of this node that do not run",
            ),
        }
    }
}

/// The process.
#[derive(Clone)]
pub struct NodeMetrics {
    pub resident_bytes: Level,
    pub uptime_seconds: Level,
    pub clock_agreed: Level,
    pub clock_offset_ms: SignedLevel,
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
            resident_bytes: to.add("spine_node_resident_bytes", "", "Resident memory of the process"),
            uptime_seconds: to.add("spine_node_uptime_seconds", "", "Time since the process started"),
            clock_agreed: to.add(
                "spine_node_clock_agreed",
                "",
                "1 while the wall clock is within 500 ms of the median of all nodes heard, which are a majority",
            ),
            clock_offset_ms: to.add(
                "spine_node_clock_offset_milliseconds",
                "",
                "How far the median clock of the nodes heard is ahead of this node's",
            ),
        }
    }
}

/// Log, delta and engine.
#[derive(Clone)]
pub struct StorageMetrics {
    pub fsyncs: Counter,
    pub wal_bytes: Counter,
    pub delta_bytes: Level,
    pub feed_bytes: Level,
    pub free_bytes: Level,
    pub disk_trouble: Family<DiskTrouble, Level>,
    pub disk_troubles: Family<DiskTrouble, Counter>,
    pub scrubs: Family<Scrub, Counter>,
    pub engine_call_seconds: Level,
}

impl StorageMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            fsyncs: to.add("spine_storage_fsyncs", "", "Completed fdatasync calls of the log"),
            wal_bytes: to.add("spine_storage_wal_bytes", "", "Bytes written to the log"),
            delta_bytes: to.add(
                "spine_storage_delta_bytes",
                "",
                "Changes in memory that no checkpoint has yet",
            ),
            feed_bytes: to.add(
                "spine_storage_feed_bytes",
                "",
                "Changes kept in memory for watches, partly the same memory",
            ),
            free_bytes: to.add(
                "spine_storage_free_bytes",
                "",
                "Free space where the data directory is",
            ),
            disk_trouble: to.add(
                "spine_storage_disk_trouble",
                "trouble",
                "1 while the disk keeps this node from leading and writing",
            ),
            disk_troubles: to.add(
                "spine_storage_disk_troubles",
                "trouble",
                "Times that the disk began to keep this node from leading and writing",
            ),

            scrubs: to.add(
                "spine_storage_scrubs",
                "outcome",
                "Replicas whose whole state was read to see whether it is what was written",
            ),
            engine_call_seconds: to.add(
                "spine_storage_engine_call_seconds",
                "",
                "How long the call has run that the checkpoint thread makes into an engine now; 0 between calls",
            ),
        }
    }
}

/// The links to other nodes.
#[derive(Clone)]
pub struct PeerMetrics {
    pub connected: Family<Peer, Level>,
    pub garbage: Counter,
    pub refusals: Counter,
    pub wire_refusals: Counter,
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
                "",
                "Connections or messages of peers refused",
            ),
            wire_refusals: to.add(
                "spine_peer_wire_refusals",
                "",
                "Connections that ended because this node and a peer speak no common protocol",
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

/// FHIR over HTTP.
#[derive(Clone)]
pub struct HttpMetrics {
    pub connections_open: Level,
    pub answers: Family<HttpAnswer, Counter>,
}

impl HttpMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            connections_open: to.add("spine_http_connections_open", "", "Connections of FHIR clients"),
            answers: to.add("spine_http_answers", "dialect, status", "Answers to FHIR clients"),
        }
    }
}
