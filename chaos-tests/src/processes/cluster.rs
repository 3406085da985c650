//! Several nodes that are one cluster: the client library's own, with what a test needs on top.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spine_client::local_cluster::{LocalCluster, Plan};
use spine_client::{Admin, SpineClient};
use spine_proto::admin::v1::GetClusterStatusResponse;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{ClusterError, signals};
use crate::checkers::durability::Replica;
use crate::history::Value;
use crate::oracle::Oracle;
use crate::workload::{Register, library_key};

/// Pause between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(100);
/// One administrative call.
const ADMIN_DEADLINE: Duration = Duration::from_secs(5);
/// Small log segments, because each is written in full in advance; a loopback test disk may be small, too.
const SETTINGS: [&str; 2] = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
/// Making a cluster and seeing it healthy.
const START_TIME: Duration = Duration::from_secs(60);
/// Lines of a log shown when its node ended by itself.
const LOG_TAIL_LINES: usize = 12;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: usize,
    pub shards: u32,
    /// Holds `spine-node`.
    pub programs: PathBuf,
}

/// A cluster in a directory of its own. Ends its processes, and only those, when dropped. Nodes count from 0.
pub struct Cluster {
    local: LocalCluster,
    /// After the processes, so that they are dead when it goes.
    directory: TempDir,
    nodes: usize,
}

impl Cluster {
    /// Starts the processes, makes them one cluster, and waits until it is healthy.
    ///
    /// # Errors
    /// A node that does not start, or a cluster that does not become healthy in time.
    pub async fn start(options: &Options) -> Result<Self, ClusterError> {
        let directory = tempfile::Builder::new().prefix("spine-chaos-").tempdir()?;
        Self::start_in(directory, options, &[]).await
    }

    /// The same in a directory made for it, with further settings of every node.
    pub(super) async fn start_in(
        directory: TempDir,
        options: &Options,
        settings: &[String],
    ) -> Result<Self, ClusterError> {
        let program = options.programs.join("spine-node");
        if !program.is_file() {
            return Err(ClusterError::NotBuilt { program });
        }
        let own = SETTINGS.iter().map(|setting| (*setting).to_owned());
        let plan = Plan {
            dir: Some(directory.path().to_owned()),
            nodes: options.nodes,
            shards: options.shards,
            settings: own.chain(settings.iter().cloned()).collect(),
            ..Plan::new(program)
        };
        let local = LocalCluster::launch(plan, START_TIME).await?;
        Ok(Self {
            local,
            directory,
            nodes: options.nodes,
        })
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn grpc(&self, node: usize) -> &str {
        self.local.nodes()[node].grpc_address()
    }

    /// All ports of a node: clients, peers, administration.
    #[must_use]
    pub fn ports(&self, node: usize) -> [&str; 3] {
        let node = &self.local.nodes()[node];
        [node.grpc_address(), node.peer_address(), node.admin_address()]
    }

    /// A node's process; none while it is down.
    #[must_use]
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.local.nodes()[node].process_id()
    }

    /// Ends a node at once and waits for its end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&mut self, node: usize) -> Result<(), ClusterError> {
        Ok(self.local.kill(node + 1)?)
    }

    /// Ends all nodes at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill_all(&mut self) -> Result<(), ClusterError> {
        Ok(self.local.kill_all()?)
    }

    /// Starts a node again on its data; does not wait until it serves.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, node: usize) -> Result<(), ClusterError> {
        Ok(self.local.restart(node + 1)?)
    }

    /// Stops a node where it is; its connections stay open.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pause(&mut self, node: usize) -> Result<(), ClusterError> {
        Ok(self.local.pause(node + 1)?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resume(&mut self, node: usize) -> Result<(), ClusterError> {
        Ok(self.local.resume(node + 1)?)
    }

    /// # Errors
    /// A node ended without being told to.
    pub fn check_alive(&self) -> Result<(), ClusterError> {
        for node in self.local.nodes() {
            if node.process_id().is_some_and(|pid| !signals::is_running(pid)) {
                let tail = node.log_tail(LOG_TAIL_LINES).replace('\n', " / ");
                return Err(ClusterError::Ended {
                    node: node.number(),
                    tail,
                });
            }
        }
        Ok(())
    }

    /// Waits until every running node calls the cluster healthy.
    ///
    /// # Errors
    /// It does not within `limit`, or a node ended.
    pub async fn wait_healthy(&self, limit: Duration) -> Result<(), ClusterError> {
        let waited = self.local.wait_healthy(limit).await;
        self.check_alive()?;
        Ok(waited?)
    }

    /// The cluster as a node sees it.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn status(&self, node: usize) -> Result<GetClusterStatusResponse, ClusterError> {
        Ok(self.admin(node)?.cluster_status().await?)
    }

    /// Waits until all replicas of every shard have applied the same index and have the same digest.
    ///
    /// # Errors
    /// They do not within `limit`.
    pub async fn wait_equal(&self, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        let mut seen = String::new();
        while Instant::now() < end {
            self.check_alive()?;
            match self.status(0).await {
                Ok(status) => match unequal(&status, self.nodes) {
                    None => return Ok(()),
                    Some(why) => seen = why,
                },
                Err(error) => seen = error.to_string(),
            }
            sleep(POLL).await;
        }
        Err(ClusterError::Waited {
            what: "equal replicas".to_owned(),
            limit,
            seen,
        })
    }

    /// A client that knows these nodes at first.
    ///
    /// # Errors
    /// Never with nodes of this cluster.
    pub fn client_of(
        &self,
        nodes: impl IntoIterator<Item = usize>,
        deadline: Duration,
    ) -> Result<SpineClient, ClusterError> {
        let endpoints = nodes.into_iter().map(|node| self.grpc(node));
        Ok(SpineClient::builder()
            .endpoints(endpoints)
            .principal("chaos")
            .deadline(deadline)
            .connect()?)
    }

    /// A client that knows all nodes.
    ///
    /// # Errors
    /// Never with nodes of this cluster.
    pub fn client(&self, deadline: Duration) -> Result<SpineClient, ClusterError> {
        self.client_of(0..self.nodes, deadline)
    }

    /// Administration of one node.
    ///
    /// # Errors
    /// Never with addresses of this cluster.
    pub fn admin(&self, node: usize) -> Result<Admin, ClusterError> {
        let client = self.client_of([node], ADMIN_DEADLINE)?;
        Ok(client.admin(self.grpc(node))?.with_deadline(ADMIN_DEADLINE))
    }

    /// The node that leads a shard, as node `ask` believes.
    ///
    /// # Errors
    /// No node answers.
    pub async fn leader_of(&self, shard: u32, ask: usize) -> Result<Option<usize>, ClusterError> {
        let status = self.status(ask).await?;
        let leader = status.shards.iter().find(|summary| summary.shard == shard);
        let leader = leader.map_or(0, |summary| summary.leader_node_id);
        let summary = status.nodes.iter().find(|node| node.node_id == leader);
        let address = summary.map(|node| node.grpc_address.as_str());
        Ok((0..self.nodes).find(|node| Some(self.grpc(*node)) == address))
    }

    /// What every node's own replica holds of the registers a history wrote.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn replicas(&self, oracle: &Oracle) -> Result<Vec<Replica>, ClusterError> {
        let mut replicas = Vec::new();
        for node in 0..self.nodes {
            replicas.push(read_replica(&self.admin(node)?, &format!("n{}", node + 1), oracle).await?);
        }
        Ok(replicas)
    }

    /// Where the nodes' files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Keeps the directory after the cluster is gone, for whoever looks for the reason of a failure.
    pub fn keep_files(&mut self) {
        self.directory.disable_cleanup(true);
    }
}

/// Reads all registers of a history from one node's replica.
///
/// # Errors
/// The node does not answer.
pub(crate) async fn read_replica(
    admin: &Admin,
    name: &str,
    oracle: &Oracle,
) -> Result<Replica, spine_client::Error> {
    let mut replica = Replica {
        name: name.to_owned(),
        ..Replica::default()
    };
    for (register, _) in oracle.keys() {
        let held = admin.read_replica(&library_key(&Register::of(register))).await?;
        if !held.hosted {
            replica.elsewhere.insert(register.to_owned());
        } else if let Some((revision, value)) = held.found {
            replica
                .records
                .insert(register.to_owned(), (Value::decode(&value), revision));
        }
    }
    Ok(replica)
}

/// Why the replicas are not equal yet.
fn unequal(status: &GetClusterStatusResponse, nodes: usize) -> Option<String> {
    let replicas_of_each = nodes.min(3);
    for shard in &status.shards {
        let Some(first) = shard.replicas.first() else {
            return Some(format!("shard {} shows no replica", shard.shard));
        };
        if shard.replicas.len() < replicas_of_each {
            return Some(format!(
                "shard {} shows {} replicas",
                shard.shard,
                shard.replicas.len()
            ));
        }
        for replica in &shard.replicas {
            let same = replica.applied_index == first.applied_index && replica.digest == first.digest;
            if !(replica.reachable && same) {
                return Some(format!(
                    "shard {}: node {} at {} ({}), node {} at {} ({})",
                    shard.shard,
                    first.node_id,
                    first.applied_index,
                    first.digest,
                    replica.node_id,
                    replica.applied_index,
                    replica.digest
                ));
            }
        }
    }
    if status.shards.is_empty() {
        Some("no shards".to_owned())
    } else {
        None
    }
}
