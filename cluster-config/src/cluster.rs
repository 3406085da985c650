//! `[cluster]`: how to find the others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Only a start: the meta group knows the members once the cluster is initialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Peer addresses (`host:port`) of nodes to ask first; this node's own may be among them.
    pub seeds: Vec<String>,
    /// Lets a node without data into the cluster of the seeds, once; empty: it waits for `cluster init`.
    pub join_token: String,
    /// A node silent for this long is given up, and what it has is made anew elsewhere; 0: only when an operator says so.
    pub replace_after_ms: u64,
}

impl Cluster {
    /// See the field; `None` where only operators decide.
    #[must_use]
    pub fn replace_after(&self) -> Option<Duration> {
        (self.replace_after_ms > 0).then(|| Duration::from_millis(self.replace_after_ms))
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            join_token: String::new(),
            replace_after_ms: 15 * 60 * 1_000,
        }
    }
}
