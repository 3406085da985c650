//! Looks at every group of the node, again and again, and carries out what the election driver decides.
//! Never waits for a quorum: that is what it is there to bring about.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spine_consensus::elections::{Action, ElectionDriver, GroupView, NodesView};
use spine_consensus::group::GroupStatus;
use spine_consensus::transport::LivenessSnapshot;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::announce::Announcer;
use crate::calm::Calm;
use crate::entropy::Entropy;
use crate::fitness::Fitness;
use crate::leader_log::LeaderLog;
use crate::shard::host::{Host, Shard};
use crate::turns::Turns;

/// Other tasks run after so many groups.
const GROUPS_AT_A_TIME: usize = 64;
/// Before a change is looked at: others often come with it, and a flapping peer must not keep the driver busy.
const CHANGE_PAUSE: Duration = Duration::from_millis(1);
/// A group that waits for its disk must not hold up the others.
const LOOK_TIME: Duration = Duration::from_millis(100);
/// A follower this many entries behind may take leadership: it catches up within the transfer.
pub(crate) const CAUGHT_UP_ENTRIES_MAX: u64 = 64;

/// What the driver learns from the links.
pub trait NodesSource: Send + Sync + 'static {
    /// What is known of the other nodes now, judged by a group's voters.
    fn nodes(&self, voters: &[u64]) -> NodesView;
    /// Whether this node should not lead now.
    fn self_unfit(&self) -> bool;
    /// At every change of the peers' liveness.
    fn changes(&self) -> watch::Receiver<Arc<LivenessSnapshot>>;
    /// Tells the peers which shards this node leads.
    fn publish_leading(&self, shards: Vec<u32>);
    /// Tells the peers which shards this node cannot lead.
    fn publish_unfit(&self, shards: Vec<u32>);
}

/// Drives all groups of a node.
pub struct Driver {
    host: Arc<Host>,
    nodes: Arc<dyn NodesSource>,
    entropy: Arc<Entropy>,
    fitness: Fitness,
    leaders: LeaderLog,
    elections: ElectionDriver,
    announcer: Announcer,
    calm: Calm,
    turns: Turns,
    /// When the node started.
    started: Instant,
    /// Shards led here, as each was seen last.
    leading: BTreeSet<u32>,
    /// Shards whose replica here has stopped or does not vote.
    idle: BTreeSet<u32>,
    /// What is known of the nodes, by voters, for the groups that are looked at now: the same for most of them.
    seen: Vec<(Vec<u64>, Arc<NodesView>)>,
}

impl Driver {
    /// A driver for this node.
    #[must_use]
    pub fn new(
        node_id: u64,
        host: Arc<Host>,
        nodes: Arc<dyn NodesSource>,
        entropy: Arc<Entropy>,
        fitness: Fitness,
        leaders: LeaderLog,
        started: Instant,
    ) -> Self {
        Self {
            host,
            nodes,
            entropy,
            fitness,
            leaders,
            elections: ElectionDriver::new(node_id),
            announcer: Announcer::default(),
            calm: Calm::default(),
            turns: Turns::new(started, Instant::now()),
            started,
            leading: BTreeSet::new(),
            idle: BTreeSet::new(),
            seen: Vec::new(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        let mut changes = self.nodes.changes();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = sleep_until(due) => {}
                Ok(()) = changes.changed() => {
                    self.turns.stir(Instant::now());
                    sleep(CHANGE_PAUSE).await;
                }
            }
            changes.mark_unchanged();
            self.look_at_all().await;
            let leading = if self.fitness.is_stalled() {
                // A group whose vote cannot be saved believes that it leads, whoever was elected meanwhile.
                Vec::new()
            } else {
                self.leading.iter().copied().collect()
            };
            self.nodes.publish_leading(leading);
            self.nodes.publish_unfit(self.unfit_shards());
            due = self.turns.next(Instant::now());
        }
    }

    /// One turn.
    async fn look_at_all(&mut self) {
        self.seen.clear();
        self.turns.notice(Instant::now(), self.nodes.self_unfit());
        let shards = self.host.all();
        for (at, shard) in shards.iter().enumerate() {
            if at > 0 && at % GROUPS_AT_A_TIME == 0 {
                yield_now().await;
            }
            let number = shard.group.identity().shard;
            let leads = self.look_unless_calm(shard).await;
            let changed = if leads {
                self.leading.insert(number)
            } else {
                self.leading.remove(&number)
            };
            if changed {
                self.turns.stir(Instant::now());
            }
        }
        // A replica that is hosted no more leads nothing.
        let number = |shard: &Arc<Shard>| shard.group.identity().shard;
        let is_hosted = |led: &u32| shards.binary_search_by_key(led, number).is_ok();
        self.leading.retain(is_hosted);
        self.idle.retain(is_hosted);
    }

    /// Replicas that should run and do not, and those that cannot lead: what peers know of them may be old.
    fn unfit_shards(&self) -> Vec<u32> {
        let mut shards = self.host.absent_shards();
        shards.extend(self.idle.iter().filter(|idle| !self.leading.contains(idle)));
        shards
    }

    /// Returns whether a group is led here; decides and acts for it unless nothing happens to it.
    async fn look_unless_calm(&mut self, shard: &Arc<Shard>) -> bool {
        let status = shard.group.status();
        let (now, number) = (Instant::now(), shard.group.identity().shard);
        if !self.turns.are_busy(now) && self.calm.passes(now, number, &status) {
            return leads(shard, &status);
        }
        self.calm.looks(now, number, &status);
        let looked = timeout(LOOK_TIME, self.look_at(shard, status)).await;
        looked.unwrap_or_else(|_| shard.group.status().leading)
    }

    /// Decides and acts for one group; returns whether it is led here.
    async fn look_at(&mut self, shard: &Arc<Shard>, status: GroupStatus) -> bool {
        let group = &shard.group;
        let (voters, changing) = (group.voters(), group.is_changing());
        let nodes = self.nodes_for(&voters);
        let identity = group.identity();
        let votes = voters.iter().any(|(replica, _)| *replica == identity.replica_id);
        // Peers are told: see `unfit_shards`.
        if votes && status.stopped.is_none() {
            self.idle.remove(&identity.shard);
        } else {
            self.idle.insert(identity.shard);
        }
        if status.stopped.is_some() {
            return false;
        }
        let view = GroupView {
            shard: group.identity().shard,
            members: voters,
            changing,
            leader_node: status.leader.map(|(_, node)| node),
            leading: status.leading,
            abdicated: group.has_abdicated(),
            term: status.term,
            committed_index: status.committed_index,
            last_log: group.last_log(),
            caught_up: if status.leading {
                caught_up(shard, status.last_log_index)
            } else {
                Vec::new()
            },
        };
        if view.leader_node.is_none() {
            self.turns.stir(Instant::now());
        }
        let now = self.started.elapsed();
        self.leaders.sees(view.shard, &status, !nodes.self_unfit);
        // Whoever stands saves its vote first, and one that waits for the disk would be spent.
        let action = if self.fitness.is_stalled() && view.members.len() > 1 {
            None
        } else {
            self.elections.decide(now, &view, &nodes, self.entropy.fraction())
        };
        if let Some(action) = action {
            self.leaders.acts(view.shard, action);
            self.turns.stir(Instant::now());
            // It takes a while: the groups after this one are judged by what is known then.
            self.seen.clear();
        }
        match action {
            Some(Action::TakeOver) => {
                tracing::info!(shard = view.shard, term = status.term, "replace a dead leader");
                group.take_over().await;
            }
            Some(Action::Elect) => {
                tracing::info!(shard = view.shard, term = status.term, "stand for election");
                group.elect(true).await;
            }
            Some(Action::TransferTo(replica)) => {
                tracing::info!(shard = view.shard, replica, "hand leadership to another node");
                if let Err(error) = group.transfer_to(replica).await {
                    tracing::warn!(shard = view.shard, %error, "hand over leadership");
                }
            }
            None => {}
        }
        self.announce(shard, &status, nodes.alive.len()).await;
        leads(shard, &status)
    }

    /// The nodes as a group of these replicas must judge them.
    fn nodes_for(&mut self, members: &[(u64, u64)]) -> Arc<NodesView> {
        let voters = || members.iter().map(|(_, node)| *node);
        if let Some((_, seen)) = self.seen.iter().find(|(of, _)| of.iter().copied().eq(voters())) {
            return Arc::clone(seen);
        }
        let voters: Vec<u64> = voters().collect();
        let seen = Arc::new(self.nodes.nodes(&voters));
        self.seen.push((voters, Arc::clone(&seen)));
        seen
    }

    /// Lets followers of an idle group learn what they did not hear.
    async fn announce(&mut self, shard: &Shard, status: &GroupStatus, voters_heard: usize) {
        let number = shard.group.identity().shard;
        if !status.leading {
            self.announcer.forget(number);
            return;
        }
        let now = self.started.elapsed();
        if self
            .announcer
            .is_due(now, number, status.term, status.committed_index, voters_heard)
        {
            shard.group.heartbeat().await;
        }
    }
}

/// The others elect a leader in the place of one that no longer claims to be it.
fn leads(shard: &Shard, status: &GroupStatus) -> bool {
    status.leading && !shard.group.has_abdicated()
}

fn caught_up(shard: &Shard, last: u64) -> Vec<u64> {
    let members = shard.group.voters();
    shard
        .group
        .matched()
        .into_iter()
        .filter(|(_, index)| index.saturating_add(CAUGHT_UP_ENTRIES_MAX) >= last)
        .filter_map(|(replica, _)| {
            members
                .iter()
                .find(|(id, _)| *id == replica)
                .map(|(_, node)| *node)
        })
        .collect()
}
