//! Runs in which a test says what goes wrong, step by step, with the same start, end and checks as every run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use spine_node::fitness::Trouble;
use spine_node::node::Inner;
use spine_node::shard::proposals::txn_entry;
use spine_proto::storage::v1 as pb;
use spine_storage::disk::SimDisk;

use super::SimOptions;
use super::cluster::Nodes;
use super::faults::Order;
use super::report::{Plan, SimReport, finish};
use super::run::Stage;
use super::supports::supports;
use super::thread::alone;
use super::trace::Trace;
use crate::history::Outcome;
use crate::scenario::{Fault, Step};

/// What goes wrong, and what is expected meanwhile.
pub type Script = fn(&mut Scene<'_>) -> Result<(), String>;

/// Runs one seed with a script in the place of its faults.
#[must_use]
pub fn run(options: &SimOptions, script: Script) -> SimReport {
    alone(options, move |options| {
        let trace = Trace::new(options.keep_trace);
        let options = &SimOptions {
            script: Some(Vec::new()),
            ..options.clone()
        };
        let plan = Plan::of(&options.scenario(), supports);
        let mut stage = Stage::new(options, trace.clone());
        let nodes = options.nodes;
        let ended = stage.play(|stage| script(&mut Scene { stage, nodes }));
        finish(&plan, ended, &stage.world, &stage.recorder, &trace)
    })
}

/// A cluster under way.
pub struct Scene<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) nodes: usize,
}

impl Scene<'_> {
    /// The disk of a node, counted from 0.
    #[must_use]
    pub fn disk(&self, node: usize) -> SimDisk {
        self.stage.machines.disk(node).clone()
    }

    /// Makes a node's wall clock wrong by this, milliseconds; 0 sets it right.
    pub fn set_clock_error(&self, node: usize, ms: i64) {
        self.stage.machines.clock_errors()[node].store(ms, Ordering::Relaxed);
    }

    /// A node that runs.
    #[must_use]
    pub fn node(&self, node: usize) -> Option<Arc<Inner>> {
        self.stage.machines.inner(node)
    }

    /// Virtual time since the run began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.stage.world.now_ms())
    }

    /// The node that leads a shard: of those that say so, the one of the highest term.
    #[must_use]
    pub fn leader_of(&self, shard: u32) -> Option<usize> {
        leader_of(&self.stage.machines, self.nodes, shard)
    }

    /// Calls that succeeded so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let operations = self.stage.recorder.operations();
        let ok = operations
            .iter()
            .filter(|op| matches!(op.outcome, Outcome::Ok(_)));
        ok.count()
    }

    /// Calls that ended without success for this reason.
    #[must_use]
    pub fn failed_for(&self, word: &str) -> usize {
        let operations = self.stage.recorder.operations();
        let failed = operations.iter().filter(
            |op| matches!(&op.outcome, Outcome::Failed { reason } | Outcome::Unknown { reason } if reason == word),
        );
        failed.count()
    }

    /// Begins a fault, which goes on until [`Self::end`] of the same.
    pub fn begin(&mut self, fault: Fault) {
        let orders = self.stage.world.begin(&lasting(fault));
        self.stage.desk.borrow_mut().orders.extend(orders);
    }

    /// Ends a fault.
    pub fn end(&mut self, fault: Fault) {
        self.stage.world.end(&lasting(fault));
    }

    /// Kills a node's process.
    pub fn kill(&mut self, node: usize) {
        self.begin(Fault::Kill(vec![node]));
    }

    /// Starts it again.
    pub fn restart(&mut self, node: usize) {
        self.end(Fault::Kill(vec![node]));
    }

    /// Changes what one replica holds behind the log's back; its invariants are not looked at until [`Self::trust`].
    ///
    /// # Errors
    /// The node is down, or hosts no such shard.
    pub fn alter(&mut self, node: usize, shard: u32) -> Result<(), String> {
        let inner = self.node(node).ok_or("the node is down")?;
        let hosted = inner.host.shard(shard).ok_or("not hosted")?;
        self.stage.world.invariants.distrust(node, shard);
        // A row that no caller reads.
        let put = pb::Put {
            key: spine_statemachine::key::level(),
            value: spine_statemachine::levels::value(0),
            schema: spine_statemachine::levels::SCHEMA,
        };
        let sub = pb::SubTxn {
            mutations: vec![pb::Mutation {
                kind: Some(pb::mutation::Kind::Put(put)),
            }],
            ..pb::SubTxn::default()
        };
        let entry = txn_entry(vec![sub], 0);
        let altered = hosted.group.store().tamper(&entry);
        altered.map(drop).map_err(|error| error.to_string())
    }

    /// It holds what the others hold again.
    pub fn trust(&mut self, node: usize, shard: u32) {
        self.stage.world.invariants.trust(node, shard);
    }

    /// Every node makes a checkpoint of every shard and purges its logs up to there.
    ///
    /// # Errors
    /// What an invariant says.
    pub fn compact(&mut self) -> Result<(), String> {
        let nodes = self.nodes;
        let wanted = self.stage.desk.borrow().compacted + u32::try_from(nodes).unwrap_or(0);
        let orders = (0..nodes).map(Order::Compact);
        self.stage.desk.borrow_mut().orders.extend(orders);
        let desk = self.stage.desk.clone();
        let limit = Duration::from_secs(30);
        self.stage.world.until(limit, "logs are purged", |_| {
            let desk = desk.borrow();
            desk.orders.is_empty() && desk.compacted >= wanted
        })
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// What an invariant says.
    pub fn pass(&mut self, time: Duration) -> Result<(), String> {
        let left = std::cell::Cell::new(time.as_millis());
        let limit = time + Duration::from_secs(1);
        self.stage.world.until(limit, "time has passed", |_| {
            let now = left.get();
            left.set(now.saturating_sub(1));
            now == 0
        })
    }

    /// Lets time pass until something is so, at most `limit`; says how long that took.
    ///
    /// # Errors
    /// It did not become so, or what an invariant says.
    pub fn until(
        &mut self,
        limit: Duration,
        what: &str,
        reached: impl Fn(&Cluster<'_>) -> bool,
    ) -> Result<Duration, String> {
        let began = self.now();
        let machines = std::rc::Rc::clone(&self.stage.machines);
        let cluster = Cluster {
            machines: &machines,
            nodes: self.nodes,
        };
        self.stage.world.until(limit, what, |_| reached(&cluster))?;
        Ok(self.now().saturating_sub(began))
    }
}

/// What a condition can look at.
pub struct Cluster<'a> {
    machines: &'a Nodes,
    nodes: usize,
}

impl Cluster<'_> {
    /// As [`Scene::leader_of`].
    #[must_use]
    pub fn leader_of(&self, shard: u32) -> Option<usize> {
        leader_of(self.machines, self.nodes, shard)
    }

    /// A node that runs.
    #[must_use]
    pub fn node(&self, node: usize) -> Option<Arc<Inner>> {
        self.machines.inner(node)
    }

    /// How often a node has started.
    #[must_use]
    pub fn starts(&self, node: usize) -> u32 {
        self.machines.starts(node)
    }

    /// What is wrong with a node's disk, as it sees it.
    #[must_use]
    pub fn trouble(&self, node: usize) -> Option<Trouble> {
        self.machines
            .inner(node)
            .and_then(|inner| inner.fitness.trouble())
    }
}

/// The script says when it begins and ends.
fn lasting(fault: Fault) -> Step {
    Step::of(0, 0, fault)
}

fn leader_of(machines: &Nodes, nodes: usize, shard: u32) -> Option<usize> {
    let leading = (0..nodes).filter_map(|node| {
        let status = machines.inner(node)?.host.shard(shard)?.group.status();
        status.leading.then_some((status.term, node))
    });
    leading.max().map(|(_, node)| node)
}
