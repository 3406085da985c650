//! A cluster of real processes, each on a disk that can be troubled. Needs root and `/dev/fuse`.

use std::time::Duration;

use spine_faultdisk::{Command, Cut};
use tokio::time::{Instant, sleep};

use super::{Cluster, ClusterError, Disks, Options};
use crate::report::Journal;

const POLL: Duration = Duration::from_millis(10);

/// Nodes and disks count from 0. Everything ends with it, mounts too.
pub struct FaultyCluster {
    cluster: Cluster,
    /// After the cluster: its processes are dead when they go.
    disks: Disks,
}

impl FaultyCluster {
    /// Mounts a disk for each node's data, and starts the cluster on them with these further settings.
    ///
    /// # Errors
    /// A disk that cannot be mounted, and those of [`Cluster::start`].
    pub async fn start(options: &Options, settings: &[String]) -> Result<Self, ClusterError> {
        let (cluster, disks) = Disks::with_cluster(options, settings).await?;
        Ok(Self { cluster, disks })
    }

    /// What happens to it is noted there from now on.
    #[must_use]
    pub fn noted_in(mut self, journal: Journal) -> Self {
        self.cluster.note_in(journal);
        self
    }

    /// The processes.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The processes, for what changes them.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Gives an order to a node's disk.
    ///
    /// # Errors
    /// The disk ended.
    pub fn order(&self, node: usize, command: &Command) -> Result<(), ClusterError> {
        self.cluster
            .journal()
            .note(format!("disk of node {}: {command}", node + 1));
        self.disks.order(node, command)
    }

    /// Turns off the power of these nodes: disks first, so that nothing reaches them while the processes die. The
    /// disks have power again on return; the processes are dead.
    ///
    /// # Errors
    /// A disk or the kernel refuses.
    pub fn power_cut(&mut self, nodes: &[usize], cut: Cut) -> Result<(), ClusterError> {
        for node in nodes {
            let journal = self.cluster.journal();
            journal.note(format!("power cut of node {}: {cut}", node + 1));
            let disk = self.disks.of(*node);
            if disk.counters()?.on {
                disk.power_cut(own(cut, *node))?;
            }
        }
        if nodes.len() == self.disks.count() {
            self.cluster.kill_all()?;
        } else {
            nodes.iter().try_for_each(|node| self.cluster.kill(*node))?;
        }
        for node in nodes {
            self.disks.of(*node).power_on()?;
        }
        Ok(())
    }

    /// Turns off the power of one node during the change of its disk that comes after `changes` others, or after
    /// `limit` if it makes so few. As [`Self::power_cut`] otherwise.
    ///
    /// # Errors
    /// A disk or the kernel refuses.
    pub async fn power_cut_after(
        &mut self,
        node: usize,
        changes: u64,
        cut: Cut,
        limit: Duration,
    ) -> Result<(), ClusterError> {
        self.order(node, &Command::PowerCutAfter(changes, cut))?;
        let end = Instant::now() + limit;
        while self.disks.of(node).counters()?.on && Instant::now() < end {
            sleep(POLL).await;
        }
        self.power_cut(&[node], cut)
    }
}

/// No two disks have the same luck.
fn own(cut: Cut, node: usize) -> Cut {
    match cut {
        Cut::Clean => Cut::Clean,
        Cut::Torn(seed) => Cut::Torn(seed.wrapping_add(node as u64)),
    }
}

impl Drop for FaultyCluster {
    fn drop(&mut self) {
        // A process whose sync waits cannot be killed before it has its answer.
        self.disks.cut();
    }
}
