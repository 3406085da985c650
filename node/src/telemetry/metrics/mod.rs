//! Every metric of a node, in one registry. Names are `spine_<module>_<thing>_<unit>`; each stands in
//! `docs/metrics.md`, and no label ever carries personal data or text a caller chose.

mod labels;
mod parts;
mod register;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

pub use labels::{
    DiskTrouble, Divergence, Election, HttpAnswer, LeaderChange, Operation, Peer, Repair, Request, Scrub,
    Shard,
};
pub use parts::{
    AdminMetrics, GatewayMetrics, HttpMetrics, NodeMetrics, PeerMetrics, ShardMetrics, StorageMetrics,
};
pub use register::{Described, Level, NewSeconds, Seconds, SignedLevel};

use register::Register;

/// Handles to all metrics by module. A handle is cheap to clone and safe to use from any thread.
pub struct Metrics {
    pub gateway: GatewayMetrics,
    pub shard: ShardMetrics,
    pub node: NodeMetrics,
    pub storage: StorageMetrics,
    pub peer: PeerMetrics,
    pub admin: AdminMetrics,
    pub http: HttpMetrics,
    registry: Registry,
    described: Vec<Described>,
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
        let mut register = Register::default();
        Self {
            gateway: GatewayMetrics::new(&mut register),
            shard: ShardMetrics::new(&mut register),
            node: NodeMetrics::new(&mut register),
            storage: StorageMetrics::new(&mut register),
            peer: PeerMetrics::new(&mut register),
            admin: AdminMetrics::new(&mut register),
            http: HttpMetrics::new(&mut register),
            registry: register.registry,
            described: register.described,
        }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if text::encode(&mut out, &self.registry).is_err() {
            // Writing to a string does not fail; should an encoder, that must not end the node.
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
