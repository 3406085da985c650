//! `[limits]`: what one node takes before it refuses.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts and milliseconds. Sizes of records and transactions are part of the stored format, not settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Client connections open at once.
    pub grpc_connections_max: u64,
    /// Admin connections open at once.
    pub admin_connections_max: u64,
    /// HTTP connections of FHIR clients open at once.
    pub http_connections_max: u64,
    /// Client requests under way at once, over all connections, at most: fewer while answers are late.
    pub requests_max: u64,
    /// Watches served at once.
    pub watches_max: u64,
    /// Proposals that wait in one shard.
    pub proposals_max: u64,
    /// Calls that wait for one routing key.
    pub key_waiters_max: u64,
    /// Longest deadline a caller gets, whatever it asks for.
    pub deadline_max_ms: u64,
    /// From SIGTERM to exit.
    pub shutdown_grace_ms: u64,
}

impl Limits {
    /// [`Limits::deadline_max_ms`].
    #[must_use]
    pub fn deadline_max(&self) -> Duration {
        Duration::from_millis(self.deadline_max_ms)
    }
    /// [`Limits::shutdown_grace_ms`].
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grpc_connections_max: 4_096,
            admin_connections_max: 64,
            http_connections_max: 4_096,
            requests_max: 8_192,
            watches_max: 1_024,
            proposals_max: 4_096,
            key_waiters_max: 256,
            deadline_max_ms: 30_000,
            shutdown_grace_ms: 20_000,
        }
    }
}
