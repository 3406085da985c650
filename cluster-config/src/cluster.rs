//! `[cluster]`: how to find the others.

use serde::{Deserialize, Serialize};

/// Only a start: the meta group knows the members once the cluster is initialised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Peer addresses (`host:port`) of nodes to ask first; this node's own may be among them.
    pub seeds: Vec<String>,
}
