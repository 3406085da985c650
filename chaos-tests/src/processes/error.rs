//! Why a cluster could not be run.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use spine_client::local_cluster::LocalClusterError;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{program} is not built; build the workspace in this profile first")]
    NotBuilt { program: PathBuf },
    #[error("node {node} ended by itself; the end of its log: {tail}")]
    Ended { node: usize, tail: String },
    #[error("waited {} s for {what}; last seen: {seen}", .limit.as_secs())]
    Waited {
        what: String,
        limit: Duration,
        seen: String,
    },
    #[error("this cluster was started without proxies, so its links cannot be touched")]
    NoProxies,
    #[error("{0}")]
    Client(#[from] spine_client::Error),
    #[error("{0}")]
    Local(#[from] LocalClusterError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Disk(#[from] spine_faultdisk::FaultDiskError),
}
