//! The links to other nodes, in the words of the layers that use them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use prost::Message as _;
use spine_consensus::elections::NodesView;
use spine_consensus::inbound::SnapshotInflow;
use spine_consensus::peers::{CallError, Peers, SnapshotFeed};
use spine_consensus::transport::{
    Lane, Links, PeerError, PeerHandler, SnapshotParts, SnapshotReceiver,
};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1 as pb;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::storage::v1::ClusterPlan;

use crate::driver::NodesSource;
use crate::node::Inner;

/// A snapshot whose receiver is silent for this long is given up.
const SNAPSHOT_IDLE: Duration = Duration::from_secs(10);

/// This node's links.
pub struct NodePeers {
    links: OnceLock<Arc<Links>>,
    leading: Arc<RwLock<Vec<u32>>>,
}

impl NodePeers {
    /// Without links yet.
    #[must_use]
    pub fn new() -> Self {
        Self { links: OnceLock::new(), leading: Arc::default() }
    }

    /// The links, once they are started.
    #[must_use]
    pub fn links(&self) -> Option<&Arc<Links>> {
        self.links.get()
    }
}

fn call_error(error: PeerError) -> CallError {
    match error {
        PeerError::Closed | PeerError::Timeout => CallError::Lost,
        PeerError::Refused(reason) => CallError::Unavailable(reason),
        PeerError::Unreachable | PeerError::TooLarge | PeerError::Busy => CallError::Unreachable,
    }
}
