//! Several nodes that are one cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spine_client::{Admin, SpineClient};
use spine_cluster_config::Config;
use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse, Health};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{ClusterError, NodeProcess, ports};
use crate::checkers::durability::Replica;
use crate::history::Value;
use crate::oracle::Oracle;
use crate::workload::{Register, library_key};

/// Pause between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(100);
/// One administrative call.
const ADMIN_DEADLINE: Duration = Duration::from_secs(5);
/// Log segments of test clusters: small, because each is written in full in advance.
const SEGMENT_BYTES: u64 = 4 << 20;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: usize,
    pub shards: u32,
    /// Holds `spine-node`.
    pub programs: PathBuf,
}

/// A cluster in a directory of its own. Ends its processes, and only those, when dropped.
pub struct Cluster {
    pub nodes: Vec<NodeProcess>,
    directory: TempDir,
    options: Options,
}

impl Cluster {
    /// Starts the processes, makes them one cluster, and waits until it is healthy.
    ///
    /// # Errors
    /// A node that does not start, or a cluster that does not become healthy in time.
    pub async fn start(options: Options) -> Result<Self, ClusterError> {
        let program = options.programs.join("spine-node");
        if !program.is_file() {
            return Err(ClusterError::NotBuilt { program });
        }
        let directory = tempfile::Builder::new().prefix("spine-chaos-").tempdir()?;
        let ports = ports::free(options.nodes * 3)?;
        let mut nodes = Vec::new();
        let seeds: Vec<String> = (0..options.nodes)
            .map(|node| format!("127.0.0.1:{}", ports[node * 3 + 1]))
            .collect();
        for number in 0..options.nodes {
            let mut config = Config::default();
            config.cluster.seeds.clone_from(&seeds);
            config.storage.segment_bytes = SEGMENT_BYTES;
            let own = [ports[number * 3], ports[number * 3 + 1], ports[number * 3 + 2]];
            nodes.push(NodeProcess::new(number, &program, directory.path(), own, config)?);
        }
        let mut cluster = Self {
            nodes,
            directory,
            options,
        };
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.initialise(Duration::from_secs(30)).await?;
        cluster.wait_healthy(Duration::from_secs(60)).await?;
        Ok(cluster)
    }

    async fn initialise(&mut self, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        let peers: Vec<String> = self.nodes.iter().map(|node| node.peer.clone()).collect();
        let replicas = if self.nodes.len() == 1 { 1 } else { 3 };
        loop {
            self.check_alive()?;
            let admin = self.admin(0)?;
            match admin
                .init_cluster(peers.clone(), self.options.shards, replicas)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= end => return Err(error.into()),
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// # Errors
    /// A node ended without being told to.
    pub fn check_alive(&mut self) -> Result<(), ClusterError> {
        self.nodes.iter_mut().try_for_each(NodeProcess::check_alive)
    }

    /// Waits until the cluster calls itself healthy.
    ///
    /// # Errors
    /// It does not within `limit`, or a node ended.
    pub async fn wait_healthy(&mut self, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        let mut seen = String::new();
        while Instant::now() < end {
            self.check_alive()?;
            match self.status(0).await {
                Ok(status) if status.health() == Health::Healthy => return Ok(()),
                Ok(status) => seen = status.reasons.join("; "),
                Err(error) => seen = error.to_string(),
            }
            sleep(POLL).await;
        }
        Err(ClusterError::Waited {
            what: "a healthy cluster".to_owned(),
            limit,
            seen,
        })
    }

    /// The cluster as a node sees it.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn status(&self, node: usize) -> Result<GetClusterStatusResponse, ClusterError> {
        Ok(self.admin(node)?.cluster_status().await?)
    }

    /// The node itself.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn node_status(&self, node: usize) -> Result<GetNodeStatusResponse, ClusterError> {
        Ok(self.admin(node)?.node_status().await?)
    }

    /// Waits until all replicas of every shard have applied the same index and have the same digest.
    ///
    /// # Errors
    /// They do not within `limit`.
    pub async fn wait_equal(&mut self, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        let mut seen = String::new();
        while Instant::now() < end {
            self.check_alive()?;
            match self.status(0).await {
                Ok(status) => match unequal(&status, self.nodes.len()) {
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

    /// A client that knows all nodes.
    ///
    /// # Errors
    /// Never with addresses of this cluster.
    pub fn client(&self, deadline: Duration) -> Result<SpineClient, ClusterError> {
        let endpoints: Vec<&str> = self.nodes.iter().map(|node| node.grpc.as_str()).collect();
        Ok(SpineClient::builder()
            .endpoints(endpoints)
            .principal("chaos")
            .deadline(deadline)
            .connect()?)
    }

    /// A client that knows one node only, at first.
    ///
    /// # Errors
    /// Never with addresses of this cluster.
    pub fn client_of(&self, node: usize, deadline: Duration) -> Result<SpineClient, ClusterError> {
        let endpoint = [self.nodes[node].grpc.as_str()];
        Ok(SpineClient::builder()
            .endpoints(endpoint)
            .principal("chaos")
            .deadline(deadline)
            .connect()?)
    }

    /// Administration of one node.
    ///
    /// # Errors
    /// Never with addresses of this cluster.
    pub fn admin(&self, node: usize) -> Result<Admin, ClusterError> {
        let client = self.client_of(node, ADMIN_DEADLINE)?;
        Ok(client
            .admin(&self.nodes[node].grpc)?
            .with_deadline(ADMIN_DEADLINE))
    }

    /// The node that leads the shard of a routing key, found by asking all of them who leads what.
    ///
    /// # Errors
    /// No node answers.
    pub async fn leader_of(&self, shard: u32, ask: usize) -> Result<Option<usize>, ClusterError> {
        let status = self.status(ask).await?;
        let leader = status.shards.iter().find(|summary| summary.shard == shard);
        let leader = leader.map_or(0, |summary| summary.leader_node_id);
        let summary = status.nodes.iter().find(|node| node.node_id == leader);
        let address = summary.map(|node| node.grpc_address.as_str());
        Ok(self
            .nodes
            .iter()
            .position(|node| Some(node.grpc.as_str()) == address))
    }

    /// What every node's own replica holds of the registers a history wrote.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn replicas(&self, oracle: &Oracle) -> Result<Vec<Replica>, ClusterError> {
        let mut replicas = Vec::new();
        for node in 0..self.nodes.len() {
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
