//! The order of things: one node after the other, and back where a check fails.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse, NodeSummary};
use tokio::time::{Instant, sleep};

use super::check::{Refusal, cannot_lose, cannot_spare, of_one, refusals, unknown_level};
use super::program::Program;
use super::progress::{Phase, Progress};
use crate::error::Result as Called;

/// What an upgrade looks at and acts on.
pub trait Fleet {
    /// The cluster, as any node sees it.
    fn cluster(&mut self) -> impl Future<Output = Called<GetClusterStatusResponse>>;
    /// A node itself, by its gRPC address.
    fn node(&mut self, address: &str) -> impl Future<Output = Called<GetNodeStatusResponse>>;
    /// Hands over what a node leads, or takes that back. Gives how many shards nobody took.
    fn drain(&mut self, address: &str, undo: bool) -> impl Future<Output = Called<u32>>;
    /// Lets a shard that the node leads follow the rules of this level; gives the level in force.
    fn raise_level(&mut self, address: &str, shard: u32, level: u32) -> impl Future<Output = Called<u32>>;
    /// Stops a node and starts it again with this program; need not wait until it serves.
    fn restart(&mut self, node: &NodeSummary, program: &Path) -> impl Future<Output = Result<(), String>>;
    /// Writes and reads through a node as a caller does, in every shard, or only in those that have a leader now.
    fn canary(&mut self, address: &str, led_only: bool) -> impl Future<Output = Called<()>>;
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// A drain that fails is tried again for so long.
    pub drain: Duration,
    /// From the restart of a node to its first answer.
    pub answer: Duration,
    /// From there until the cluster is sound and the node leads again.
    pub settle: Duration,
    /// Between two looks.
    pub poll: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(10),
            answer: Duration::from_secs(120),
            settle: Duration::from_secs(120),
            poll: Duration::from_millis(200),
        }
    }
}

/// A node that does not answer so many looks in a row is down.
const LOOKS: u32 = 3;

/// What is being done, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The node hands over what it leads.
    Drain,
    /// It is stopped and started.
    Restart,
    /// It has not answered yet.
    Answer,
    /// Replicas catch up.
    CatchUp,
    /// It gets its share of leaders back.
    Lead,
    /// It is written to and read from.
    Canary,
    /// All of that is done.
    Moved,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drain => "hands over its leaders",
            Self::Restart => "is restarted",
            Self::Answer => "starts",
            Self::CatchUp => "catches up",
            Self::Lead => "takes its leaders back",
            Self::Canary => "is written to and read from",
            Self::Moved => "is done",
        })
    }
}

/// Why not every node runs the new program.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was done.
    #[error("no node was restarted: {}", list(.0))]
    Refused(Vec<Refusal>),
    /// A check failed; every node runs the program that it had.
    #[error("rolled back: {0}")]
    RolledBack(String),
    /// It stopped on its way. Begun again it goes on there.
    #[error("stopped: {0}")]
    Stopped(String),
    /// How far it has come could not be written down; without that nothing is done.
    #[error("note the progress: {0}")]
    Note(#[from] io::Error),
}

fn list(refusals: &[Refusal]) -> String {
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    all.join("; ")
}

/// Carries out an upgrade.
pub struct Roll<'a, F> {
    /// The cluster.
    pub fleet: &'a mut F,
    /// The program that nodes get, where it can be looked at from here.
    pub to: Option<Program>,
    /// The program that they had.
    pub from: Option<Program>,
    /// How long things may take.
    pub timings: Timings,
    /// Writes down how far it has come, durably, before the next thing is done.
    pub note: &'a mut dyn FnMut(&Progress) -> io::Result<()>,
    /// Told what is being done at which node.
    pub tell: &'a mut dyn FnMut(u64, Step),
}

/// A node that leads nothing any more.
struct Leaving {
    node: NodeSummary,
    /// Shards that it must lead again.
    share: usize,
    /// Its process; none where it was down.
    boot: Option<u64>,
}

/// What others are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All are well before a node is stopped, and after it has come back.
    Forward,
    /// Some may be ill of the program that is taken from them: no shard loses what it has, and the node is well.
    Back,
}

/// Why the way forward ended.
enum Stop {
    Refused(Vec<Refusal>),
    Failed(String),
    Note(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Note(error)
    }
}

impl<F: Fleet> Roll<'_, F> {
    /// Goes on from where `progress` stands until every node runs one program.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn run(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        if progress.phase == Phase::Forward {
            match self.forward(progress).await {
                Ok(()) => {
                    progress.phase = Phase::Done;
                    (self.note)(progress)?;
                }
                Err(Stop::Refused(why)) => return Err(Failure::Refused(why)),
                Err(Stop::Note(error)) => return Err(error.into()),
                Err(Stop::Failed(why)) if progress.from.is_none() => return Err(Failure::Stopped(why)),
                Err(Stop::Failed(why)) => {
                    progress.turn_back(why);
                    (self.note)(progress)?;
                }
            }
        }
        if let Phase::Back { reason } = progress.phase.clone() {
            match self.back(progress).await {
                Ok(()) => progress.phase = Phase::RolledBack { reason },
                Err(Stop::Note(error)) => return Err(error.into()),
                Err(Stop::Failed(why)) => {
                    let why = format!("{reason}; and on the way back: {why}");
                    return Err(Failure::Stopped(why));
                }
                Err(Stop::Refused(why)) => return Err(Failure::Stopped(list(&why))),
            }
            (self.note)(progress)?;
        }
        match &progress.phase {
            Phase::RolledBack { reason } => Err(Failure::RolledBack(reason.clone())),
            _ => Ok(()),
        }
    }

    async fn forward(&mut self, progress: &mut Progress) -> Result<(), Stop> {
        let (to, program) = (progress.to.clone(), self.to.clone());
        // Whoever stopped in the middle of a node may have left it down: it comes first, as it is.
        if let Some(id) = progress.under_way {
            let node = self.empty(id, Way::Forward).await?;
            self.switch(&node, &to, program.as_ref(), Way::Forward).await?;
            self.moved(progress, id)?;
        }
        let mut nodes = self.ids().await?;
        nodes.retain(|node| !progress.done.contains(node));
        for id in nodes {
            let patience = if progress.done.is_empty() {
                Duration::ZERO
            } else {
                self.timings.settle
            };
            match self.wait_sound(program.as_ref(), patience).await {
                Ok(()) => {}
                Err(why) if progress.done.is_empty() => return Err(Stop::Refused(why)),
                Err(why) => return Err(Stop::Failed(list(&why))),
            }
            progress.under_way = Some(id);
            (self.note)(progress)?;
            let node = match self.empty(id, Way::Forward).await {
                Ok(node) => node,
                Err(why) => {
                    // It was not restarted: there is nothing to take back.
                    progress.under_way = None;
                    return Err(why);
                }
            };
            self.switch(&node, &to, program.as_ref(), Way::Forward).await?;
            self.moved(progress, id)?;
        }
        Ok(())
    }

    fn moved(&mut self, progress: &mut Progress, node: u64) -> io::Result<()> {
        progress.done.push(node);
        progress.under_way = None;
        (self.note)(progress)
    }

    async fn back(&mut self, progress: &mut Progress) -> Result<(), Stop> {
        let Some(from) = progress.from.clone() else {
            return Err(Stop::Failed("the program that nodes had is not known".to_owned()));
        };
        let program = self.from.clone();
        if let Some(program) = &program {
            let cluster = self.fleet.cluster().await;
            let cluster = cluster.map_err(|error| Stop::Failed(error.to_string()))?;
            if let Some(unknown) = unknown_level(&cluster, program) {
                return Err(Stop::Refused(vec![unknown]));
            }
        }
        while let Some(id) = self.next_back(progress).await {
            progress.take_up(id);
            (self.note)(progress)?;
            let node = self.empty(id, Way::Back).await?;
            self.switch(&node, &from, program.as_ref(), Way::Back).await?;
            progress.under_way = None;
            (self.note)(progress)?;
        }
        let sound = self.wait_sound(None, self.timings.settle).await;
        sound.map_err(|why| Stop::Failed(list(&why)))
    }

    /// Who is taken back next: first whoever is ill, as nobody else may be stopped before it is well again.
    async fn next_back(&mut self, progress: &Progress) -> Option<u64> {
        let on_the_way = progress
            .under_way
            .into_iter()
            .chain(progress.done.iter().rev().copied());
        let left: Vec<u64> = on_the_way.collect();
        let seen = self.look().await.ok();
        let is_ill = |id: &&u64| {
            seen.as_ref()
                .is_some_and(|(cluster, nodes)| !of_one(cluster, nodes, **id).is_empty())
        };
        left.iter().find(is_ill).or_else(|| left.first()).copied()
    }

    async fn ids(&mut self) -> Result<Vec<u64>, Stop> {
        let cluster = self.fleet.cluster().await;
        let cluster = cluster.map_err(|error| Stop::Failed(error.to_string()))?;
        let mut ids: Vec<u64> = cluster.nodes.iter().map(|node| node.node_id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Hands over what a node leads, if it is up, and waits until the others can do without it. A node that is down
    /// takes nothing away when it is started.
    async fn empty(&mut self, id: u64, way: Way) -> Result<Leaving, Stop> {
        let failed = |why: String| Stop::Failed(format!("node {id}: {why}"));
        let cluster = self.fleet.cluster().await;
        let cluster = cluster.map_err(|error| failed(error.to_string()))?;
        let node = cluster.nodes.iter().find(|node| node.node_id == id).cloned();
        let node = node.ok_or_else(|| failed("not a node of this cluster".to_owned()))?;
        let share = share(&cluster, id);
        let boot = self.drain(&node).await.map_err(failed)?;
        let is_up = boot.is_some() || self.is_reachable(id).await;
        if is_up && let Err(why) = self.wait_spared(id, way).await {
            self.undrain(&node).await;
            return Err(failed(format!("not restarted: {why}")));
        }
        Ok(Leaving { node, share, boot })
    }

    /// From the restart to a canary on the other program.
    async fn switch(
        &mut self,
        leaving: &Leaving,
        path: &Path,
        to: Option<&Program>,
        way: Way,
    ) -> Result<(), Stop> {
        let Leaving { node, share, boot } = leaving;
        let id = node.node_id;
        let failed = |why: String| Stop::Failed(format!("node {id}: {why}"));
        (self.tell)(id, Step::Restart);
        if let Err(why) = self.fleet.restart(node, path).await {
            // Where it still runs, it leads again; its state is what it was.
            self.undrain(node).await;
            return Err(failed(why));
        }
        (self.tell)(id, Step::Answer);
        self.wait_answer(node, *boot, to).await.map_err(failed)?;
        (self.tell)(id, Step::CatchUp);
        let sound = match way {
            Way::Forward => self.wait_sound(None, self.timings.settle).await,
            Way::Back => self.wait_well(id).await,
        };
        sound.map_err(|why| failed(list(&why)))?;
        (self.tell)(id, Step::Lead);
        self.wait_leads(id, *share).await.map_err(failed)?;
        (self.tell)(id, Step::Canary);
        // On the way back the others may still keep a shard from having one.
        let canary = self.fleet.canary(&node.grpc_address, way == Way::Back).await;
        canary.map_err(|error| failed(format!("canary: {error}")))?;
        (self.tell)(id, Step::Moved);
        Ok(())
    }

    /// Gives the process that was drained; none where the node is down. A node that a tool before this one was
    /// restarting may go down in between.
    async fn drain(&mut self, node: &NodeSummary) -> Result<Option<u64>, String> {
        let until = Instant::now() + self.timings.drain;
        loop {
            let Some(boot) = self.boot(node).await else {
                return Ok(None);
            };
            (self.tell)(node.node_id, Step::Drain);
            match self.fleet.drain(&node.grpc_address, false).await {
                Ok(0) => return Ok(Some(boot)),
                Ok(left) => {
                    self.undrain(node).await;
                    return Err(format!("nobody takes over {left} of its shards"));
                }
                Err(error) if Instant::now() >= until => {
                    // The order may have been carried out all the same.
                    self.undrain(node).await;
                    return Err(format!("drain: {error}"));
                }
                Err(_) => sleep(self.timings.poll).await,
            }
        }
    }

    /// The process of a node; none where it is down.
    async fn boot(&mut self, node: &NodeSummary) -> Option<u64> {
        for look in 1..=LOOKS {
            if let Ok(said) = self.fleet.node(&node.grpc_address).await {
                return Some(said.boot_id);
            }
            if look < LOOKS {
                sleep(self.timings.poll).await;
            }
        }
        None
    }

    /// It goes on as it was. Where it cannot be told, its next start takes it back.
    async fn undrain(&mut self, node: &NodeSummary) {
        let until = Instant::now() + self.timings.drain;
        while self.fleet.drain(&node.grpc_address, true).await.is_err() && Instant::now() < until {
            sleep(self.timings.poll).await;
        }
    }

    /// Until another process than before answers, of the wanted program.
    async fn wait_answer(
        &mut self,
        node: &NodeSummary,
        before: Option<u64>,
        program: Option<&Program>,
    ) -> Result<(), String> {
        let until = Instant::now() + self.timings.answer;
        loop {
            let seen = match self.fleet.node(&node.grpc_address).await {
                Ok(said) if before == Some(said.boot_id) => "the same process still runs".to_owned(),
                Ok(said) => return program.map_or(Ok(()), |program| is_of(&said, program)),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                return Err(seen);
            }
            sleep(self.timings.poll).await;
        }
    }

    /// Until nothing would keep a node from being restarted.
    async fn wait_sound(
        &mut self,
        program: Option<&Program>,
        patience: Duration,
    ) -> Result<(), Vec<Refusal>> {
        let refused = |cluster: &_, nodes: &_| refusals(cluster, nodes, program);
        self.wait_for_none(patience, refused).await
    }

    /// Until the cluster can do without this node.
    async fn wait_spared(&mut self, node: u64, way: Way) -> Result<(), String> {
        let refused = |cluster: &_, nodes: &_| match way {
            Way::Forward => cannot_spare(cluster, nodes, node),
            Way::Back => cannot_lose(cluster, node),
        };
        let spared = self.wait_for_none(self.timings.settle, refused).await;
        spared.map_err(|why| list(&why))
    }

    /// Until nothing is wrong with this node.
    async fn wait_well(&mut self, node: u64) -> Result<(), Vec<Refusal>> {
        let refused = |cluster: &_, nodes: &_| of_one(cluster, nodes, node);
        self.wait_for_none(self.timings.settle, refused).await
    }

    /// Whether the others reach a node that this tool does not.
    async fn is_reachable(&mut self, id: u64) -> bool {
        let cluster = self.fleet.cluster().await;
        let node = |node: &NodeSummary| node.node_id == id && node.reachable;
        cluster.map_or(true, |cluster| cluster.nodes.iter().any(node))
    }

    async fn wait_for_none(
        &mut self,
        patience: Duration,
        refused: impl Fn(&GetClusterStatusResponse, &BTreeMap<u64, GetNodeStatusResponse>) -> Vec<Refusal>,
    ) -> Result<(), Vec<Refusal>> {
        let until = Instant::now() + patience;
        loop {
            let why = match self.look().await {
                Ok((cluster, nodes)) => refused(&cluster, &nodes),
                Err(error) => vec![Refusal::NotHealthy(error)],
            };
            if why.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(why);
            }
            sleep(self.timings.poll).await;
        }
    }

    /// The cluster, and what each node that answers says of itself.
    async fn look(
        &mut self,
    ) -> Result<(GetClusterStatusResponse, BTreeMap<u64, GetNodeStatusResponse>), String> {
        let cluster = self.fleet.cluster().await.map_err(|error| error.to_string())?;
        let mut nodes = BTreeMap::new();
        for node in &cluster.nodes {
            if let Ok(said) = self.fleet.node(&node.grpc_address).await {
                nodes.insert(node.node_id, said);
            }
        }
        Ok((cluster, nodes))
    }

    async fn wait_leads(&mut self, id: u64, share: usize) -> Result<(), String> {
        let until = Instant::now() + self.timings.settle;
        loop {
            let leads = self
                .fleet
                .cluster()
                .await
                .map_or(0, |cluster| leads(&cluster, id));
            if leads >= share {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("it leads {leads} shards of the {share} that it led"));
            }
            sleep(self.timings.poll).await;
        }
    }
}

fn is_of(said: &GetNodeStatusResponse, program: &Program) -> Result<(), String> {
    if said.release == program.release && said.commit == program.commit {
        return Ok(());
    }
    Err(format!(
        "it runs release {} of commit {}, not {} of {}",
        said.release, said.commit, program.release, program.commit
    ))
}

fn leads(cluster: &GetClusterStatusResponse, id: u64) -> usize {
    let led = cluster.shards.iter().filter(|shard| shard.leader_node_id == id);
    led.count()
}

/// What the node must lead again: what it led, but no more than its even share, as others may have been down.
fn share(cluster: &GetClusterStatusResponse, id: u64) -> usize {
    let even = cluster.shards.len() / cluster.nodes.len().max(1);
    leads(cluster, id).min(even)
}
