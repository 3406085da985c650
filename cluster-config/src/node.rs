//! `[node]`: this process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who this process is and where it keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Shown in logs; identity comes from the data directory, never from here.
    pub name: String,
    /// Everything this node stores; one process at a time.
    pub data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "node".to_owned(),
            data_dir: PathBuf::from("data/node"),
        }
    }
}
