//! Fault after fault, with the same clients all the time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde::Serialize;
use tokio::time::sleep;

use spine_client::etcd::EtcdCluster;

use super::disk::DiskProbe;
use super::http::{self, Befell};
use super::load::{Client, Load};
use super::noticed::{self, Noticed};
use super::spine;
use super::summary::Summary;
use crate::processes::{Closing, Cluster, ClusterError, signals};
use crate::workload::seeded;

/// Calls of one client may take so long before they count as failed.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// After the cluster is whole again, at least; up to [`CALM_JITTER_MS`] more, so that faults are not in step with anything.
const CALM: Duration = Duration::from_millis(700);
const CALM_JITTER_MS: u64 = 300;
/// How long a fault lasts before the node comes back.
const LASTS: Duration = Duration::from_millis(1_500);
/// The cluster is whole again within this.
const SETTLE: Duration = Duration::from_secs(60);

/// What is done to one node, in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what the machine itself does to a call.
    None,
    /// SIGKILL, then a restart.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// Bytes between the node and its peers are lost, in turns those that it sends, those that it gets, and both;
    /// clients reach it all the time. Needs a cluster with proxies.
    Silence,
    /// In turns SIGTERM, then a restart, and `node drain`, then its undoing.
    Planned,
}

/// How many, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub clients: usize,
    pub faults: u32,
    pub fault: Fault,
    pub seed: u64,
    /// Where a sync of the machine's own disk takes longer than this beside a fault, the fault says nothing of the
    /// cluster: it is set aside and made once more, and told apart.
    pub disk_limit: Option<Duration>,
}

/// A run ends after so many times the faults that are wanted, however few met a sound disk.
const TURNS_MAX: u32 = 5;

/// What clients noticed.
#[derive(Clone, Debug, Serialize)]
pub struct Gap {
    /// Of the faults beside which the disk was sound.
    #[serde(flatten)]
    pub summary: Summary,
    /// Of the other ones.
    pub set_aside: Summary,
    /// As many faults met a sound disk as were wanted.
    pub complete: bool,
    pub calls: u64,
    pub calls_per_second: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
    /// Lines of the level ERROR that the nodes wrote: a fault that the cluster is made for is none, and a planned stop even
    /// less.
    pub errors_logged: Vec<String>,
    /// New terms over all shards.
    pub elections: u64,
    /// The same for calls to shards that the hurt node did not lead.
    pub others: Summary,
    /// From the kill to the end of a connection to the node, as its peers see it, ms.
    pub closed: Summary,
    /// The slowest sync of the machine's disk beside each fault, ms.
    pub disk: Summary,
    /// Each gap, how long after the fault it ended, and the slowest sync of the disk meanwhile.
    pub gaps_ms: Vec<(u64, u64, u64)>,
}

impl Gap {
    /// No call failed, nothing was lost, and no node called anything an error.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.lost == 0 && self.errors_logged.is_empty()
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary {
            faults,
            p50_ms,
            p99_ms,
            max_ms,
        } = self.summary;
        write!(
            f,
            "{faults} faults, gap p50 {p50_ms} p99 {p99_ms} max {max_ms} ms, {} calls ({}/s), {} failed",
            self.calls, self.calls_per_second, self.failed
        )?;
        if let Some(first) = &self.first_failure {
            write!(f, " (first: {first})")?;
        }
        write!(f, ", {} lost, {} elections", self.lost, self.elections)?;
        if let Some(first) = self.errors_logged.first() {
            write!(
                f,
                ", {} errors in the nodes' logs (first: {first})",
                self.errors_logged.len()
            )?;
        }
        let Summary { p50_ms, p99_ms, .. } = self.others;
        write!(f, ", keys led elsewhere p50 {p50_ms} p99 {p99_ms} ms")?;
        if self.closed.faults > 0 {
            let Summary { p50_ms, max_ms, .. } = self.closed;
            write!(f, ", kill to closed socket p50 {p50_ms} max {max_ms} ms")?;
        }
        let Summary { p50_ms, max_ms, .. } = self.disk;
        write!(f, ", the disk's slowest sync p50 {p50_ms} max {max_ms} ms")?;
        self.set_aside.write_aside(f)?;
        if !self.complete {
            f.write_str("; too few faults met a sound disk")?;
        }
        Ok(())
    }
}

/// A store that can be hurt.
trait Patient {
    /// The shards that are led by the node whose turn it is.
    async fn led(&mut self, turn: u32) -> Result<BTreeSet<u32>, ClusterError>;
    /// Hurts the node whose turn it is. Gives how long its sockets took to close, if they do.
    async fn hurt(&mut self, fault: Fault, turn: u32) -> Result<Option<Duration>, ClusterError>;
    /// Undoes it and waits until the store is as it was.
    async fn mend(&mut self, fault: Fault) -> Result<(), ClusterError>;
    /// What clients noticed of a fault, for the report of the run.
    fn note(&self, noticed: String);
    /// Where the store keeps its files.
    fn directory(&self) -> PathBuf;
    /// Errors that it has logged so far.
    fn errors_logged(&self) -> Vec<String>;
    /// Terms so far, over all groups.
    async fn terms(&mut self) -> Result<u64, ClusterError>;
}

async fn play(
    patient: &mut impl Patient,
    clients: Vec<Box<dyn Client>>,
    rounds: Rounds,
) -> Result<Gap, ClusterError> {
    let mut random = seeded(rounds.seed, "gap");
    let terms = patient.terms().await?;
    let disk = DiskProbe::start(&patient.directory())?;
    let load = Load::start(clients);
    let began = Instant::now();
    sleep(CALM).await;
    let (mut all, mut closed) = (Vec::<Noticed>::new(), Vec::new());
    let (mut turn, mut sound) = (0, 0);
    while sound < rounds.faults && turn < rounds.faults * TURNS_MAX {
        let led = patient.led(turn).await?;
        load.forget();
        let fault = Instant::now();
        closed.extend(patient.hurt(rounds.fault, turn).await?);
        sleep(LASTS).await;
        patient.mend(rounds.fault).await?;
        // Whatever ends before the next fault belongs to this one.
        sleep(CALM + Duration::from_millis(random.random_range(0..CALM_JITTER_MS))).await;
        let (gap, ended) = load.longest_since(fault, |_| true);
        let (other, _) = load.longest_since(fault, |shard| !led.contains(&shard));
        let noticed = Noticed {
            gap,
            ended,
            other,
            disk: disk.slowest_since(fault),
        };
        let (gap, ended, synced) = noticed.in_ms();
        patient.note(format!(
            "a call of {gap} ms ended {ended} ms after the fault; the disk's slowest sync took {synced} ms"
        ));
        sound += u32::from(noticed.is_sound(rounds.disk_limit));
        all.push(noticed);
        turn += 1;
    }
    let elapsed = began.elapsed();
    let elections = patient.terms().await?.saturating_sub(terms);
    let tally = load.stop().await;
    let (summary, set_aside) = noticed::summaries(&all, rounds.disk_limit);
    let gaps_ms = all.iter().map(Noticed::in_ms).collect();
    let disk = noticed::of(&all, |noticed| noticed.disk);
    all.retain(|noticed| noticed.is_sound(rounds.disk_limit));
    Ok(Gap {
        complete: sound >= rounds.faults,
        summary,
        set_aside,
        calls: tally.calls,
        calls_per_second: tally.calls / elapsed.as_secs().max(1),
        failed: tally.failed,
        first_failure: tally.first_failure,
        lost: tally.lost,
        errors_logged: patient.errors_logged(),
        elections,
        others: noticed::of(&all, |noticed| noticed.other),
        closed: Summary::of(&closed),
        disk,
        gaps_ms,
    })
}

/// Faults of Spine's nodes in turn; each leads its share of the shards when it is hurt.
///
/// # Errors
/// A node that does not come back.
pub async fn spine_rounds(cluster: &mut Cluster, rounds: Rounds) -> Result<Gap, ClusterError> {
    let clients = spine::clients(cluster, rounds.clients, CALL_DEADLINE)?;
    let mut patient = SpinePatient {
        cluster,
        hurt: None,
        drained: false,
    };
    patient.cluster.wait_leaders_spread(SETTLE).await?;
    play(&mut patient, clients, rounds).await
}

/// The same with clients of FHIR over HTTP.
///
/// # Errors
/// A node that does not come back.
pub async fn http_rounds(cluster: &mut Cluster, rounds: Rounds) -> Result<(Gap, Befell), ClusterError> {
    let (clients, befell) = http::clients(cluster, rounds.clients, CALL_DEADLINE);
    let mut patient = SpinePatient {
        cluster,
        hurt: None,
        drained: false,
    };
    patient.cluster.wait_leaders_spread(SETTLE).await?;
    let gap = play(&mut patient, clients, rounds).await?;
    let befell = *befell.lock();
    Ok((gap, befell))
}

struct SpinePatient<'a> {
    cluster: &'a mut Cluster,
    hurt: Option<usize>,
    /// The hurt node was drained, not stopped.
    drained: bool,
}

impl SpinePatient<'_> {
    fn silence(&self, victim: usize, turn: u32) {
        let Some(mesh) = self.cluster.mesh() else {
            return;
        };
        // Every shape meets every node: the shape changes when each node had its turn.
        let shape = usize::try_from(turn).unwrap_or(0) / self.cluster.nodes() % 3;
        for peer in (0..self.cluster.nodes()).filter(|peer| *peer != victim) {
            if shape != 1 {
                mesh.change_way(victim, peer, |way| way.swallows = true);
            }
            if shape != 0 {
                mesh.change_way(peer, victim, |way| way.swallows = true);
            }
        }
    }
}

impl Patient for SpinePatient<'_> {
    async fn led(&mut self, turn: u32) -> Result<BTreeSet<u32>, ClusterError> {
        let victim = usize::try_from(turn).unwrap_or(0) % self.cluster.nodes();
        let status = self.cluster.status(victim).await?;
        let address = self.cluster.grpc(victim);
        let node = status.nodes.iter().find(|node| node.grpc_address == address);
        let id = node.map_or(0, |node| node.node_id);
        let led = status.shards.iter().filter(|shard| shard.leader_node_id == id);
        Ok(led.map(|shard| shard.shard).collect())
    }

    async fn hurt(&mut self, fault: Fault, turn: u32) -> Result<Option<Duration>, ClusterError> {
        let victim = usize::try_from(turn).unwrap_or(0) % self.cluster.nodes();
        let Some(pid) = self.cluster.pid(victim) else {
            return Ok(None);
        };
        self.hurt = Some(victim);
        match fault {
            Fault::None => Ok(None),
            Fault::Kill => {
                self.cluster.began(victim, "SIGKILL");
                let closing = Closing::watch(self.cluster.grpc(victim)).await?;
                signals::kill(pid)?;
                Ok(Some(closing.closed().await))
            }
            Fault::Pause => {
                self.cluster.began(victim, "SIGSTOP");
                Ok(signals::pause(pid).map(|()| None)?)
            }
            Fault::Silence => {
                self.cluster.began(victim, "cut off");
                self.silence(victim, turn);
                Ok(None)
            }
            Fault::Planned if turn % 2 == 1 => {
                self.cluster.began(victim, "drain");
                self.cluster.admin(victim)?.drain_node(false).await?;
                self.drained = true;
                Ok(None)
            }
            Fault::Planned => {
                self.cluster.began(victim, "SIGTERM");
                Ok(signals::terminate(pid).map(|()| None)?)
            }
        }
    }

    async fn mend(&mut self, fault: Fault) -> Result<(), ClusterError> {
        let Some(victim) = self.hurt.take() else {
            return Ok(());
        };
        match fault {
            Fault::None => return Ok(()),
            Fault::Kill => {
                self.cluster.kill(victim)?;
                self.cluster.restart(victim)?;
            }
            Fault::Pause => self.cluster.resume(victim)?,
            Fault::Silence => {
                if let Some(mesh) = self.cluster.mesh() {
                    mesh.heal();
                }
            }
            Fault::Planned if std::mem::take(&mut self.drained) => {
                self.cluster.admin(victim)?.drain_node(true).await?;
            }
            Fault::Planned => {
                self.cluster.wait_ended(victim, SETTLE).await?;
                self.cluster.restart(victim)?;
            }
        }
        self.cluster.ended(victim);
        self.cluster.wait_healthy(SETTLE).await?;
        self.cluster.wait_leaders_spread(SETTLE).await
    }

    fn note(&self, noticed: String) {
        self.cluster.journal().note(noticed);
    }

    fn directory(&self) -> PathBuf {
        self.cluster.directory().to_path_buf()
    }

    fn errors_logged(&self) -> Vec<String> {
        self.cluster.errors_logged()
    }

    async fn terms(&mut self) -> Result<u64, ClusterError> {
        let status = self.cluster.status(0).await?;
        Ok(status.shards.iter().map(|shard| shard.term).sum())
    }
}

/// Kills of etcd's leader, each in its turn.
///
/// # Errors
/// A node that does not come back.
pub async fn etcd_rounds(
    cluster: &mut EtcdCluster,
    rounds: Rounds,
    try_deadline: Duration,
) -> Result<Gap, ClusterError> {
    let clients = super::etcd::clients(cluster, rounds.clients, try_deadline, CALL_DEADLINE)?;
    play(&mut EtcdPatient { cluster, hurt: None }, clients, rounds).await
}

struct EtcdPatient<'a> {
    cluster: &'a mut EtcdCluster,
    hurt: Option<usize>,
}

impl Patient for EtcdPatient<'_> {
    async fn led(&mut self, _turn: u32) -> Result<BTreeSet<u32>, ClusterError> {
        Ok(BTreeSet::from([0]))
    }

    async fn hurt(&mut self, fault: Fault, _turn: u32) -> Result<Option<Duration>, ClusterError> {
        let (leader, _) = self.cluster.leader(SETTLE).await?;
        self.hurt = Some(leader);
        match fault {
            Fault::None => Ok(None),
            Fault::Kill => {
                let closing = Closing::watch(self.cluster.address(leader)).await?;
                self.cluster.kill(leader)?;
                Ok(Some(closing.closed().await))
            }
            Fault::Pause | Fault::Silence | Fault::Planned => Err(ClusterError::from(std::io::Error::other(
                "only kills are compared with etcd",
            ))),
        }
    }

    async fn mend(&mut self, fault: Fault) -> Result<(), ClusterError> {
        let Some(victim) = self.hurt.take().filter(|_| fault == Fault::Kill) else {
            return Ok(());
        };
        self.cluster.restart(victim)?;
        Ok(self.cluster.wait_member(victim, SETTLE).await?)
    }

    /// It has levels of its own.
    fn errors_logged(&self) -> Vec<String> {
        Vec::new()
    }

    /// Nobody looks at the faults of etcd one by one.
    fn note(&self, _noticed: String) {}

    fn directory(&self) -> PathBuf {
        self.cluster.directory().to_path_buf()
    }

    async fn terms(&mut self) -> Result<u64, ClusterError> {
        Ok(self.cluster.leader(SETTLE).await?.1)
    }
}
