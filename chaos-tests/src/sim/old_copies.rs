//! Nodes whose disks are put back: again and again one gets an older copy of its whole data directory, made while it ran or
//! in an earlier life of it. It may have forgotten votes and entries, so its replicas must not vote; it gets others.
//!
//! Drawn from a stream of its own. Nothing else goes wrong until the node is found out, but that another one may be down
//! when it comes back: what its peers know of a node's log between two starts they keep on disk only now and then.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use spine_consensus::transport::Stores as _;
use spine_node::node::Inner;

use super::report::{Plan, finish};
use super::run::Stage;
use super::scripted::{Cluster, Scene};
use super::supports::supports;
use super::thread::alone;
use super::trace::Trace;
use super::{SimOptions, SimReport};
use crate::scenario::Fault;
use crate::workload::seeded;

/// How much older a copy is than what it takes the place of, ms.
const AGE_MS: Range<u64> = 300..2_500;
/// A node that was stopped is down for so long, ms.
const DOWN_MS: Range<u64> = 50..1_500;
/// Peers hear of a node's log and of its start, and keep the latter, within this.
const HEARD: Duration = Duration::from_secs(1);
/// A node that got a copy has other replicas within this.
const HEALED: Duration = Duration::from_secs(60);
const STARTED: Duration = Duration::from_secs(20);
/// Of 100 copies of an earlier life so many come back while another node is down.
const BESIDE_ANOTHER: u32 = 40;

/// Runs one seed.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    let options = SimOptions {
        script: Some(Vec::new()),
        ..options.clone()
    };
    alone(&options, run_here)
}

fn run_here(options: &SimOptions) -> SimReport {
    let trace = Trace::new(options.keep_trace);
    let plan = Plan::of(&options.scenario(), supports);
    let mut stage = Stage::new(options, trace.clone());
    let ended = stage.play(|stage| {
        let mut copies = Copies {
            random: seeded(options.seed, "old copies"),
            scene: Scene {
                stage,
                nodes: options.nodes,
            },
            replicas: options.shards as usize + 1,
        };
        let until = copies.scene.now() + options.fault_time;
        while copies.scene.now() < until {
            copies.one()?;
        }
        Ok(())
    });
    finish(&plan, ended, &stage.world, &stage.recorder, &trace)
}

struct Copies<'a> {
    random: ChaCha8Rng,
    scene: Scene<'a>,
    /// Of each node: there are three nodes, and three replicas of each shard.
    replicas: usize,
}

impl Copies<'_> {
    /// One node gets an older copy.
    fn one(&mut self) -> Result<(), String> {
        let node = self.random.random_range(0..self.scene.nodes);
        let image = self.scene.disk(node).image();
        let (then, mut old) = (self.position(node)?, self.ids(node)?);
        self.scene
            .stage
            .world
            .note(format_args!("copy the disk of n{}", node + 1));
        let age = self.some_time(AGE_MS);
        self.scene.pass(age)?;
        let of_earlier_life = self.random.random_bool(0.5);
        if of_earlier_life {
            self.scene.kill(node);
            let down = self.some_time(DOWN_MS);
            self.scene.pass(down)?;
            self.scene.restart(node);
            let runs = move |cluster: &Cluster<'_>| runs(cluster, node);
            self.scene.until(STARTED, "the node runs again", runs)?;
        }
        let now = self.position(node)?;
        self.scene.pass(HEARD)?;
        if now == then && !of_earlier_life {
            // Nothing was written since: as after any crash.
            return Ok(());
        }
        old.extend(self.ids(node)?);
        self.come_back(node, &old, of_earlier_life, |copies| {
            copies.scene.disk(node).put_back(&image);
        })
    }

    /// With a disk that was put back.
    fn come_back(
        &mut self,
        node: usize,
        old: &BTreeSet<u64>,
        of_earlier_life: bool,
        put_back: impl FnOnce(&mut Self),
    ) -> Result<(), String> {
        let off = if self.random.random_bool(0.5) {
            Fault::Kill(vec![node])
        } else {
            Fault::PowerCut(vec![node])
        };
        self.scene.begin(off.clone());
        let down = self.some_time(DOWN_MS);
        self.scene.pass(down)?;
        put_back(self);
        let world = &mut self.scene.stage.world;
        world.note(format_args!("put the disk of n{} back", node + 1));
        world.invariants.put_back(node, old.iter().copied());
        let beside = of_earlier_life && self.random.random_range(0..100) < BESIDE_ANOTHER;
        let other = Fault::Kill(vec![(node + 1) % self.scene.nodes]);
        if beside {
            self.scene.begin(other.clone());
        }
        self.scene.end(off);
        if beside {
            let down = self.some_time(DOWN_MS);
            self.scene.pass(down)?;
            self.scene.end(other);
        }
        let (old, count) = (old.clone(), self.replicas);
        let healed = move |cluster: &Cluster<'_>| {
            let Some(inner) = cluster.node(node) else {
                return false;
            };
            let now = ids(&inner);
            now.len() == count && now.is_disjoint(&old) && votes(&inner)
        };
        self.scene.until(HEALED, "the node has other replicas", healed)?;
        Ok(())
    }

    fn some_time(&mut self, ms: Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(ms))
    }

    fn position(&self, node: usize) -> Result<u64, String> {
        let inner = self.scene.node(node).ok_or("the node is down")?;
        Ok(inner.history.log_position())
    }

    fn ids(&self, node: usize) -> Result<BTreeSet<u64>, String> {
        Ok(ids(&*self.scene.node(node).ok_or("the node is down")?))
    }
}

fn runs(cluster: &Cluster<'_>, node: usize) -> bool {
    let inner = cluster.node(node);
    inner.is_some_and(|inner| inner.running().is_some() && !inner.host.all().is_empty())
}

/// Replicas that run there.
fn ids(inner: &Inner) -> BTreeSet<u64> {
    let hosted = inner.host.all();
    hosted
        .iter()
        .map(|shard| shard.group.identity().replica_id)
        .collect()
}

/// Whether all of them are voters by now.
fn votes(inner: &Inner) -> bool {
    inner.host.all().iter().all(|shard| {
        let own = shard.group.identity().replica_id;
        !shard.group.is_changing() && shard.group.voters().iter().any(|(id, _)| *id == own)
    })
}
