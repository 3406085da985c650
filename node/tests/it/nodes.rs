//! Whole nodes in this process: simulated disks, real sockets of loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spine_client::local_cluster::free_ports;
use spine_cluster_config::{Config, Listen, LogFormat, Mode, Node as NodeName, Security};
use spine_consensus::transport::WatchDriver;
use spine_node::clock::SystemClock;
use spine_node::node::{Inner, NodeError, Parts};
use spine_node::start::Node;
use spine_node::telemetry::logging;
use spine_node::version::Release;
use spine_proto::admin::v1::{InitClusterRequest, InitClusterResponse};
use spine_services::{Principal, SpineError, catalogue};
use spine_storage::Driver;
use spine_storage::disk::SimDisk;
use spine_storage::engine::{EngineFactory, MemoryFactory};
use tokio::time::{Instant, sleep};

use crate::cut::{Cut, CutNet};

/// Nothing that is waited for takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// One machine: its settings and its disk outlive the node.
pub(crate) struct Machine {
    pub(crate) config: Config,
    pub(crate) disk: SimDisk,
    pub(crate) cut: Cut,
    /// Another engine than the one in memory, and a thread that makes checkpoints.
    pub(crate) engine: Option<Arc<dyn EngineFactory>>,
    /// What the node runs as from its next start on.
    pub(crate) release: Release,
    pub(crate) node: Option<Node>,
}

impl Machine {
    /// So many machines that know each other; none runs yet. `SPINE_TEST_LOG=info` shows what their nodes say.
    pub(crate) fn several(count: usize) -> Vec<Self> {
        if let Ok(filter) = std::env::var("SPINE_TEST_LOG") {
            // Another test of this process may have done it.
            logging::init(LogFormat::Text, &filter).ok();
        }
        let ports = free_ports(4 * count).unwrap();
        let at = |i: usize| format!("127.0.0.1:{}", ports[i]);
        let seeds: Vec<String> = (0..count).map(|number| at(4 * number)).collect();
        (0..count)
            .map(|number| {
                let listen = Listen {
                    peer: at(4 * number),
                    grpc: at(4 * number + 1),
                    admin: at(4 * number + 2),
                    http: at(4 * number + 3),
                    ..Listen::default()
                };
                Self {
                    config: config(number, listen, &seeds),
                    disk: SimDisk::new(number as u64),
                    cut: Cut::default(),
                    engine: None,
                    release: Release::this(),
                    node: None,
                }
            })
            .collect()
    }

    /// Starts the node; waits until the listeners of its last life have closed.
    pub(crate) async fn start(&mut self) -> Result<(), NodeError> {
        let limit = Instant::now() + SOON;
        loop {
            match self.try_start().await {
                Err(NodeError::Listen { .. }) if Instant::now() < limit => {
                    sleep(Duration::from_millis(10)).await;
                }
                started => return started,
            }
        }
    }

    async fn try_start(&mut self) -> Result<(), NodeError> {
        let disk = self.disk.clone();
        let tasks = Driver::Tasks {
            sync_latency: Duration::from_millis(1),
        };
        let (engine, storage_driver) = match &self.engine {
            Some(engine) => (Arc::clone(engine), Driver::Threads),
            None => (Arc::new(MemoryFactory::new(disk.shared())) as _, tasks),
        };
        let parts = Parts {
            disk: disk.shared(),
            net: Arc::new(CutNet(self.cut.clone())),
            clock: Arc::new(SystemClock),
            engine,
            storage_driver,
            watch_driver: WatchDriver::Task,
            seed: rand::random(),
            release: self.release.clone(),
        };
        self.node = Some(Node::start(self.config.clone(), parts, None).await?);
        Ok(())
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(self.node.as_ref().unwrap().inner())
    }

    /// Begins a cluster of these peers.
    pub(crate) async fn init(&self, peers: &[String]) -> Result<InitClusterResponse, SpineError> {
        let request = InitClusterRequest {
            peer_addresses: peers.to_vec(),
            shards: 1,
            ..InitClusterRequest::default()
        };
        self.inner().init_cluster(request).await
    }
}

fn config(number: usize, listen: Listen, seeds: &[String]) -> Config {
    let mut config = Config {
        node: NodeName {
            name: format!("node-{number}"),
            data_dir: PathBuf::from("/data"),
            ..NodeName::default()
        },
        listen,
        security: Security {
            mode: Mode::Development,
            development_principal: "test".to_owned(),
        },
        ..Config::default()
    };
    config.cluster.seeds = seeds.to_vec();
    config.storage.segment_bytes = 256 << 10;
    config.storage.checkpoint_bytes = 1 << 20;
    config.storage.full_below_bytes = 128 << 10;
    config
}

/// The peer addresses of all.
pub(crate) fn peers(machines: &[Machine]) -> Vec<String> {
    machines
        .iter()
        .map(|machine| machine.config.listen.peer.clone())
        .collect()
}

/// A cluster with one shard whose leader everybody knows.
pub(crate) async fn cluster(count: usize) -> Vec<Machine> {
    let mut machines = Machine::several(count);
    begin(&mut machines).await;
    machines
}

/// Starts all and makes them a cluster.
pub(crate) async fn begin(machines: &mut [Machine]) {
    for machine in machines.iter_mut() {
        machine.start().await.unwrap();
    }
    machines[0].init(&peers(machines)).await.unwrap();
    until("all know the leader", || leader(machines).is_some()).await;
}

/// Index of the machine that leads shard 1 in the eyes of all that run.
pub(crate) fn leader(machines: &[Machine]) -> Option<usize> {
    let mut leaders = machines
        .iter()
        .filter(|machine| machine.node.is_some())
        .map(|machine| {
            let shard = machine.inner().host.shard(1)?;
            let status = shard.group.status();
            status.leader.map(|(_, node)| node)
        });
    let first = leaders.next()??;
    let at = machines.iter().position(|machine| {
        machine.node.is_some()
            && machine
                .inner()
                .running()
                .is_some_and(|running| running.node_id == first)
    })?;
    let leading = machines[at].inner().host.shard(1)?.group.status().leading;
    (leading && leaders.all(|leader| leader == Some(first))).then_some(at)
}

pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let limit = Instant::now() + SOON;
    while !reached() {
        assert!(Instant::now() < limit, "waited until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Somebody who may do everything.
pub(crate) fn principal() -> Principal {
    Principal {
        id: "test".to_owned(),
        permissions: catalogue::permissions().into_iter().map(str::to_owned).collect(),
    }
}
