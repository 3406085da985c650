//! The identity of a data directory and the plan it belongs to.
//!
//! Order of writing: plan, then the log and state of every replica, then the identity. An identity therefore says
//! that every planned replica was once complete here: one that is missing later was lost, and may not vote.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use spine_proto::storage::v1::{ClusterPlan, NodeIdentity};
use spine_storage::disk::Disk;

/// Stored format of the identity.
pub const IDENTITY_FORMAT: u32 = 1;
const IDENTITY_FILE: &str = "identity";
const PLAN_FILE: &str = "plan";
const PROPOSAL_FILE: &str = "proposed-plan";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The disk said so.
    #[error("read or write identity: {0}")]
    Io(#[from] io::Error),
    /// Written by a newer release, or damaged.
    #[error("{0} is not of a format that this release reads")]
    Format(&'static str),
    /// The directory belongs to another cluster.
    #[error("this node has data of another cluster")]
    AnotherCluster,
    /// The plan does not name this node.
    #[error("the plan does not name this node's peer address {0}")]
    NotInPlan(String),
}

/// The small files of a data directory.
pub struct Identity {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Identity {
    /// Of this data directory.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_path_buf() }
    }

    fn read<M: prost::Message + Default>(&self, name: &'static str) -> Result<Option<M>, BootstrapError> {
        let path = self.dir.join(name);
        if !self.disk.exists(&path)? {
            return Ok(None);
        }
        let bytes = self.disk.read(&path)?;
        let (content, digest) =
            bytes.split_at_checked(bytes.len().wrapping_sub(32)).ok_or(BootstrapError::Format(name))?;
        if blake3::hash(content).as_bytes() != digest {
            return Err(BootstrapError::Format(name));
        }
        M::decode(content).map(Some).map_err(|_| BootstrapError::Format(name))
    }

    fn write<M: prost::Message>(&self, name: &str, message: &M) -> Result<(), BootstrapError> {
        let mut bytes = message.encode_to_vec();
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(self.disk.write_atomic(&self.dir.join(name), &bytes)?)
    }

    /// The identity, once every replica of the plan was created.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn identity(&self) -> Result<Option<NodeIdentity>, BootstrapError> {
        match self.read::<NodeIdentity>(IDENTITY_FILE)? {
            Some(identity) if identity.format != IDENTITY_FORMAT => Err(BootstrapError::Format(IDENTITY_FILE)),
            other => Ok(other),
        }
    }

    /// The plan of this node's cluster.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn plan(&self) -> Result<Option<ClusterPlan>, BootstrapError> {
        match self.read::<ClusterPlan>(PLAN_FILE)? {
            Some(plan) if plan.format != super::plan::PLAN_FORMAT => Err(BootstrapError::Format(PLAN_FILE)),
            other => Ok(other),
        }
    }

    /// A plan that this node decided on and has not carried out everywhere yet.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn proposal(&self) -> Result<Option<ClusterPlan>, BootstrapError> {
        self.read(PROPOSAL_FILE)
    }

    /// Remembers a decision before anybody is told of it.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn store_proposal(&self, plan: &ClusterPlan) -> Result<(), BootstrapError> {
        self.write(PROPOSAL_FILE, plan)
    }

    /// First step of adopting a plan.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn store_plan(&self, plan: &ClusterPlan) -> Result<(), BootstrapError> {
        self.write(PLAN_FILE, plan)
    }

    /// Last step of adopting a plan.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn store_identity(&self, plan: &ClusterPlan, node_id: u64, store_uuid: Bytes) -> Result<(), BootstrapError> {
        let identity =
            NodeIdentity { format: IDENTITY_FORMAT, cluster_id: plan.cluster_id.clone(), node_id, store_uuid };
        self.write(IDENTITY_FILE, &identity)
    }
}

/// This node's id in a plan.
///
/// # Errors
/// [`BootstrapError::NotInPlan`]
pub fn node_id_in(plan: &ClusterPlan, peer_address: &str) -> Result<u64, BootstrapError> {
    plan.nodes
        .iter()
        .find(|node| node.peer_address == peer_address)
        .map(|node| node.node_id)
        .ok_or_else(|| BootstrapError::NotInPlan(peer_address.to_string()))
}
