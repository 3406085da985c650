//! What goes wrong with one node while all are rolled, when, and how that is undone.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use spine_client::upgrade::{Step, Timings};
use spine_faultdisk::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use super::rolls::Shared;
use crate::processes::{Cluster, ClusterError, Disks, signals};
use crate::proxy::Mesh;

/// Between two resets of a node's connections: they are open again for most of the time.
const BETWEEN_RESETS: Duration = Duration::from_millis(300);
/// A node that is being restarted runs again within this.
const RUNS: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// A node that is asked to end has ended within this.
const END: Duration = Duration::from_secs(60);
/// What is free on a full disk.
const FULL_BYTES: u64 = 0;

/// What goes wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollFault {
    /// SIGKILL, then a restart.
    Kill,
    /// SIGTERM, then a restart: somebody else stops a node.
    Terminate,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// The node and its peers do not hear each other. This one and the next three need proxies.
    Silence,
    /// What the node sends to its peers is lost; it hears them.
    Mute,
    /// What its peers send to the node is lost; they hear it.
    Deaf,
    /// The connections between the node and its peers are reset, again and again.
    Resets,
    /// The node's syncs wait. This one and the next need a cluster on disks that can be troubled.
    Stall,
    /// The node's disk takes nothing more.
    Full,
}

impl RollFault {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Terminate,
        Self::Pause,
        Self::Silence,
        Self::Mute,
        Self::Deaf,
        Self::Resets,
        Self::Stall,
        Self::Full,
    ];

    /// Whether it needs disks that can be troubled.
    #[must_use]
    pub fn needs_disks(self) -> bool {
        matches!(self, Self::Stall | Self::Full)
    }

    /// What befell the node, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Terminate => "stopped by somebody else",
            Self::Pause => "frozen",
            Self::Silence => "cut off",
            Self::Mute => "not heard",
            Self::Deaf => "hears nobody",
            Self::Resets => "connections reset",
            Self::Stall => "disk stalled",
            Self::Full => "disk full",
        }
    }
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// Shorter than the tool waits for anything.
    Moment,
    /// Longer than the tool waits for anything; it is told to wait for less than it does by itself.
    TooLong,
}

impl Lasts {
    fn time(self) -> Duration {
        match self {
            Self::Moment => Duration::from_millis(1_500),
            Self::TooLong => Duration::from_secs(30),
        }
    }

    /// The fault comes at a moment of any node's restart (a roll takes 8 to 19 s); before the last one where the tool is to
    /// notice it.
    fn begins_ms(self) -> Range<u64> {
        match self {
            Self::Moment => 0..12_000,
            Self::TooLong => 0..4_000,
        }
    }

    /// How long the tool waits. A look at a cluster with a frozen node alone takes it some 7 s.
    pub(super) fn patience(self) -> Timings {
        match self {
            Self::Moment => Timings::default(),
            Self::TooLong => Timings {
                drain: Duration::from_secs(5),
                answer: Duration::from_secs(12),
                settle: Duration::from_secs(12),
                ..Timings::default()
            },
        }
    }
}

/// When it begins, and which node it befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// At any moment, any node.
    Anytime,
    /// As soon as the tool begins this step with any node, and then that node or another one.
    At(Step, Victim),
}

/// Whom a fault befalls that comes with a step of the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The node that is being moved.
    Moved,
    /// Another one.
    Other,
}

/// One fault of one roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thrown {
    pub fault: RollFault,
    pub lasts: Lasts,
    pub begins: Begins,
}

/// What the tool says it does, by node number.
pub(super) type Steps = UnboundedReceiver<(usize, Step)>;

/// A cluster that is rolled and hurt at the same time.
pub struct Target {
    /// Before the cluster: a process whose sync waits cannot be killed before it has its answer.
    disks: Option<Arc<Disks>>,
    cluster: Shared,
}

impl Target {
    /// A cluster, and its disks where they can be troubled.
    #[must_use]
    pub fn new(cluster: Shared, disks: Option<Disks>) -> Self {
        Self {
            disks: disks.map(Arc::new),
            cluster,
        }
    }

    /// The processes.
    #[must_use]
    pub fn cluster(&self) -> &Shared {
        &self.cluster
    }

    /// Waits a while, hurts a node for a while, and undoes it. `false` where the tool has ended before the step with
    /// which it was to begin.
    pub(super) async fn hurt(
        &self,
        thrown: Thrown,
        steps: &mut Steps,
        random: &mut ChaCha8Rng,
    ) -> Result<bool, ClusterError> {
        let nodes = self.cluster.lock().await.nodes();
        let node = match thrown.begins {
            Begins::Anytime => {
                let begins_ms = random.random_range(thrown.lasts.begins_ms());
                sleep(Duration::from_millis(begins_ms)).await;
                random.random_range(0..nodes)
            }
            Begins::At(step, victim) => {
                let moved_before = random.random_range(0..nodes);
                let Some(moved) = nth(steps, step, moved_before).await else {
                    return Ok(false);
                };
                match victim {
                    Victim::Moved => moved,
                    Victim::Other => (moved + random.random_range(1..nodes)) % nodes,
                }
            }
        };
        self.befall(node, thrown).await?;
        Ok(true)
    }

    async fn befall(&self, node: usize, thrown: Thrown) -> Result<(), ClusterError> {
        let lasts = thrown.lasts.time();
        match thrown.fault {
            RollFault::Kill => self.kill(node, lasts).await,
            RollFault::Terminate => self.terminate(node, lasts).await,
            RollFault::Pause => self.pause(node, lasts).await,
            RollFault::Silence | RollFault::Mute | RollFault::Deaf => {
                self.cut(node, thrown.fault, lasts).await
            }
            RollFault::Resets => self.reset(node, lasts).await,
            RollFault::Stall => {
                self.trouble(node, thrown.fault, Command::StallSync(None), lasts)
                    .await
            }
            RollFault::Full => {
                let full = Command::Full(FULL_BYTES);
                self.trouble(node, thrown.fault, full, lasts).await?;
                // It does not start on a full disk, and whoever starts it again has waited for the disk.
                self.start_if_down(node).await
            }
        }
    }

    async fn kill(&self, node: usize, lasts: Duration) -> Result<(), ClusterError> {
        // One that is being restarted may be down already.
        self.cluster.lock().await.kill(node)?;
        sleep(lasts).await;
        self.start_if_down(node).await
    }

    async fn terminate(&self, node: usize, lasts: Duration) -> Result<(), ClusterError> {
        self.cluster.lock().await.stop(node, END).await?;
        sleep(lasts).await;
        self.start_if_down(node).await
    }

    /// The tool may have started it meanwhile: to end it again would be a second fault.
    async fn start_if_down(&self, node: usize) -> Result<(), ClusterError> {
        let mut cluster = self.cluster.lock().await;
        match cluster.pid(node).filter(|pid| signals::is_running(*pid)) {
            Some(_) => Ok(()),
            None => cluster.restart(node),
        }
    }

    async fn pause(&self, node: usize, lasts: Duration) -> Result<(), ClusterError> {
        let pid = self.stop_running(node).await?;
        sleep(lasts).await;
        // The tool may have restarted it: another process then, which was not paused.
        let _ = signals::resume(pid);
        self.cluster.lock().await.ended(node);
        Ok(())
    }

    /// Gives the process that was stopped. One that is just being restarted is waited for.
    async fn stop_running(&self, node: usize) -> Result<u32, ClusterError> {
        let end = Instant::now() + RUNS;
        loop {
            let mut cluster = self.cluster.lock().await;
            if let Some(pid) = cluster.pid(node).filter(|pid| signals::is_running(*pid)) {
                cluster.began(node, RollFault::Pause.name());
                signals::pause(pid)?;
                return Ok(pid);
            }
            drop(cluster);
            if Instant::now() >= end {
                return Err(ClusterError::Waited {
                    what: format!("the process of node {}", node + 1),
                    limit: RUNS,
                    seen: "none".to_owned(),
                });
            }
            sleep(POLL).await;
        }
    }

    async fn cut(&self, node: usize, fault: RollFault, lasts: Duration) -> Result<(), ClusterError> {
        let mut cluster = self.cluster.lock().await;
        cluster.began(node, fault.name());
        swallow(mesh(&cluster)?, node, fault);
        drop(cluster);
        sleep(lasts).await;
        let mut cluster = self.cluster.lock().await;
        mesh(&cluster)?.heal();
        cluster.ended(node);
        Ok(())
    }

    async fn reset(&self, node: usize, lasts: Duration) -> Result<(), ClusterError> {
        self.cluster.lock().await.began(node, RollFault::Resets.name());
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            reset_all(mesh(&*self.cluster.lock().await)?, node);
            sleep(BETWEEN_RESETS).await;
        }
        self.cluster.lock().await.ended(node);
        Ok(())
    }

    async fn trouble(
        &self,
        node: usize,
        fault: RollFault,
        command: Command,
        lasts: Duration,
    ) -> Result<(), ClusterError> {
        let disks = self.disks.clone();
        let disks = disks.ok_or_else(|| io::Error::other("these disks cannot be troubled"))?;
        self.cluster.lock().await.began(node, fault.name());
        // In a task of its own: the roll, which shares this one, may wait for a process that cannot end
        // before the disk is healed.
        let troubled = tokio::spawn(async move {
            disks.order(node, &command)?;
            sleep(lasts).await;
            disks.order(node, &Command::Heal)
        });
        troubled.await.map_err(io::Error::other)??;
        self.cluster.lock().await.ended(node);
        Ok(())
    }
}

/// The node with which the tool begins this step for the time after so many others.
async fn nth(steps: &mut Steps, step: Step, others: usize) -> Option<usize> {
    let mut seen = 0;
    loop {
        let (node, told) = steps.recv().await?;
        if told != step {
            continue;
        }
        if seen == others {
            return Some(node);
        }
        seen += 1;
    }
}

fn mesh(cluster: &Cluster) -> Result<&Mesh, ClusterError> {
    cluster.mesh().ok_or(ClusterError::NoProxies)
}

/// What is sent from now on is lost, in the ways that the fault says.
fn swallow(mesh: &Mesh, node: usize, fault: RollFault) {
    for peer in (0..mesh.nodes()).filter(|peer| *peer != node) {
        if fault != RollFault::Deaf {
            mesh.change_way(node, peer, |way| way.swallows = true);
        }
        if fault != RollFault::Mute {
            mesh.change_way(peer, node, |way| way.swallows = true);
        }
    }
}

/// Whoever opened them.
fn reset_all(mesh: &Mesh, node: usize) {
    for peer in (0..mesh.nodes()).filter(|peer| *peer != node) {
        let edges = [mesh.edge(node, peer), mesh.edge(peer, node)];
        edges.into_iter().flatten().for_each(|edge| edge.reset());
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proxy::MeshPlan;

    #[test]
    fn what_is_too_long_outlasts_the_patience_of_the_tool() {
        let (fault, patience) = (Lasts::TooLong.time(), Lasts::TooLong.patience());
        for wait in [patience.drain, patience.answer, patience.settle] {
            assert!(wait * 2 < fault, "{wait:?}");
        }
        let patience = Lasts::Moment.patience();
        assert!(Lasts::Moment.time() < patience.drain.min(patience.answer).min(patience.settle));
    }

    #[tokio::test]
    async fn a_fault_waits_for_its_step_and_is_not_thrown_where_that_never_comes() {
        let (tell, mut steps) = tokio::sync::mpsc::unbounded_channel();
        for told in [
            (2, Step::Drain),
            (2, Step::Restart),
            (0, Step::Drain),
            (1, Step::Drain),
        ] {
            tell.send(told).unwrap();
        }
        drop(tell);
        assert_eq!(nth(&mut steps, Step::Drain, 1).await, Some(0));
        assert_eq!(nth(&mut steps, Step::Restart, 0).await, None);
    }

    #[tokio::test]
    async fn one_way_is_cut_and_the_other_is_not() {
        let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let plan = MeshPlan {
            seed: 1,
            peers: vec![nowhere; 3],
            grpc: vec![nowhere; 3],
            ports: Vec::new(),
        };
        let mesh = Mesh::start(&plan).await.unwrap();
        let lost = |from, to| mesh.edge(from, to).unwrap().rules().forward.swallows;
        for (fault, sends, hears) in [
            (RollFault::Mute, true, false),
            (RollFault::Deaf, false, true),
            (RollFault::Silence, true, true),
        ] {
            swallow(&mesh, 1, fault);
            assert_eq!([lost(1, 0), lost(1, 2)], [sends; 2], "{fault:?}");
            assert_eq!([lost(0, 1), lost(2, 1)], [hears; 2], "{fault:?}");
            assert!(!lost(0, 2) && !lost(2, 0), "{fault:?}");
            mesh.heal();
        }
        reset_all(&mesh, 1);
        let resets = |from, to| mesh.edge(from, to).unwrap().rules().resets;
        assert_eq!([resets(1, 2), resets(2, 1), resets(0, 2)], [1, 1, 0]);
    }
}
