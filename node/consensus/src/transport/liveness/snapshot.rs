//! What is known of every peer at one moment, and the verdicts that follow.

use std::collections::{BTreeMap, BTreeSet};

use spine_proto::ids::{NodeId, ShardId};
use tokio::time::Instant;

use crate::transport::config::NO_NODE;

/// A published state of the table. Cheap to share behind an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivenessSnapshot {
    /// This node; 0 before it has an id.
    pub me: NodeId,
    /// Our own watch loop is late: what we did not hear proves nothing.
    pub late: bool,
    pub peers: BTreeMap<NodeId, PeerLiveness>,
}

impl Default for LivenessSnapshot {
    fn default() -> Self {
        Self {
            me: NO_NODE,
            late: false,
            peers: BTreeMap::new(),
        }
    }
}

/// One peer as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerLiveness {
    /// Since when we call it silent; `None` while we hear it.
    pub silent_since: Option<Instant>,
    /// It was not heard for the silence limit, be that its fault or our own.
    pub unheard: bool,
    /// Its process is gone: connection closed by its side, then every address refused.
    pub evidence: Option<Evidence>,
    /// Whom it calls silent; empty while it is silent itself.
    pub says_silent: BTreeSet<NodeId>,
    /// It is stopping or cannot write: do not elect it.
    pub unfit: bool,
    /// Shards that it has no replica to lead with.
    pub unfit_shards: BTreeSet<ShardId>,
    /// Last log term and index per shard, as it told while somebody was suspected.
    pub progress: BTreeMap<ShardId, (u64, u64)>,
    /// Shards whose group it says it leads.
    pub leading: BTreeSet<ShardId>,
    /// How often it was gone and came back.
    pub returns: u64,
}

/// Proof by closed connection and refused connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Number of the connection that closed. Good for one election only.
    pub connection: u64,
    pub since: Instant,
}

/// Why a peer counts as dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Closed and refused.
    Evidence(Evidence),
    /// It speaks, and says itself that it hears no majority: it can neither commit nor learn that it was replaced.
    Deaf { unheard: Vec<NodeId> },
    /// Nobody hears it: we and the voters named here, a majority.
    Silence { since: Instant, agreeing: Vec<NodeId> },
}

/// A change between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LivenessEvent {
    /// We do not hear it any more.
    Silent(NodeId),
    /// Its process is gone.
    Gone(NodeId, Evidence),
    /// It is heard again.
    Back(NodeId),
}

impl PeerLiveness {
    /// The voters that this peer calls silent, if too few are left for a majority.
    fn deaf(&self, peer: NodeId, voters: &[NodeId]) -> Option<Proof> {
        let distinct: BTreeSet<NodeId> = voters.iter().copied().collect();
        let others = distinct.iter().filter(|voter| **voter != peer);
        let unheard: Vec<NodeId> = others
            .filter(|voter| self.says_silent.contains(voter))
            .copied()
            .collect();
        let heard = distinct.len() - unheard.len();
        (heard <= distinct.len() / 2).then_some(Proof::Deaf { unheard })
    }
}

impl LivenessSnapshot {
    /// True if we have not heard the peer for the silence limit and that is not our own fault.
    #[must_use]
    pub fn silent(&self, peer: NodeId) -> bool {
        !self.late
            && self
                .peers
                .get(&peer)
                .is_some_and(|known| known.silent_since.is_some())
    }

    /// The voters, ourselves included, that do not hear the peer.
    #[must_use]
    pub fn agreeing(&self, peer: NodeId, voters: &[NodeId]) -> Vec<NodeId> {
        let says = |voter: NodeId| {
            if voter == self.me {
                self.silent(peer)
            } else {
                self.peers
                    .get(&voter)
                    .is_some_and(|known| known.says_silent.contains(&peer))
            }
        };
        let others: BTreeSet<NodeId> = voters.iter().copied().filter(|voter| *voter != peer).collect();
        others.into_iter().filter(|voter| says(*voter)).collect()
    }

    /// True if we do not hear the peer and a majority of the voters says the same.
    #[must_use]
    pub fn agreed_dead(&self, peer: NodeId, voters: &[NodeId]) -> bool {
        let distinct: BTreeSet<&NodeId> = voters.iter().collect();
        self.silent(peer) && self.agreeing(peer, voters).len() > distinct.len() / 2
    }

    /// Why the peer counts as dead for a group of these voters; `None` if it does not.
    #[must_use]
    pub fn dead(&self, peer: NodeId, voters: &[NodeId]) -> Option<Proof> {
        let known = self.peers.get(&peer)?;
        if let Some(evidence) = known.evidence {
            return Some(Proof::Evidence(evidence));
        }
        let Some(since) = known.silent_since else {
            return known.deaf(peer, voters);
        };
        self.agreed_dead(peer, voters).then(|| Proof::Silence {
            since,
            agreeing: self.agreeing(peer, voters),
        })
    }

    /// True while anybody is suspected by anybody.
    #[must_use]
    pub fn any_suspected(&self) -> bool {
        self.peers.values().any(|known| {
            known.silent_since.is_some() || known.evidence.is_some() || !known.says_silent.is_empty()
        })
    }

    /// What changed since an older snapshot.
    #[must_use]
    pub fn changes(&self, older: &Self) -> Vec<LivenessEvent> {
        let mut events = Vec::new();
        let unknown = PeerLiveness::default();
        for (peer, now) in &self.peers {
            let was = older.peers.get(peer).unwrap_or(&unknown);
            if now.returns > was.returns {
                events.push(LivenessEvent::Back(*peer));
            }
            if now.silent_since.is_some() && was.silent_since.is_none() {
                events.push(LivenessEvent::Silent(*peer));
            }
            if let Some(evidence) = now.evidence
                && was.evidence != now.evidence
            {
                events.push(LivenessEvent::Gone(*peer, evidence));
            }
        }
        events
    }
}
