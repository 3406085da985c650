//! Several nodes that are one cluster: the client library's own, with what a test needs on top.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spine_client::local_cluster::{LocalCluster, Plan, free_ports};
use spine_client::{Admin, SpineClient};
use spine_proto::admin::v1::GetClusterStatusResponse;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{ClusterError, links, signals};
use crate::checkers::durability::Replica;
use crate::history::Value;
use crate::oracle::Oracle;
use crate::proxy::Mesh;
use crate::report::{Journal, Ongoing};
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
    shards: u32,
    /// The links between the nodes and from the clients; none where they are the kernel's own.
    mesh: Option<Mesh>,
    /// Where clients are sent: the nodes themselves or the proxies before them.
    grpc: Vec<String>,
    /// Where clients of FHIR are sent; empty where the nodes do not listen for them.
    http: Vec<String>,
    journal: Journal,
    /// What was done to each node and goes on.
    ongoing: Vec<Option<Ongoing>>,
}

impl Cluster {
    /// Starts the processes, makes them one cluster, and waits until it is healthy.
    ///
    /// # Errors
    /// A node that does not start, or a cluster that does not become healthy in time.
    pub async fn start(options: &Options) -> Result<Self, ClusterError> {
        Self::launch(new_directory()?, options, test_settings(&[]), None).await
    }

    /// The same with the settings that a node has by itself, for whoever measures.
    ///
    /// # Errors
    /// A node that does not start, or a cluster that does not become healthy in time.
    pub async fn start_with_defaults(options: &Options) -> Result<Self, ClusterError> {
        Self::start_with(options, Vec::new()).await
    }

    /// The same with these settings changed, each `section.name=value`.
    ///
    /// # Errors
    /// A node that does not start, or a cluster that does not become healthy in time.
    pub async fn start_with(options: &Options, settings: Vec<String>) -> Result<Self, ClusterError> {
        Self::launch(new_directory()?, options, settings, None).await
    }

    /// The same with nodes that answer over HTTP, too.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_http(options: &Options, settings: Vec<String>) -> Result<Self, ClusterError> {
        let ports = free_ports(options.nodes)?;
        let http: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self::launch_listening(new_directory()?, options, settings, None, http).await
    }

    /// The same with the nodes' own settings and a proxy for every link.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_linked_with_defaults(options: &Options, seed: u64) -> Result<Self, ClusterError> {
        Self::launch(new_directory()?, options, Vec::new(), Some(seed)).await
    }

    /// The same with a proxy for every link, see [`Self::mesh`]; `seed` draws what they draw.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_linked(options: &Options, seed: u64) -> Result<Self, ClusterError> {
        Self::start_linked_with(options, seed, &[]).await
    }

    /// The same with further settings of every node.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_linked_with(
        options: &Options,
        seed: u64,
        settings: &[String],
    ) -> Result<Self, ClusterError> {
        Self::launch(new_directory()?, options, test_settings(settings), Some(seed)).await
    }

    /// The same in a directory made for it, with further settings of every node.
    pub(super) async fn start_in(
        directory: TempDir,
        options: &Options,
        settings: &[String],
    ) -> Result<Self, ClusterError> {
        Self::launch(directory, options, test_settings(settings), None).await
    }

    async fn launch(
        directory: TempDir,
        options: &Options,
        settings: Vec<String>,
        links: Option<u64>,
    ) -> Result<Self, ClusterError> {
        Self::launch_listening(directory, options, settings, links, Vec::new()).await
    }

    async fn launch_listening(
        directory: TempDir,
        options: &Options,
        settings: Vec<String>,
        links: Option<u64>,
        http: Vec<String>,
    ) -> Result<Self, ClusterError> {
        let program = options.programs.join("spine-node");
        if !program.is_file() {
            return Err(ClusterError::NotBuilt { program });
        }
        let mut plan = Plan {
            dir: Some(directory.path().to_owned()),
            nodes: options.nodes,
            shards: options.shards,
            settings,
            node_settings: http
                .iter()
                .map(|address| vec![format!("listen.http={address}")])
                .collect(),
            ..Plan::new(program)
        };
        let mesh = match links {
            Some(seed) => Some(links::put_between(&mut plan, seed).await?),
            None => None,
        };
        let local = LocalCluster::launch(plan, START_TIME).await?;
        let own = local.nodes().iter().map(|node| node.grpc_address().to_owned());
        let grpc = match &mesh {
            Some(mesh) => (0..options.nodes)
                .map(|node| mesh.front(node).address().to_string())
                .collect(),
            None => own.collect(),
        };
        Ok(Self {
            local,
            directory,
            nodes: options.nodes,
            shards: options.shards,
            mesh,
            grpc,
            http,
            journal: Journal::default(),
            ongoing: vec![None; options.nodes],
        })
    }

    /// What is noted of this run.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Notes everything there from now on.
    #[must_use]
    pub fn noted_in(mut self, journal: Journal) -> Self {
        self.note_in(journal);
        self
    }

    /// The same.
    pub(super) fn note_in(&mut self, journal: Journal) {
        self.journal = journal;
    }

    /// Notes that something is done to a node, until [`Self::ended`].
    pub(crate) fn began(&mut self, node: usize, what: &str) {
        self.ended(node);
        self.ongoing[node] = Some(self.journal.begin(format!("n{} {what}", node + 1)));
    }

    /// Notes that it is over.
    pub(crate) fn ended(&mut self, node: usize) {
        if let Some(ongoing) = self.ongoing[node].take() {
            self.journal.end(ongoing);
        }
    }

    /// The links, where the cluster was started with proxies.
    #[must_use]
    pub fn mesh(&self) -> Option<&Mesh> {
        self.mesh.as_ref()
    }

    /// What the kernel would do at a node's ports; a proxy accepts for a dead process otherwise.
    fn set_listening(&self, node: usize, listening: bool) {
        if let Some(mesh) = &self.mesh {
            mesh.set_listening(node, listening);
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many shards hold records; they have the numbers from 1.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// Where clients of FHIR reach each node; empty where the nodes do not listen for them.
    #[must_use]
    pub fn http(&self) -> &[String] {
        &self.http
    }

    /// Waits until every process answers, whatever it says.
    ///
    /// # Errors
    /// One does not within `limit`, or ended.
    pub async fn wait_answering(&self, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        for node in 0..self.nodes {
            while let Err(error) = self.admin(node)?.node_status().await {
                self.check_alive()?;
                if Instant::now() > end {
                    let what = format!("an answer of node {}", node + 1);
                    let seen = error.to_string();
                    return Err(ClusterError::Waited { what, limit, seen });
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn grpc(&self, node: usize) -> &str {
        &self.grpc[node]
    }

    /// What a node is started as.
    #[must_use]
    pub fn program(&self) -> &Path {
        self.local.program()
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
        self.set_listening(node, false);
        self.began(node, "killed");
        Ok(self.local.kill(node + 1)?)
    }

    /// Stops a node as planned and waits for its end.
    ///
    /// # Errors
    /// What the kernel says, or it does not end within `limit`.
    pub async fn stop(&mut self, node: usize, limit: Duration) -> Result<(), ClusterError> {
        self.set_listening(node, false);
        self.began(node, "stopped");
        if self.local.stop(node + 1, limit).await? {
            return Ok(());
        }
        Err(ClusterError::Waited {
            what: format!("the end of node {}", node + 1),
            limit,
            seen: "it was killed".to_owned(),
        })
    }

    /// What a node's metrics page says.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self, node: usize) -> std::io::Result<String> {
        let [_, _, admin] = self.ports(node);
        let mut stream = TcpStream::connect(admin).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }

    /// Ends all nodes at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill_all(&mut self) -> Result<(), ClusterError> {
        for node in 0..self.nodes {
            self.set_listening(node, false);
            self.began(node, "killed");
        }
        Ok(self.local.kill_all()?)
    }

    /// Waits for the end of a node that was asked to end.
    ///
    /// # Errors
    /// It goes on beyond `limit`.
    pub async fn wait_ended(&self, node: usize, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        while self.pid(node).is_some_and(signals::is_running) {
            if Instant::now() >= end {
                return Err(ClusterError::Waited {
                    what: format!("the end of node {}", node + 1),
                    limit,
                    seen: "it runs".to_owned(),
                });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts a node again on its data; does not wait until it serves.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, node: usize) -> Result<(), ClusterError> {
        self.local.restart(node + 1)?;
        self.set_listening(node, true);
        self.ended(node);
        Ok(())
    }

    /// The same as another program, from now on.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart_as(&mut self, node: usize, program: &Path) -> Result<(), ClusterError> {
        self.local.restart_as(node + 1, program)?;
        self.set_listening(node, true);
        self.ended(node);
        Ok(())
    }

    /// Stops a node where it is; its connections stay open.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pause(&mut self, node: usize) -> Result<(), ClusterError> {
        self.began(node, "paused");
        Ok(self.local.pause(node + 1)?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resume(&mut self, node: usize) -> Result<(), ClusterError> {
        self.ended(node);
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

    /// Lines of the level ERROR in the logs of all nodes.
    #[must_use]
    pub fn errors_logged(&self) -> Vec<String> {
        let errors = self.local.nodes().iter().flat_map(|node| {
            let log = node.log_tail(usize::MAX);
            let errors = log.lines().filter(|line| line.contains(" ERROR "));
            errors
                .map(|line| format!("node {}: {line}", node.number()))
                .collect::<Vec<_>>()
        });
        errors.collect()
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

    /// Waits until every node leads its share of the shards.
    ///
    /// # Errors
    /// They do not within `limit`, or the first node does not answer.
    pub async fn wait_leaders_spread(&self, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        loop {
            let status = self.status(0).await?;
            let mut led = vec![0_usize; self.nodes + 1];
            for shard in &status.shards {
                let leader = usize::try_from(shard.leader_node_id).unwrap_or(0);
                if let Some(count) = led.get_mut(leader) {
                    *count += 1;
                }
            }
            let share = status.shards.len() / self.nodes;
            if led.iter().skip(1).all(|count| *count >= share) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(ClusterError::Waited {
                    what: "leaders spread evenly".to_owned(),
                    limit,
                    seen: format!("{led:?}"),
                });
            }
            sleep(POLL).await;
        }
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
        // Never through a proxy: what is looked at must not depend on what is done to the links.
        let address = self.local.nodes()[node].grpc_address();
        let client = SpineClient::builder()
            .endpoints([address])
            .principal("chaos")
            .connect()?;
        Ok(client.admin(address)?.with_deadline(ADMIN_DEADLINE))
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

    /// Where one node's files are.
    #[must_use]
    pub fn node_directory(&self, node: usize) -> &Path {
        self.local.nodes()[node].dir()
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

fn new_directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("spine-chaos-").tempdir()
}

fn test_settings(more: &[String]) -> Vec<String> {
    let own = SETTINGS.iter().map(|setting| (*setting).to_owned());
    own.chain(more.iter().cloned()).collect()
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
