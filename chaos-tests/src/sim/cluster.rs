//! The simulated machines: one host for each node, with its own disk, and hosts for clients.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use spine_cluster_config::{Config, Listen, Mode, Node as NodeName, Security};
use spine_consensus::group::RaftGroup;
use spine_consensus::transport::WatchDriver;
use spine_node::clock::Clock;
use spine_node::node::{Inner, Parts};
use spine_node::start::Node;
use spine_node::version::Release;
use spine_storage::Driver as StorageDriver;
use spine_storage::disk::SimDisk;
use spine_storage::engine::MemoryFactory;
use turmoil::Sim;

use super::faults::Fallen;
use super::invariants::ReplicaView;
use super::net::{SimNet, Wires};
use super::releases::Releases;

/// Time on all clocks when a run begins: 1 January 2026, milliseconds since 1970.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// How long a simulated disk takes to sync.
const SYNC_LATENCY: Duration = Duration::from_millis(1);
/// Small, so that a run of seconds fills several log segments and makes several checkpoints.
const SEGMENT_BYTES: u64 = 256 << 10;
const CHECKPOINT_BYTES: u64 = 32 << 10;
const FULL_BELOW_BYTES: u64 = 128 << 10;
const LOG_KEEP_ENTRIES: u64 = 16;

/// Addresses of all nodes, `ip:port`.
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) grpc: Vec<String>,
    pub(super) peer: Vec<String>,
    pub(super) admin: Vec<String>,
    pub(super) releases: Releases,
    pub(super) verify_every: Option<u64>,
}

/// How far each node's wall clock is wrong, milliseconds.
pub(super) type ClockErrors = Vec<Arc<AtomicI64>>;

/// Virtual wall time, the same on every node but for its error.
struct SimClock {
    clock_ms: Arc<AtomicU64>,
    error_ms: Arc<AtomicI64>,
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        BEGIN_MS
            .saturating_add_unsigned(self.clock_ms.load(Ordering::Relaxed))
            .saturating_add(self.error_ms.load(Ordering::Relaxed))
    }
}

/// A running node as the run sees it. Weak: a node must end with its host's runtime, where its sockets live.
#[derive(Default)]
struct Slot {
    inner: Weak<Inner>,
    starts: u32,
}

/// All nodes of a run.
pub(super) struct Nodes {
    slots: Vec<Rc<RefCell<Slot>>>,
    disks: Vec<SimDisk>,
    clock_errors: ClockErrors,
    fallen: Fallen,
}

impl Nodes {
    /// Adds a host for each node; each starts its node anew whenever it is brought up.
    pub(super) fn start(
        sim: &mut Sim<'_>,
        names: &[String],
        settings: &Settings,
        wires: &Wires,
        clock_ms: &Arc<AtomicU64>,
    ) -> Self {
        let mut nodes = Self {
            slots: Vec::new(),
            disks: Vec::new(),
            clock_errors: ClockErrors::new(),
            fallen: Fallen::default(),
        };
        let fallen = nodes.fallen.clone();
        for (number, name) in names.iter().enumerate() {
            let seed = settings.seed.wrapping_mul(31).wrapping_add(number as u64);
            let disk = SimDisk::new(seed);
            let slot = Rc::new(RefCell::new(Slot::default()));
            nodes.slots.push(slot.clone());
            nodes.disks.push(disk.clone());
            let config = config(number, name, settings);
            let net = SimNet {
                wires: wires.clone(),
                own: sim.lookup(&**name),
            };
            let clock_ms = clock_ms.clone();
            let error_ms = Arc::<AtomicI64>::default();
            nodes.clock_errors.push(error_ms.clone());
            let fallen = fallen.clone();
            let releases = settings.releases.clone();
            sim.host(&**name, move || {
                let starts = slot.borrow().starts;
                let clock = SimClock {
                    clock_ms: clock_ms.clone(),
                    error_ms: error_ms.clone(),
                };
                let seed = seed.wrapping_add(u64::from(starts) << 32);
                let parts = parts(&disk, &net, clock, seed, releases.of(number));
                let (config, slot, fallen) = (config.clone(), slot.clone(), fallen.clone());
                async move {
                    let reason = host(config, parts, slot).await;
                    fallen.borrow_mut().push((number, reason));
                    // Whoever runs the machines ends this one, sockets and all, or the run.
                    std::future::pending().await
                }
            });
        }
        nodes
    }

    /// The disk of a node.
    pub(super) fn disk(&self, node: usize) -> &SimDisk {
        &self.disks[node]
    }

    /// A node that runs.
    pub(super) fn inner(&self, node: usize) -> Option<Arc<Inner>> {
        self.slots[node].borrow().inner.upgrade()
    }

    /// All nodes that run.
    pub(super) fn running(&self) -> impl Iterator<Item = Arc<Inner>> + '_ {
        (0..self.slots.len()).filter_map(|node| self.inner(node))
    }

    /// The disks of all nodes.
    pub(super) fn disks(&self) -> Vec<SimDisk> {
        self.disks.clone()
    }

    /// How far the clocks of all nodes are wrong.
    pub(super) fn clock_errors(&self) -> ClockErrors {
        self.clock_errors.clone()
    }

    /// Where nodes that end by themselves say so.
    pub(super) fn fallen(&self) -> Fallen {
        self.fallen.clone()
    }

    /// How often a node has started.
    pub(super) fn starts(&self, node: usize) -> u32 {
        self.slots[node].borrow().starts
    }

    /// All replicas of all nodes that are up.
    pub(super) fn views(&self, is_up: impl Fn(usize) -> bool) -> Vec<ReplicaView> {
        let mut views = Vec::new();
        for (node, slot) in self.slots.iter().enumerate().filter(|(node, _)| is_up(*node)) {
            let slot = slot.borrow();
            let Some(inner) = slot.inner.upgrade() else {
                continue;
            };
            for shard in inner.host.all() {
                views.extend(view(node, slot.starts, &shard.group));
            }
        }
        views
    }
}

/// None where the replica has stopped; its group's status then says why.
fn view(node: usize, start: u32, group: &RaftGroup) -> Option<ReplicaView> {
    let status = group.status();
    let read = group
        .store()
        .read(|view| (view.applied().map_or(0, |id| id.index), view.system().digest));
    let (applied_index, digest) = read.ok()?;
    Some(ReplicaView {
        node,
        replica: group.identity().replica_id,
        start,
        shard: group.identity().shard,
        term: status.term,
        leading: status.leading,
        committed_index: status.committed_index,
        applied_index,
        purged_index: status.purged_index,
        last_log_index: status.last_log_index,
        digest,
        stopped: status.stopped,
    })
}

/// Runs a node; why it ended.
async fn host(config: Config, parts: Parts, slot: Rc<RefCell<Slot>>) -> String {
    let node = match Node::start(config, parts, None).await {
        Ok(node) => node,
        Err(error) => return format!("the node cannot start: {error}"),
    };
    {
        let mut slot = slot.borrow_mut();
        slot.inner = Arc::downgrade(node.inner());
        slot.starts += 1;
    }
    format!("the node cannot go on: {}", node.fatal().await)
}

fn parts(disk: &SimDisk, net: &SimNet, clock: SimClock, seed: u64, release: Release) -> Parts {
    Parts {
        disk: Arc::new(disk.clone()),
        net: Arc::new(net.clone()),
        clock: Arc::new(clock),
        engine: Arc::new(MemoryFactory::new(Arc::new(disk.clone()))),
        storage_driver: StorageDriver::Tasks {
            sync_latency: SYNC_LATENCY,
        },
        watch_driver: WatchDriver::Task,
        seed,
        release,
    }
}

fn config(number: usize, name: &str, settings: &Settings) -> Config {
    let mut config = Config {
        node: NodeName {
            name: name.to_owned(),
            data_dir: PathBuf::from("/data"),
            ..NodeName::default()
        },
        listen: Listen {
            grpc: settings.grpc[number].clone(),
            peer: settings.peer[number].clone(),
            admin: settings.admin[number].clone(),
            ..Listen::default()
        },
        security: Security {
            mode: Mode::Development,
            development_principal: "chaos".to_owned(),
        },
        ..Config::default()
    };
    config.cluster.seeds.clone_from(&settings.peer);
    config.storage.segment_bytes = SEGMENT_BYTES;
    config.storage.checkpoint_bytes = CHECKPOINT_BYTES;
    config.storage.full_below_bytes = FULL_BELOW_BYTES;
    config.raft.log_keep_entries = LOG_KEEP_ENTRIES;
    if let Some(entries) = settings.verify_every {
        config.raft.verify_every_entries = entries;
    }
    config
}
