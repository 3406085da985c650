//! One Raft group as this node sees it: propose, read barrier, leadership, messages from peers.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::raft::TransferLeaderRequest;
use openraft::{Config, Raft, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use spine_mutants::mutant;
use spine_statemachine::Applied;
use spine_storage::ids::LogId;
use spine_storage::replica::{CheckpointWorker, ReplicaStore};
use spine_storage::wal::GroupLog;
use tokio::time::{Instant, sleep};

use crate::convert;
use crate::log_adapter::LogAdapter;
use crate::membership::Roster;
use crate::network_adapter::NetworkFactory;
use crate::peers::Peers;
use crate::state_adapter::StateAdapter;
use crate::types::{Command, SpineRaft};

/// A successor that has not been elected after so long did not get the order; milliseconds are usual.
const HAND_OVER_TIME: Duration = Duration::from_millis(500);
/// The first entry of a new leader is applied within this, or a call that waits for it asks why not.
const OWN_ENTRY_TIME: Duration = Duration::from_millis(50);

/// Timings of one group. openraft's own ticks are off: the election driver decides who stands.
#[derive(Clone, Copy, Debug)]
pub struct GroupTimings {
    /// A leader without an answer of a quorum for this long refuses proposals; a follower that heard its leader
    /// within it grants no ordinary vote.
    pub leader_lease: Duration,
    /// Log entries kept after a snapshot for followers that are only a little behind.
    pub log_entries_kept: u64,
}

impl Default for GroupTimings {
    fn default() -> Self {
        Self {
            leader_lease: Duration::from_millis(1_000),
            log_entries_kept: 4_096,
        }
    }
}

/// Who hosts this group and who this replica is.
#[derive(Clone, Debug)]
pub struct GroupIdentity {
    /// 0 is the meta group.
    pub shard: u32,
    /// This replica; never reused.
    pub replica_id: u64,
    /// All first voters: (replica id, node id), in node order. Who they are now is told by [`RaftGroup::voters`].
    pub first_voters: Vec<(u64, u64)>,
}

/// A proposal that was applied.
pub struct Proposed {
    /// Index of its entry.
    pub index: u64,
    /// What applying it did.
    pub applied: Applied,
}

/// Why a proposal or a barrier did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Not proposed: this replica does not lead. Names the node that does, if known.
    #[error("not the leader")]
    NotLeader {
        /// The leader's node.
        leader_node: Option<u64>,
    },
    /// Not proposed: no quorum answers.
    #[error("no quorum answers")]
    NoQuorum,
    /// It may be committed later, or never.
    #[error("outcome unknown")]
    Unknown,
    /// The replica has stopped.
    #[error("replica stopped: {0}")]
    Stopped(String),
}

/// Who leads, as far as one replica has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Current term.
    pub term: u64,
    /// The leader's node; none while nobody is known to have won.
    pub node: Option<u64>,
}

/// What a group looks like from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Current term.
    pub term: u64,
    /// The replica and node this replica believes to lead.
    pub leader: Option<(u64, u64)>,
    /// Whether this replica acts as leader.
    pub leading: bool,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
    /// Index of the newest log entry.
    pub last_log_index: u64,
    /// Index of the newest committed entry known here.
    pub committed_index: u64,
    /// Its term.
    pub committed_term: u64,
    /// Everything up to here was purged.
    pub purged_index: u64,
}

/// One replica of one group.
pub struct RaftGroup {
    identity: GroupIdentity,
    pub(crate) raft: Raft<SpineRaft, StateAdapter>,
    store: ReplicaStore,
    log: GroupLog,
    /// The term in which a barrier of this leader has succeeded; before it nothing is planned.
    ready_term: AtomicU64,
    /// When this leader first handed over, and in which term.
    handed_over: Mutex<Option<(u64, Instant)>>,
}

impl RaftGroup {
    /// Opens the replica and starts its tasks on the current runtime.
    ///
    /// # Errors
    /// What the log or the store says, or a damaged replica.
    pub async fn open(
        identity: GroupIdentity,
        timings: GroupTimings,
        log: GroupLog,
        store: ReplicaStore,
        checkpoints: CheckpointWorker,
        peers: Arc<dyn Peers>,
    ) -> io::Result<Arc<Self>> {
        let config = raft_config(identity.shard, timings).map_err(io::Error::other)?;
        crate::repair::align(&log, store.applied()).await?;
        let network = NetworkFactory {
            shard: identity.shard,
            peers,
            log: log.clone(),
        };
        let raft = Raft::new(
            identity.replica_id,
            Arc::new(config),
            network,
            LogAdapter::new(log.clone()),
            StateAdapter::new(identity.shard, store.clone(), checkpoints),
        )
        .await
        .map_err(|fatal| io::Error::other(fatal.to_string()))?;
        Ok(Arc::new(Self {
            identity,
            raft,
            store,
            log,
            ready_term: AtomicU64::new(0),
            handed_over: Mutex::default(),
        }))
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> &GroupIdentity {
        &self.identity
    }

    /// The replicated state on this node.
    #[must_use]
    pub fn store(&self) -> &ReplicaStore {
        &self.store
    }

    /// The replica's log.
    #[must_use]
    pub fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Proposes an encoded `storage.v1.Entry` and waits until it is applied here.
    ///
    /// # Errors
    /// [`GroupError::NotLeader`] and [`GroupError::NoQuorum`] where nothing was proposed,
    /// [`GroupError::Unknown`] where it may yet be committed.
    pub async fn propose(&self, entry: Bytes) -> Result<Proposed, GroupError> {
        match self.try_propose(entry.clone()).await {
            // A quiet group's lease has run out: an answer of the quorum renews it.
            Err(GroupError::NoQuorum) => {
                self.barrier().await?;
                self.try_propose(entry).await
            }
            other => other,
        }
    }

    async fn try_propose(&self, entry: Bytes) -> Result<Proposed, GroupError> {
        let response = self
            .raft
            .client_write(Command(entry))
            .await
            .map_err(|error| match error {
                RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => self.not_leader(&forward),
                RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_) => {
                    GroupError::Unknown
                }
                RaftError::APIError(other) => GroupError::Stopped(other.to_string()),
            })?;
        Ok(Proposed {
            index: response.log_id.index(),
            applied: response.data.applied,
        })
    }

    pub(crate) fn not_leader(&self, forward: &ForwardToLeader<SpineRaft>) -> GroupError {
        let leader = forward.leader_id.filter(|id| *id != self.identity.replica_id);
        match leader {
            Some(replica) => GroupError::NotLeader {
                leader_node: self.node_of(replica),
            },
            None if self.raft.is_leader() => GroupError::NoQuorum,
            None => GroupError::NotLeader { leader_node: None },
        }
    }

    /// Proves that this replica led after the call began and that everything committed before it is applied here.
    /// Returns the index the local state is at least exact at.
    ///
    /// # Errors
    /// [`GroupError::NotLeader`], [`GroupError::NoQuorum`], [`GroupError::Stopped`].
    pub async fn barrier(&self) -> Result<u64, GroupError> {
        if mutant!("anyone-answers") {
            return Ok(0);
        }
        let lease = mutant!("lease-read").then_some(ReadPolicy::LeaseRead);
        let policy = lease.unwrap_or(ReadPolicy::ReadIndex);
        match self.raft.ensure_linearizable(policy).await {
            Ok(read) => {
                self.ready_term
                    .fetch_max(read.committed_leader_id().term, Ordering::AcqRel);
                Ok(read.index())
            }
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(self.not_leader(&forward))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(GroupError::NoQuorum),
            Err(RaftError::Fatal(fatal)) => Err(GroupError::Stopped(fatal.to_string())),
        }
    }

    /// Returns once this replica may plan: it leads, and its first entry of its own term is applied.
    ///
    /// # Errors
    /// As [`RaftGroup::barrier`].
    pub async fn ready_to_plan(&self) -> Result<(), GroupError> {
        let term = self.leading_term()?;
        if self.ready_term.load(Ordering::Acquire) == term {
            return Ok(());
        }
        // Boxed: seldom needed, and else as large as all that is left of a call.
        Box::pin(self.become_ready(term)).await
    }

    async fn become_ready(&self, term: u64) -> Result<(), GroupError> {
        // The entry is on its way by itself. A barrier, which says so where none will come, is a round more for each
        // call that waits, while everybody waits for this leader.
        let barrier = pin!(async {
            sleep(OWN_ENTRY_TIME).await;
            self.barrier().await
        });
        match select(pin!(self.own_entry_applied(term)), barrier).await {
            Either::Left((true, _)) => {
                if self.leading_term()? != term {
                    return Err(GroupError::NotLeader { leader_node: None });
                }
                self.ready_term.fetch_max(term, Ordering::AcqRel);
                Ok(())
            }
            Either::Left((false, barrier)) => barrier.await.map(|_| ()),
            Either::Right((read, _)) => read.map(|_| ()),
        }
    }

    /// Term of this replica's leadership.
    fn leading_term(&self) -> Result<u64, GroupError> {
        match self.raft.as_leader() {
            Ok(leader) => Ok(leader.leader_id().term),
            Err(forward) => Err(self.not_leader(&forward)),
        }
    }

    /// Waits until an entry of this leader, or of a later one, is applied; false if raft stops before. Leadership is not
    /// restored after a restart (`raft_config`), so all that was acknowledged before this term lies before that entry.
    async fn own_entry_applied(&self, term: u64) -> bool {
        let oldest = convert::raft_log_id(LogId {
            term,
            leader: self.identity.replica_id,
            index: 0,
        });
        let mut applied = self.raft.watch_apply_progress();
        applied.wait_until_ge(&Some(oldest)).await.is_ok()
    }

    /// Hands leadership to another replica; returns before it has happened.
    ///
    /// # Errors
    /// [`GroupError::Stopped`]
    pub async fn transfer_to(&self, replica: u64) -> Result<(), GroupError> {
        if let Ok(leader) = self.raft.as_leader() {
            let term = leader.leader_id().term;
            let mut handed_over = self.handed_over.lock();
            // An order that is repeated again and again must not look like one that was just given.
            if handed_over.is_none_or(|(before, _)| before != term) {
                *handed_over = Some((term, Instant::now()));
            }
        }
        self.raft
            .trigger()
            .transfer_leader(replica)
            .await
            .map_err(|fatal| GroupError::Stopped(fatal.to_string()))
    }

    /// True of a leader whose successor never took its place: raft lets it propose nothing more in its term, and it
    /// does not step down by itself, so others must not count on it.
    #[must_use]
    pub fn has_abdicated(&self) -> bool {
        let status = self.status();
        let handed_over = *self.handed_over.lock();
        status.leading
            && handed_over.is_some_and(|(term, at)| term == status.term && at.elapsed() >= HAND_OVER_TIME)
    }

    /// Stands for election. With `pre_vote` nothing is disturbed where a leader lives.
    pub async fn elect(&self, pre_vote: bool) {
        // A stopped replica shows in its status.
        let _ = self.raft.trigger().elect(pre_vote).await;
    }

    /// Replaces a leader that a majority holds for dead, without waiting for its lease.
    pub async fn take_over(&self) {
        let (vote, last) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.vote, self.log.last().map(convert::raft_log_id))
        };
        let request = TransferLeaderRequest::new(vote, self.identity.replica_id, last);
        // Refused where the vote has moved on: then somebody else stands already.
        let _ = self.raft.handle_transfer_leader(request).await;
    }

    /// Tells all followers how far this leader has committed; harmless where it does not lead.
    pub async fn heartbeat(&self) {
        // A stopped replica shows in its status.
        let _ = self.raft.trigger().heartbeat().await;
    }

    /// Lets replication try a peer again at once.
    pub async fn reset_backoff(&self, node_id: u64) {
        let Roster { voters, learners, .. } = self.roster();
        let there = voters
            .iter()
            .chain(&learners)
            .filter(|(_, node)| *node == node_id);
        let replicas: Vec<u64> = there.map(|(id, _)| *id).collect();
        let _ = self.raft.trigger().reset_backoff(replicas).await;
    }

    /// Lets openraft take the newest checkpoint as its snapshot and purge the log behind it.
    ///
    /// # Errors
    /// [`GroupError::Stopped`]
    pub async fn snapshot_and_purge(&self) -> Result<(), GroupError> {
        self.raft
            .trigger()
            .snapshot()
            .await
            .map_err(|fatal| GroupError::Stopped(fatal.to_string()))
    }

    /// Purges the log up to and including `index`, which a snapshot must cover.
    ///
    /// # Errors
    /// [`GroupError::Stopped`]
    pub async fn purge_to(&self, index: u64) -> Result<(), GroupError> {
        self.raft
            .trigger()
            .purge_log(index)
            .await
            .map_err(|fatal| GroupError::Stopped(fatal.to_string()))
    }

    /// Index that openraft's newest snapshot covers.
    #[must_use]
    pub fn snapshot_index(&self) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.snapshot.map_or(0, |id| id.index())
    }

    /// How far each follower's log is known to match, if this replica leads: (replica id, index).
    #[must_use]
    pub fn matched(&self) -> Vec<(u64, u64)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .replication
            .iter()
            .flatten()
            .map(|(replica, id)| (*replica, id.as_ref().map_or(0, openraft::LogId::index)))
            .collect()
    }

    /// What the group looks like from here.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let known = &metrics.membership_config;
        let leader = metrics
            .current_leader
            .and_then(|replica| self.node_in(known, replica).map(|node| (replica, node)));
        GroupStatus {
            term: metrics.current_term,
            leader,
            leading: metrics.state == ServerState::Leader,
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: metrics.local_committed.map_or(0, |id| id.index()),
            committed_term: metrics
                .local_committed
                .map_or(0, |id| id.committed_leader_id().term),
            purged_index: metrics.purged.map_or(0, |id| id.index()),
        }
    }

    /// Term and index of the newest log entry here: what voters compare.
    #[must_use]
    pub fn last_log(&self) -> (u64, u64) {
        self.log.last().map_or((0, 0), |id| (id.term, id.index))
    }

    /// Who leads, as far as this replica has heard.
    #[must_use]
    pub fn reign(&self) -> Reign {
        self.reign_in(&self.raft.server_metrics().borrow_watched())
    }

    /// Waits until this replica hears of a leader that `before` did not know, itself included, and names its node: the
    /// same node in a later term is news. Never returns where the replica has stopped.
    pub async fn leader_since(&self, before: Reign) -> u64 {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = self.reign_in(&metrics.borrow_watched());
            match now.node {
                Some(node) if now != before => return node,
                _ if metrics.changed().await.is_err() => std::future::pending().await,
                _ => {}
            }
        }
    }

    fn reign_in(&self, metrics: &RaftServerMetrics<SpineRaft>) -> Reign {
        Reign {
            term: convert::vote(&metrics.vote).term,
            node: metrics
                .current_leader
                .and_then(|replica| self.node_in(&metrics.membership_config, replica)),
        }
    }

    /// Stops the replica's tasks.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(shard = self.identity.shard, %error, "stop replica");
        }
    }
}

fn raft_config(shard: u32, timings: GroupTimings) -> Result<Config, openraft::ConfigError> {
    let lease_ms = u64::try_from(timings.leader_lease.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: format!("shard-{shard}"),
        // Ticks are off, so these three only set the lease and openraft's own deadlines.
        heartbeat_interval: (lease_ms / 4).max(1),
        election_timeout_min: (lease_ms / 2).max(2),
        election_timeout_max: lease_ms.max(3),
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        enable_pre_vote: Some(true),
        // A restarted leader must win an election: its state is not yet replayed.
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: timings.log_entries_kept,
        purge_batch_size: 1,
        max_payload_entries: 1_024,
        api_channel_size: Some(4_096),
        notification_channel_size: Some(4_096),
        install_snapshot_timeout: 600_000,
        backoff: "100ms".to_string(),
        ..Config::default()
    }
    .validate()
}
