//! Disks that can be troubled, one under the data of each node of a cluster. Needs root and `/dev/fuse`.

use std::os::unix::fs::symlink;
use std::path::Path;

use spine_faultdisk::{Command, Cut, FaultDisk};
use tempfile::TempDir;

use super::{Cluster, ClusterError, Options};

/// They count from 0, as the nodes. Dropping them ends whoever uses them: they go before a cluster on them.
pub struct Disks {
    disks: Vec<FaultDisk>,
    /// After the disks: nothing is mounted in it when it goes.
    _mounts: TempDir,
}

impl Disks {
    /// Mounts a disk for each node's data, and starts the cluster on them with these further settings. Apart
    /// from the cluster, so that a disk can be healed while somebody else waits for a process.
    ///
    /// # Errors
    /// A disk that cannot be mounted, and those of [`Cluster::start`].
    pub async fn with_cluster(
        options: &Options,
        settings: &[String],
    ) -> Result<(Cluster, Self), ClusterError> {
        let program = options.programs.join("faultdisk");
        if !program.is_file() {
            return Err(ClusterError::NotBuilt { program });
        }
        let mounts = tempfile::Builder::new().prefix("spine-disks-").tempdir()?;
        let directory = tempfile::Builder::new().prefix("spine-chaos-").tempdir()?;
        let mut disks = Vec::new();
        for node in 1..=options.nodes {
            disks.push(mount(&program, mounts.path(), directory.path(), node)?);
        }
        let cluster = Cluster::start_in(directory, options, settings).await?;
        let disks = Self {
            disks,
            _mounts: mounts,
        };
        Ok((cluster, disks))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.disks.len()
    }

    /// That of a node.
    pub(super) fn of(&self, node: usize) -> &FaultDisk {
        &self.disks[node]
    }

    /// Gives an order to a node's disk.
    ///
    /// # Errors
    /// The disk ended.
    pub fn order(&self, node: usize, command: &Command) -> Result<(), ClusterError> {
        self.of(node).order(command)?;
        Ok(())
    }

    /// Turns the power of all of them off: syncs that wait have their answer.
    pub(super) fn cut(&self) {
        for disk in &self.disks {
            let _ = disk.power_cut(Cut::Clean);
        }
    }
}

/// A disk behind the path where the node will have its data.
fn mount(program: &Path, mounts: &Path, directory: &Path, node: usize) -> Result<FaultDisk, ClusterError> {
    let name = format!("node-{node}");
    let (point, home) = (mounts.join(&name), directory.join(&name));
    std::fs::create_dir(&point)?;
    std::fs::create_dir(&home)?;
    let disk = FaultDisk::mount(program, &point)?;
    symlink(&point, home.join("data"))?;
    Ok(disk)
}
