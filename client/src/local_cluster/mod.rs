//! A cluster of real `spine-node` processes on loopback, for demonstrations and tests: starts,
//! kills, pauses and restarts them, and always takes its own processes with it.

mod config;
mod ports;
mod process;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spine_proto::admin::v1::{GetClusterStatusResponse, Health};
use tokio::time::{Instant, sleep};

use crate::client::{Builder, SpineClient};
use crate::error::Error;
pub use process::LocalNode;

/// Who calls, in the development mode of such a cluster.
pub const PRINCIPAL: &str = "developer";
/// Between two looks at something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// One administrative look at a node.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// Initialising waits for every node to store its part.
const INIT_DEADLINE: Duration = Duration::from_secs(30);
/// Lines of a node's log that an error shows.
const LOG_TAIL_LINES: usize = 15;

/// What went wrong with the processes themselves.
#[derive(Debug, thiserror::Error)]
pub enum LocalClusterError {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// A node ended or did not become ready in time.
    #[error("node {node} is not ready: {why}\n{log_tail}")]
    NotReady {
        /// From 1.
        node: usize,
        /// For people.
        why: String,
        /// The end of its log.
        log_tail: String,
    },
    /// The cluster did not become what was waited for in time.
    #[error("{0}")]
    TimedOut(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] Error),
}

impl LocalClusterError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Describes a cluster to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `spine-node` program.
    pub node_binary: PathBuf,
    /// Data, settings and logs go below this directory. A throw-away cluster of its own temporary
    /// directory where it is `None`.
    pub dir: Option<PathBuf>,
    /// 1 to 9.
    pub nodes: usize,
    /// 0: the cluster's default.
    pub shards: u32,
    /// Further settings of every node, as `section.key=value`.
    pub settings: Vec<String>,
    /// Further settings of single nodes, in their order; nodes beyond have none.
    pub node_settings: Vec<Vec<String>>,
    /// Ports of loopback for clients, peers and administration of each node, for a caller who must know them
    /// first. Empty: free ones.
    pub ports: Vec<[u16; 3]>,
}

impl Plan {
    /// Three nodes in a temporary directory.
    pub fn new(node_binary: impl Into<PathBuf>) -> Self {
        Self {
            node_binary: node_binary.into(),
            dir: None,
            nodes: 3,
            shards: 0,
            settings: Vec::new(),
            node_settings: Vec::new(),
            ports: Vec::new(),
        }
    }
}

/// So many ports of loopback that nobody listens on now.
///
/// # Errors
/// `AddrNotAvailable` where there are not so many.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    ports::free(count)
}

/// Where `spine-node` is expected: beside the running program, or one directory above it, where
/// cargo puts the programs of a test or an example.
#[must_use]
pub fn find_node_binary() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("spine-node"))
        .find(|path| path.is_file())
}

fn ports_of(plan: &Plan) -> io::Result<Vec<[u16; 3]>> {
    if !plan.ports.is_empty() {
        return Ok(plan.ports.clone());
    }
    let free = ports::free(plan.nodes * 3)?;
    Ok(free
        .chunks_exact(3)
        .map(|three| [three[0], three[1], three[2]])
        .collect())
}

/// Running processes. Dropping it kills them all and removes a temporary directory.
pub struct LocalCluster {
    plan: Plan,
    // Before the directory, so that the processes are dead when it goes.
    nodes: Vec<LocalNode>,
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    client: SpineClient,
}

impl std::fmt::Debug for LocalCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCluster")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl LocalCluster {
    /// Writes settings and starts the processes; they serve once [`Self::wait_started`] says so.
    ///
    /// # Errors
    /// Where files cannot be written or processes not be started.
    pub fn start(plan: Plan) -> Result<Self, LocalClusterError> {
        let (dir, temporary) = match &plan.dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let made = tempfile::Builder::new().prefix("spine-").tempdir();
                let made = made.map_err(LocalClusterError::io("make a temporary directory"))?;
                (made.path().to_path_buf(), Some(made))
            }
        };
        let ports = ports_of(&plan).map_err(LocalClusterError::io("find free ports"))?;
        let mut nodes = Vec::new();
        for (number, ports) in (1..).zip(ports.into_iter().take(plan.nodes)) {
            let [grpc, peer, admin] = ports.map(|port| format!("127.0.0.1:{port}"));
            nodes.push(LocalNode::new(number, &plan.node_binary, &dir, grpc, peer, admin));
        }
        let peers: Vec<String> = nodes.iter().map(|node| node.peer_address().to_owned()).collect();
        let endpoints: Vec<String> = nodes.iter().map(|node| node.grpc_address().to_owned()).collect();
        for node in &mut nodes {
            let mut settings = plan.settings.clone();
            settings.extend(
                plan.node_settings
                    .get(node.number() - 1)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            config::write(node, &peers, &settings)?;
            node.spawn()?;
        }
        let client = SpineClient::builder()
            .endpoints(endpoints)
            .principal(PRINCIPAL)
            .connect()?;
        Ok(Self {
            plan,
            nodes,
            dir,
            _temporary: temporary,
            client,
        })
    }

    /// Starts, initialises and waits until every shard serves.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn launch(plan: Plan, within: Duration) -> Result<Self, LocalClusterError> {
        let until = Instant::now() + within;
        let mut cluster = Self::start(plan)?;
        for number in 1..=cluster.nodes.len() {
            cluster
                .wait_started(number, until.saturating_duration_since(Instant::now()))
                .await?;
        }
        // A node whose disk is busy with something else may be too late to answer; asking again is harmless.
        while let Err(error) = cluster.init().await {
            if Instant::now() >= until {
                return Err(error);
            }
            sleep(POLL_INTERVAL).await;
        }
        cluster
            .wait_healthy(until.saturating_duration_since(Instant::now()))
            .await?;
        Ok(cluster)
    }

    /// Makes one cluster of the nodes.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn init(&self) -> Result<(), LocalClusterError> {
        let peers = self
            .nodes
            .iter()
            .map(|node| node.peer_address().to_owned())
            .collect();
        let admin = self
            .client
            .admin(self.nodes[0].grpc_address())?
            .with_deadline(INIT_DEADLINE);
        admin.init_cluster(peers, self.plan.shards, 0).await?;
        Ok(())
    }

    /// Waits until a node answers.
    ///
    /// # Errors
    /// `NotReady` with the end of its log.
    pub async fn wait_started(&mut self, number: usize, within: Duration) -> Result<(), LocalClusterError> {
        let until = Instant::now() + within;
        let client = self.client.clone();
        let node = self.node_mut(number);
        let admin = client.admin(node.grpc_address())?.with_deadline(LOOK_DEADLINE);
        loop {
            let why = match admin.node_status().await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            let ended = node.ended();
            if ended.is_some() || Instant::now() >= until {
                let why = ended.map_or(why, |status| format!("the process ended: {status}"));
                let log_tail = node.log_tail(LOG_TAIL_LINES);
                return Err(LocalClusterError::NotReady {
                    node: number,
                    why,
                    log_tail,
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until every running node calls the cluster healthy.
    ///
    /// # Errors
    /// `TimedOut` with the last reasons.
    pub async fn wait_healthy(&self, within: Duration) -> Result<(), LocalClusterError> {
        self.wait_status(within, "healthy", |status| status.health() == Health::Healthy)
            .await
    }

    /// Waits until every replica of every shard has applied what the furthest one had when this
    /// began, and the cluster is healthy.
    ///
    /// # Errors
    /// `TimedOut` with the last reasons.
    pub async fn wait_caught_up(&self, within: Duration) -> Result<(), LocalClusterError> {
        self.wait_status(within, "caught up", |status| {
            let even = status.shards.iter().all(|shard| {
                let last = shard.replicas.iter().map(|r| r.last_log_index).max().unwrap_or(0);
                shard
                    .replicas
                    .iter()
                    .all(|r| r.reachable && r.applied_index >= last)
            });
            even && status.health() == Health::Healthy
        })
        .await
    }

    async fn wait_status(
        &self,
        within: Duration,
        what: &str,
        holds: impl Fn(&GetClusterStatusResponse) -> bool,
    ) -> Result<(), LocalClusterError> {
        let until = Instant::now() + within;
        let running: Vec<&LocalNode> = self.nodes.iter().filter(|node| node.is_running()).collect();
        for node in running {
            loop {
                let admin = self
                    .client
                    .admin(node.grpc_address())?
                    .with_deadline(LOOK_DEADLINE);
                let seen = match admin.cluster_status().await {
                    Ok(status) if holds(&status) => break,
                    Ok(status) => status.reasons.join("; "),
                    Err(error) => error.to_string(),
                };
                if Instant::now() >= until {
                    let number = node.number();
                    let message = format!("the cluster is not {what} in time; node {number} says: {seen}");
                    return Err(LocalClusterError::TimedOut(message));
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// The nodes, the first one has number 1.
    #[must_use]
    pub fn nodes(&self) -> &[LocalNode] {
        &self.nodes
    }

    /// The program that nodes began as.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.plan.node_binary
    }

    /// Where data, settings and logs are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// gRPC addresses of all nodes.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.grpc_address().to_owned())
            .collect()
    }

    /// Starts to describe a further client of this cluster.
    #[must_use]
    pub fn client_builder(&self) -> Builder {
        SpineClient::builder()
            .endpoints(self.endpoints())
            .principal(PRINCIPAL)
    }

    /// The cluster's own client.
    #[must_use]
    pub fn client(&self) -> &SpineClient {
        &self.client
    }

    /// SIGKILL. The node's data stay.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn kill(&mut self, number: usize) -> Result<(), LocalClusterError> {
        self.node_mut(number).kill()
    }

    /// SIGKILL to all nodes, before any is waited for.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn kill_all(&mut self) -> Result<(), LocalClusterError> {
        for node in &mut self.nodes {
            node.signal_kill()?;
        }
        self.nodes.iter_mut().try_for_each(LocalNode::kill)
    }

    /// SIGSTOP: the process neither runs nor ends.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn pause(&mut self, number: usize) -> Result<(), LocalClusterError> {
        self.node_mut(number).pause()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn resume(&mut self, number: usize) -> Result<(), LocalClusterError> {
        self.node_mut(number).resume()
    }

    /// SIGTERM, then waits; SIGKILL where that takes longer than `within`. True where it ended by
    /// itself with exit code 0.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub async fn stop(&mut self, number: usize, within: Duration) -> Result<bool, LocalClusterError> {
        self.node_mut(number).stop(within).await
    }

    /// Starts a node again on its data.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn restart(&mut self, number: usize) -> Result<(), LocalClusterError> {
        self.node_mut(number).spawn()
    }

    /// Starts a node again on its data, as another program from now on.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn restart_as(&mut self, number: usize, binary: &Path) -> Result<(), LocalClusterError> {
        let node = self.node_mut(number);
        node.set_binary(binary);
        node.spawn()
    }

    fn node_mut(&mut self, number: usize) -> &mut LocalNode {
        &mut self.nodes[number - 1]
    }
}
