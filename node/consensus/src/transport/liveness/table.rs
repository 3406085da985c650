//! The judge of liveness. Pure: time comes in, nothing else happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spine_proto::ids::{NodeId, ShardId};
use spine_proto::internal::raft::v1::Watch;
use tokio::time::Instant;

use super::snapshot::{Evidence, LivenessSnapshot, PeerLiveness};
use crate::transport::config::{NO_NODE, WatchTiming};
use crate::transport::limits::{
    LAST_WORDS, LATE_LIMIT, LEADING_MAX, PROGRESS_PER_WATCH_MAX, SILENT_NODES_MAX,
};

/// What we heard from whom, and when.
pub struct LivenessTable {
    timing: WatchTiming,
    me: NodeId,
    peers: BTreeMap<NodeId, Record>,
    last_tick: Option<Instant>,
    /// Our loop was late until here: silence is counted from here at the earliest.
    floor: Option<Instant>,
    /// How late the last tick was.
    late_by: Duration,
}

struct Record {
    /// Last sign of life; at first, when we began to listen.
    heard: Instant,
    /// Number of its newest watch connection from us.
    connection: u64,
    /// The connection that its side closed, until it is heard again.
    closed: Option<u64>,
    evidence: Option<Evidence>,
    says_silent: BTreeSet<NodeId>,
    unfit: bool,
    unfit_shards: BTreeSet<ShardId>,
    progress: BTreeMap<ShardId, (u64, u64)>,
    leading: BTreeSet<ShardId>,
    returns: u64,
}

impl LivenessTable {
    #[must_use]
    pub fn new(timing: WatchTiming) -> Self {
        Self {
            timing,
            me: NO_NODE,
            peers: BTreeMap::new(),
            last_tick: None,
            floor: None,
            late_by: Duration::ZERO,
        }
    }

    /// Who we are and whom we listen to. Records of peers that stay are kept.
    pub fn set_nodes(&mut self, me: NodeId, peers: &BTreeSet<NodeId>, now: Instant) {
        self.me = me;
        self.peers.retain(|peer, _| peers.contains(peer));
        for peer in peers.iter().filter(|peer| **peer != me) {
            self.peers.entry(*peer).or_insert_with(|| Record::new(now));
        }
    }

    /// Our watch loop came round. Everything else is judged by how punctual this is.
    pub fn tick(&mut self, now: Instant) {
        if let Some(last) = self.last_tick {
            let late_by = (now - last).saturating_sub(self.timing.interval);
            if late_by > LATE_LIMIT {
                self.floor = Some(now);
            }
            self.late_by = late_by;
        }
        self.last_tick = Some(now);
    }

    /// How late the last tick was.
    #[must_use]
    pub fn late_by(&self) -> Duration {
        self.late_by
    }

    /// A watch frame came from a peer. True if that changes a verdict.
    pub fn heard(&mut self, from: NodeId, watch: &Watch, now: Instant) -> bool {
        let was_silent = self.silent(from, now);
        let Some(record) = self.peers.get_mut(&from) else {
            return false;
        };
        record.heard = record.heard.max(now);
        let mut changed = was_silent;
        let last_words = |evidence: Evidence| now.saturating_duration_since(evidence.since) < LAST_WORDS;
        let gone = record.evidence.is_some_and(|evidence| !last_words(evidence));
        if gone {
            record.evidence = None;
            record.closed = None;
            changed = true;
        }
        if was_silent || gone {
            record.returns += 1;
        }
        let says: BTreeSet<NodeId> = watch
            .silent_nodes
            .iter()
            .take(SILENT_NODES_MAX)
            .map(|node| NodeId(*node))
            .collect();
        changed |= says != record.says_silent || record.unfit != watch.unfit;
        record.says_silent = says;
        record.unfit = watch.unfit;
        changed |= replace(&mut record.leading, &watch.leading);
        changed |= replace(&mut record.unfit_shards, &watch.unfit_shards);
        // It suspects nobody any more: what it told before is as old as that. How long a log is changes no verdict: it
        // is there when one does.
        if watch.progress.is_empty() {
            record.progress.clear();
        }
        for group in watch.progress.iter().take(PROGRESS_PER_WATCH_MAX) {
            if record.progress.len() >= LEADING_MAX {
                // More shards than a cluster can have: a new round of them replaces the old.
                record.progress.clear();
            }
            let progress = (group.last_log_term, group.last_log_index);
            record.progress.insert(ShardId(group.shard), progress);
        }
        changed
    }

    /// Our watch connection to a peer passed its handshake. Gives the connection's number.
    pub fn connected(&mut self, peer: NodeId) -> u64 {
        self.peers.get_mut(&peer).map_or(0, |record| {
            record.connection += 1;
            record.closed = None;
            if record.evidence.take().is_some() {
                record.returns += 1;
            }
            record.connection
        })
    }

    /// The peer's side closed our watch connection.
    pub fn closed(&mut self, peer: NodeId, connection: u64) {
        if let Some(record) = self.peers.get_mut(&peer)
            && record.connection == connection
        {
            record.closed = Some(connection);
        }
    }

    /// All addresses of a peer refuse connections. True if that proves its death now.
    pub fn refused(&mut self, peer: NodeId, now: Instant) -> bool {
        let Some(record) = self.peers.get_mut(&peer) else {
            return false;
        };
        match record.closed {
            Some(connection) if record.evidence.is_none() => {
                record.evidence = Some(Evidence {
                    connection,
                    since: now,
                });
                true
            }
            _ => false,
        }
    }

    /// Some address of a peer did something else than refuse: that is no proof of death.
    pub fn not_refused(&mut self, peer: NodeId) -> bool {
        self.peers
            .get_mut(&peer)
            .is_some_and(|record| record.evidence.take().is_some())
    }

    /// True if the peer was not heard for the silence limit, while our own loop ran on time.
    #[must_use]
    pub fn silent(&self, peer: NodeId, now: Instant) -> bool {
        self.silent_since(peer, now).is_some()
    }

    fn silent_since(&self, peer: NodeId, now: Instant) -> Option<Instant> {
        if self.late(now) {
            return None;
        }
        let record = self.peers.get(&peer)?;
        let from = self.floor.map_or(record.heard, |floor| floor.max(record.heard));
        let since = from + self.timing.silence_limit;
        (since <= now).then_some(since)
    }

    /// Our own loop is behind now, or has never run.
    #[must_use]
    pub fn late(&self, now: Instant) -> bool {
        self.last_tick
            .is_none_or(|last| now > last + self.timing.interval + LATE_LIMIT)
    }

    /// Whom we do not hear.
    #[must_use]
    pub fn silent_nodes(&self, now: Instant) -> Vec<NodeId> {
        let silent = self.peers.keys().filter(|peer| self.silent(**peer, now));
        silent.take(SILENT_NODES_MAX).copied().collect()
    }

    /// True if a connection to the peer carries nothing: we do not hear it, or it does not hear us.
    #[must_use]
    pub fn deaf(&self, peer: NodeId, now: Instant) -> bool {
        let unheard = self
            .peers
            .get(&peer)
            .is_some_and(|record| record.says_silent.contains(&self.me));
        unheard || self.silent(peer, now)
    }

    /// See [`LivenessSnapshot::agreed_dead`].
    #[must_use]
    pub fn agreed_dead(&self, peer: NodeId, voters: &[NodeId], now: Instant) -> bool {
        self.snapshot(now).agreed_dead(peer, voters)
    }

    /// How often the peer was gone and came back.
    #[must_use]
    pub fn returns(&self, peer: NodeId) -> u64 {
        self.peers.get(&peer).map_or(0, |record| record.returns)
    }

    /// Everything, to be judged later and elsewhere.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> LivenessSnapshot {
        let peers = self.peers.iter().map(|(peer, record)| {
            let silent_since = self.silent_since(*peer, now);
            let says_silent = match silent_since {
                // Its word is as old as its last sign of life.
                Some(_) => BTreeSet::new(),
                None => record.says_silent.clone(),
            };
            let seen = PeerLiveness {
                silent_since,
                unheard: now >= record.heard + self.timing.silence_limit,
                evidence: record.evidence,
                says_silent,
                unfit: record.unfit,
                unfit_shards: record.unfit_shards.clone(),
                progress: record.progress.clone(),
                leading: record.leading.clone(),
                returns: record.returns,
            };
            (*peer, seen)
        });
        LivenessSnapshot {
            me: self.me,
            late: self.late(now),
            peers: peers.collect(),
        }
    }
}

/// Whether these shards are other ones than were known.
fn replace(known: &mut BTreeSet<ShardId>, told: &[u32]) -> bool {
    let told: BTreeSet<ShardId> = told.iter().take(LEADING_MAX).copied().map(ShardId).collect();
    let changed = *known != told;
    *known = told;
    changed
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            heard: now,
            connection: 0,
            closed: None,
            evidence: None,
            says_silent: BTreeSet::new(),
            unfit: false,
            unfit_shards: BTreeSet::new(),
            progress: BTreeMap::new(),
            leading: BTreeSet::new(),
            returns: 0,
        }
    }
}
