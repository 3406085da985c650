//! What an operator writes: a plain tree of settings, read from defaults < file < environment < flags,
//! checked as a whole, with every fault told at once.
//!
//! Settings are data. Values that must be equal on all nodes live in the meta group, not here; a file
//! only bootstraps them.

mod address;
mod cluster;
mod development;
mod environment;
mod error;
mod example;
mod keys;
mod limits;
mod listen;
mod load;
mod node;
mod raft;
mod security;
mod storage;
mod telemetry;
mod validate;

use serde::{Deserialize, Serialize};

pub use address::split_host_port;
pub use cluster::Cluster;
pub use development::Development;
pub use error::{ConfigError, Fault, Origin};
pub use example::example;
pub use limits::Limits;
pub use listen::Listen;
pub use load::Sources;
pub use node::Node;
pub use raft::Raft;
pub use security::{Mode, Security};
pub use storage::{EngineKind, Storage};
pub use telemetry::{LogFormat, Telemetry};

/// All settings of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub node: Node,
    pub listen: Listen,
    pub cluster: Cluster,
    pub storage: Storage,
    pub raft: Raft,
    pub limits: Limits,
    pub security: Security,
    pub telemetry: Telemetry,
    pub development: Development,
}

impl Config {
    /// The settings as TOML, every key written out: what is in force.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a tree of strings, numbers and lists is always TOML")
    }
}
