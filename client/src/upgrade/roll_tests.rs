//! The order of an upgrade, against a cluster in memory that fails where a test wants it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse, Health, NodeSummary};
use tokio::time::timeout;

use super::check::tests::sound;
use super::program::Program;
use super::progress::{Phase, Progress};
use super::roll::{Failure, Fleet, Roll, Step, Timings};
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The node's shards stay where they are.
    NobodyTakesOver,
    /// It is drained, and nobody hears of it.
    DrainUnheard,
    /// The hook says no.
    NotRestarted,
    /// It says no whatever the program.
    NeverRestarted,
    /// The hook says yes, and nothing happens.
    SameProcess,
    /// It does not answer on this program.
    Silent,
    /// It runs something else than it was given.
    OtherProgram,
    /// Its replica does not catch up.
    Behind,
    /// It gets no leader back.
    LeadsNothing,
    /// What is written is not found.
    Canary,
}

const FAULTS: [Fault; 9] = [
    Fault::NobodyTakesOver,
    Fault::DrainUnheard,
    Fault::NotRestarted,
    Fault::SameProcess,
    Fault::Silent,
    Fault::OtherProgram,
    Fault::Behind,
    Fault::LeadsNothing,
    Fault::Canary,
];

/// Three nodes; a fault strikes one of them while it is moved to, or runs, the new program.
struct Nodes {
    cluster: GetClusterStatusResponse,
    said: BTreeMap<u64, GetNodeStatusResponse>,
    runs: BTreeMap<u64, PathBuf>,
    drained: Vec<u64>,
    restarts: Vec<u64>,
    fault: Option<(u64, Fault)>,
    /// Calls until the process that rolls is no more.
    calls_left: usize,
    /// A node whose machine is lost at the next call.
    dying: Rc<Cell<Option<u64>>>,
    down: Option<u64>,
    /// A node whose replicas stop on the new program.
    ill: Rc<Cell<Option<u64>>>,
}

const OLD: &str = "/old";
const NEW: &str = "/new";

fn program(path: &str) -> Program {
    Program {
        path: path.into(),
        release: path.to_owned(),
        commit: "c".into(),
        stored_format: 1,
        wire_min: 1,
        wire_max: 1,
        level_min: 0,
        level_max: if path == OLD { 1 } else { 2 },
    }
}

impl Nodes {
    fn new() -> Self {
        let (mut cluster, mut said) = sound();
        // A shard for each, so that each leads one.
        let shard = cluster.shards[0].clone();
        cluster.shards = (1..=3)
            .map(|number| {
                let mut shard = shard.clone();
                (shard.shard, shard.leader_node_id) = (u32::try_from(number).expect("small"), number);
                shard
            })
            .collect();
        for status in said.values_mut() {
            (status.release, status.commit) = (OLD.to_owned(), "c".to_owned());
        }
        Self {
            cluster,
            said,
            runs: (1..=3).map(|node| (node, OLD.into())).collect(),
            drained: Vec::new(),
            restarts: Vec::new(),
            fault: None,
            calls_left: usize::MAX,
            dying: Rc::default(),
            down: None,
            ill: Rc::default(),
        }
    }

    async fn call(&mut self) {
        self.down = self.dying.take().or(self.down);
        match self.calls_left.checked_sub(1) {
            Some(left) => self.calls_left = left,
            None => pending().await,
        }
    }

    fn id(&self, address: &str) -> u64 {
        let mut nodes = self.cluster.nodes.iter();
        nodes
            .find(|node| node.grpc_address == address)
            .expect("a node")
            .node_id
    }

    /// Whether this fault strikes this node now.
    fn strikes(&self, node: u64, fault: Fault) -> bool {
        self.fault == Some((node, fault)) && self.runs[&node] == Path::new(NEW)
    }

    fn is_ill(&self, node: u64) -> bool {
        self.ill.get() == Some(node) && self.runs[&node] == Path::new(NEW)
    }

    fn all_run(&self, program: &str) -> bool {
        self.runs.values().all(|runs| runs == Path::new(program))
    }
}

fn down() -> Error {
    Error::local(ErrorKind::Unavailable, "NODE_UNREACHABLE", "down")
}

impl Fleet for Nodes {
    async fn cluster(&mut self) -> Result<GetClusterStatusResponse> {
        self.call().await;
        let mut cluster = self.cluster.clone();
        for node in 1..=3 {
            let at = usize::try_from(node).expect("small") - 1;
            if self.strikes(node, Fault::Behind) {
                cluster.shards[0].replicas[at].applied_index = 0;
            }
            if self.down == Some(node) || self.is_ill(node) {
                cluster.health = Health::Degraded.into();
                for shard in &mut cluster.shards {
                    shard.replicas[at].reachable = false;
                }
            }
            cluster.nodes[at].reachable = self.down != Some(node) && !self.strikes(node, Fault::Silent);
            if self.drained.contains(&node) {
                cluster.health = Health::Degraded.into();
                cluster.reasons.push(format!("node {node}: draining"));
            }
            let leads_nothing = self.drained.contains(&node)
                || self.down == Some(node)
                || self.is_ill(node)
                || self.strikes(node, Fault::LeadsNothing);
            if leads_nothing {
                cluster.shards[at].leader_node_id = node % 3 + 1;
            }
        }
        Ok(cluster)
    }

    async fn node(&mut self, address: &str) -> Result<GetNodeStatusResponse> {
        self.call().await;
        let node = self.id(address);
        if self.strikes(node, Fault::Silent) || self.down == Some(node) {
            return Err(down());
        }
        let mut said = self.said[&node].clone();
        if self.strikes(node, Fault::OtherProgram) {
            said.commit = "of another".into();
        }
        Ok(said)
    }

    async fn drain(&mut self, address: &str, undo: bool) -> Result<u32> {
        self.call().await;
        let node = self.id(address);
        if self.down == Some(node) {
            return Err(down());
        }
        self.drained.retain(|drained| *drained != node);
        if !undo {
            self.drained.push(node);
        }
        // Or the tool ends when it is done, before it hears of it.
        self.call().await;
        if !undo && self.fault == Some((node, Fault::DrainUnheard)) && self.runs[&node] == Path::new(OLD) {
            return Err(down());
        }
        let stays = self.fault == Some((node, Fault::NobodyTakesOver)) && self.runs[&node] == Path::new(OLD);
        Ok(u32::from(stays && !undo))
    }

    async fn raise_level(&mut self, _: &str, _: u32, _: u32) -> Result<u32> {
        unreachable!("a roll raises nothing")
    }

    async fn restart(&mut self, node: &NodeSummary, program: &Path) -> std::result::Result<(), String> {
        // Who is lost while the order is carried out was there when it was given.
        let dying = self.dying.take();
        self.call().await;
        let id = node.node_id;
        assert!(
            self.down.is_none_or(|down| down == id),
            "it stops {id} where {:?} is down",
            self.down
        );
        let ill = self.ill.get().filter(|ill| self.is_ill(*ill));
        assert!(
            ill.is_none_or(|ill| ill == id),
            "it stops {id} where {ill:?} is ill"
        );
        self.down = dying;
        let others = self.drained.iter().filter(|drained| **drained != id);
        assert_eq!(others.count(), 0, "one node at a time");
        let strikes = |fault| self.fault == Some((id, fault)) && program == Path::new(NEW);
        if strikes(Fault::NotRestarted) || self.fault == Some((id, Fault::NeverRestarted)) {
            return Err("no such unit".to_owned());
        }
        if strikes(Fault::SameProcess) {
            return Ok(());
        }
        self.restarts.push(id);
        self.runs.insert(id, program.to_path_buf());
        self.drained.retain(|drained| *drained != id);
        let said = self.said.get_mut(&id).expect("a node");
        said.boot_id += 1;
        said.release = program.display().to_string();
        self.call().await;
        Ok(())
    }

    async fn canary(&mut self, address: &str, _: bool) -> Result<()> {
        self.call().await;
        let node = self.id(address);
        if self.down == Some(node) {
            return Err(down());
        }
        if self.strikes(node, Fault::Canary) {
            return Err(Error::malformed_answer("what was just written"));
        }
        Ok(())
    }
}

/// What the file of an upgrade holds.
struct Noted(Progress);

impl Noted {
    fn new(from: Option<&str>) -> Self {
        Self(Progress::new("c".into(), from.map(PathBuf::from), NEW.into()))
    }

    /// Goes on from what is noted; `None` where the nodes' calls ran out.
    async fn go_on(&mut self, nodes: &mut Nodes) -> Option<std::result::Result<(), Failure>> {
        self.go_on_and(nodes, &mut |_, _| {}).await
    }

    /// The same, and it is heard what is done.
    async fn go_on_and(
        &mut self,
        nodes: &mut Nodes,
        tell: &mut dyn FnMut(u64, Step),
    ) -> Option<std::result::Result<(), Failure>> {
        let mut progress = self.0.clone();
        let mut note = |progress: &Progress| {
            // As a file: what cannot be read again was not noted.
            self.0 = Progress::decode(&progress.encode()).expect("its own text");
            Ok(())
        };
        let mut roll = Roll {
            fleet: nodes,
            to: Some(program(NEW)),
            from: Some(program(OLD)),
            timings: Timings::default(),
            note: &mut note,
            tell,
        };
        let limit = Timings::default().settle * 20;
        timeout(limit, roll.run(&mut progress)).await.ok()
    }
}

#[tokio::test(start_paused = true)]
async fn every_node_moves_once_in_its_turn() {
    let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
    noted.go_on(&mut nodes).await.expect("it ends").expect("moved");
    assert!(nodes.all_run(NEW));
    assert_eq!(nodes.restarts, [1, 2, 3]);
    assert_eq!(
        (&noted.0.phase, noted.0.done.as_slice()),
        (&Phase::Done, &[1, 2, 3][..])
    );
    noted
        .go_on(&mut nodes)
        .await
        .expect("it ends")
        .expect("done before");
    assert_eq!(nodes.restarts.len(), 3, "what has ended stays as it is");
}

#[tokio::test(start_paused = true)]
async fn an_unsound_cluster_is_left_alone() {
    let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
    nodes.cluster.shards[1].replicas[0].reachable = false;
    let refused = noted.go_on(&mut nodes).await.expect("it ends");
    assert!(matches!(refused, Err(Failure::Refused(why)) if why.len() == 1));
    assert!(nodes.restarts.is_empty() && nodes.drained.is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_fault_at_each_node_takes_all_back() {
    for node in 1..=3 {
        for fault in FAULTS {
            let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
            nodes.fault = Some((node, fault));
            let ended = noted.go_on(&mut nodes).await.expect("it ends");
            assert!(matches!(&ended, Err(Failure::RolledBack(why)) if why.contains(&format!("node {node}"))));
            let restarted = nodes.restarts.contains(&node);
            let untouched = matches!(
                fault,
                Fault::NobodyTakesOver | Fault::DrainUnheard | Fault::NotRestarted | Fault::SameProcess
            );
            assert!(restarted || untouched, "{fault:?}");
            assert!(nodes.drained.is_empty(), "{fault:?}: it goes on as it was");
            assert!(nodes.all_run(OLD), "{fault:?} at {node}: {:?}", nodes.runs);
            assert!(matches!(noted.0.phase, Phase::RolledBack { .. }));
            assert!(noted.0.done.is_empty() && noted.0.under_way.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_back_to_a_program_that_does_not_know_the_level() {
    let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
    noted.go_on(&mut nodes).await.expect("it ends").expect("moved");
    nodes.cluster.shards[2].level = 2;
    noted.0.turn_back("asked for");
    let ended = noted.go_on(&mut nodes).await.expect("it ends");
    let known = "level 2 is in force and the program of release /old knows levels 0 to 1";
    assert!(
        matches!(&ended, Err(Failure::Stopped(why)) if why.contains(known)),
        "{ended:?}"
    );
    assert!(nodes.all_run(NEW) && nodes.drained.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_never_works_leaves_a_cluster_that_does() {
    let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
    nodes.fault = Some((2, Fault::NeverRestarted));
    let ended = noted.go_on(&mut nodes).await.expect("it ends");
    assert!(matches!(ended, Err(Failure::Stopped(_))), "{ended:?}");
    assert!(nodes.drained.is_empty(), "it goes on as it was");
    nodes.fault = None;
    let ended = noted.go_on(&mut nodes).await.expect("it ends");
    assert!(matches!(ended, Err(Failure::RolledBack(_))), "{ended:?}");
    assert!(nodes.all_run(OLD));
}

#[tokio::test(start_paused = true)]
async fn without_a_way_back_it_stops_and_goes_on() {
    let (mut nodes, mut noted) = (Nodes::new(), Noted::new(None));
    nodes.fault = Some((2, Fault::Canary));
    let ended = noted.go_on(&mut nodes).await.expect("it ends");
    assert!(matches!(ended, Err(Failure::Stopped(_))));
    assert_eq!((noted.0.done.as_slice(), noted.0.under_way), (&[1][..], Some(2)));
    nodes.fault = None;
    noted.go_on(&mut nodes).await.expect("it ends").expect("moved");
    assert!(nodes.all_run(NEW));
}

/// The process that rolls ends at every one of its calls, and another goes on from what was noted.
#[tokio::test(start_paused = true)]
async fn it_may_end_anywhere_and_goes_on_from_there() {
    for fault in [None, Some((2, Fault::Canary))] {
        let goal = if fault.is_none() { NEW } else { OLD };
        let mut ends = 0;
        for calls in 0.. {
            let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
            (nodes.fault, nodes.calls_left) = (fault, calls);
            if noted.go_on(&mut nodes).await.is_some() {
                break;
            }
            ends += 1;
            nodes.calls_left = usize::MAX;
            let ended = noted.go_on(&mut nodes).await.expect("it ends");
            assert_eq!(ended.is_ok(), fault.is_none(), "after {calls} calls: {ended:?}");
            assert!(nodes.all_run(goal), "after {calls} calls: {:?}", nodes.runs);
        }
        assert!(ends > 30, "only {ends}");
    }
}

/// A machine is lost at each step of the tool, that of the node which is rolled or another one: while it is away no other
/// node is stopped, and when it is back all run one program.
#[tokio::test(start_paused = true)]
async fn no_node_is_stopped_while_another_is_lost() {
    let steps = [
        Step::Drain,
        Step::Restart,
        Step::Answer,
        Step::CatchUp,
        Step::Lead,
        Step::Canary,
        Step::Moved,
    ];
    for step in steps {
        for (node, lost) in (1..=3).flat_map(|node| (1..=3).map(move |lost| (node, lost))) {
            let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
            let (dying, mut is_due) = (nodes.dying.clone(), true);
            let mut tell = |at, told| {
                if (at, told) == (node, step) && is_due {
                    is_due = false;
                    dying.set(Some(lost));
                }
            };
            let ended = noted.go_on_and(&mut nodes, &mut tell).await.expect("it ends");
            let over = if node == lost {
                // The restart that is due makes it well; behind the last of them nobody asks any more.
                step == Step::Drain || (node == 3 && step == Step::Moved)
            } else {
                // Behind the last of them there is nobody to be stopped.
                node == 3 && matches!(step, Step::Lead | Step::Canary | Step::Moved)
            };
            assert_eq!(
                ended.is_ok(),
                over,
                "{step:?} of {node} without {lost}: {ended:?}"
            );
            assert!(nodes.drained.is_empty(), "{step:?} of {node} without {lost}");
            nodes.down = None;
            let ended = noted.go_on(&mut nodes).await.expect("it ends");
            let goal = if over { NEW } else { OLD };
            assert!(
                nodes.all_run(goal),
                "{step:?} of {node} without {lost}: {ended:?}"
            );
        }
    }
}

/// Nobody else is stopped before it is well, and only the old program makes it well.
#[tokio::test(start_paused = true)]
async fn who_is_ill_of_the_new_program_is_taken_back_first() {
    for sick in 1..=2 {
        let (mut nodes, mut noted) = (Nodes::new(), Noted::new(Some(OLD)));
        let ill = nodes.ill.clone();
        let mut tell = |node, step| {
            if (node, step) == (2, Step::Moved) {
                ill.set(Some(sick));
            }
        };
        let ended = noted.go_on_and(&mut nodes, &mut tell).await.expect("it ends");
        assert!(matches!(ended, Err(Failure::RolledBack(_))), "{sick}: {ended:?}");
        assert!(nodes.all_run(OLD) && nodes.drained.is_empty(), "{sick}");
        assert_eq!(nodes.restarts, [1, 2, sick, 3 - sick]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_is_not_done() {
    let mut nodes = Nodes::new();
    let mut progress = Noted::new(Some(OLD)).0;
    let mut told = Vec::new();
    let mut roll = Roll {
        fleet: &mut nodes,
        to: None,
        from: None,
        timings: Timings::default(),
        note: &mut |_| Err(std::io::ErrorKind::StorageFull.into()),
        tell: &mut |node, step: Step| told.push((node, step)),
    };
    assert!(matches!(roll.run(&mut progress).await, Err(Failure::Note(_))));
    assert!(nodes.restarts.is_empty() && told.is_empty());
}
