//! The plan of this node's cluster, beside its identity.
//!
//! Order of adopting a plan: plan, then log and state of every replica, then membership in the identity. A member's
//! identity therefore says that every planned replica was once complete here: one that is missing later was lost,
//! and may not vote.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;
use spine_proto::storage::v1::ClusterPlan;
use spine_storage::disk::Disk;

use super::plan::PLAN_FORMAT;
use crate::twice;

const PLAN_FILE: &str = "plan";
const PROPOSAL_FILE: &str = "proposed-plan";
const DIGEST_BYTES: usize = 32;

/// Why a stored plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The disk said so.
    #[error("read or write the cluster plan: {0}")]
    Io(#[from] io::Error),
    /// Written by a newer release, or damaged.
    #[error("the stored cluster plan is damaged or of a format that this release does not read")]
    Format,
    /// The directory belongs to another cluster.
    #[error("this node has data of another cluster")]
    AnotherCluster,
    /// The plan does not name this node.
    #[error("the plan does not name this node's peer address {0}")]
    NotInPlan(String),
}

/// The plan files of a data directory.
pub struct PlanFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl PlanFiles {
    /// Of this data directory.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            dir: dir.to_path_buf(),
        }
    }

    fn read(&self, name: &str) -> Result<Option<ClusterPlan>, BootstrapError> {
        let path = self.dir.join(name);
        if !self.disk.exists(&path)? {
            return Ok(None);
        }
        let bytes = self.disk.read(&path)?;
        let at = bytes
            .len()
            .checked_sub(DIGEST_BYTES)
            .ok_or(BootstrapError::Format)?;
        let (content, digest) = bytes.split_at(at);
        if blake3::hash(content).as_bytes() != digest {
            return Err(BootstrapError::Format);
        }
        decode(content).map(Some)
    }

    fn write(&self, name: &str, plan: &ClusterPlan) -> Result<(), BootstrapError> {
        let mut bytes = plan.encode_to_vec();
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(self.disk.write_atomic(&self.dir.join(name), &bytes)?)
    }

    /// The plan of this node's cluster.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn plan(&self) -> Result<Option<ClusterPlan>, BootstrapError> {
        match twice::read(self.disk.as_ref(), &self.dir.join(PLAN_FILE)) {
            Ok(None) => Ok(None),
            Ok(Some(content)) => decode(&content).map(Some),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(BootstrapError::Format),
            Err(error) => Err(error.into()),
        }
    }

    /// First step of adopting a plan.
    ///
    /// # Errors
    /// [`BootstrapError`]
    pub fn store_plan(&self, plan: &ClusterPlan) -> Result<(), BootstrapError> {
        let path = self.dir.join(PLAN_FILE);
        Ok(twice::write(self.disk.as_ref(), &path, &plan.encode_to_vec())?)
    }

    /// A plan that this node decided on and has perhaps not told everybody yet.
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
}

fn decode(content: &[u8]) -> Result<ClusterPlan, BootstrapError> {
    let plan = ClusterPlan::decode(content).map_err(|_| BootstrapError::Format)?;
    if plan.format == PLAN_FORMAT {
        Ok(plan)
    } else {
        Err(BootstrapError::Format)
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
