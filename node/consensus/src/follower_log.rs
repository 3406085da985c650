//! What a leader learns of a follower's log with one question.
//!
//! A new leader does not know how far the logs of its followers match its own. openraft halves the retained log until
//! it has found out: ten rounds or more, each of which waits for its turn on two busy nodes, while the group serves
//! nobody. Mostly a follower has everything up to where the leader's own term begins, and the id of the last of these
//! entries is proof for all before it. So the follower is asked for that one, and given the first entry of the term
//! with the same message; the rounds that openraft goes through are answered from here as far as they are about entries
//! that the follower is known to have. They cannot be cut short: openraft lets an answer say no more than was asked.

use spine_storage::ids::LogId;
use spine_storage::wal::GroupLog;

use crate::convert;
use crate::network_adapter::Append;
use crate::types::{RaftEntry, RaftVote};

/// A new leader has few entries of its own yet; it does not look for older ones further back than this.
const OWN_ENTRIES_MAX: u64 = 64;

/// What one follower has of the log of the leader on this node.
pub(crate) struct FollowerLog {
    /// The leader's own.
    log: GroupLog,
    /// Of the leader that has asked; it asks once.
    asked_under: Option<RaftVote>,
    /// The follower has this entry and all before it.
    has: Option<LogId>,
}

impl FollowerLog {
    pub(crate) fn new(log: GroupLog) -> Self {
        Self {
            log,
            asked_under: None,
            has: None,
        }
    }

    /// What to ask before this request is sent; `None` if nothing is to be asked (any more). The leader's first entry
    /// goes along: until it is committed, the group serves nobody.
    pub(crate) fn question(&self, rpc: &Append) -> Option<Append> {
        // Without entries it is a heartbeat or news of commits, and nobody waits for it.
        if rpc.entries.is_empty() || self.asked_under == Some(rpc.vote) {
            return None;
        }
        let before = self.last_before(convert::vote(&rpc.vote).term)?;
        // The request itself says more.
        if rpc.prev_log_id.is_some_and(|prev| prev.index >= before.index) {
            return None;
        }
        Some(Append {
            vote: rpc.vote,
            prev_log_id: Some(convert::raft_log_id(before)),
            entries: self.first_of(convert::vote(&rpc.vote).term, before.index + 1),
            leader_commit: None,
        })
    }

    /// The answer to a question.
    pub(crate) fn learn(&mut self, question: &Append, has_it: bool) {
        self.asked_under = Some(question.vote);
        let given = question.entries.last().map(|entry| &entry.log_id);
        let last = given.or(question.prev_log_id.as_ref());
        self.has = last.filter(|_| has_it).map(convert::log_id);
    }

    /// A follower whose log turned out shorter than that is believed no more.
    pub(crate) fn forget(&mut self) {
        self.has = None;
    }

    /// Whether all entries of the request are there already.
    pub(crate) fn covers(&self, rpc: &Append) -> bool {
        let (Some(has), Some(last)) = (self.has, rpc.entries.last()) else {
            return false;
        };
        self.asked_under == Some(rpc.vote) && last.log_id.index <= has.index
    }

    /// The entry at `index`, if it is of this term. One that cannot be read is left to openraft's own requests, which
    /// report it.
    fn first_of(&self, term: u64, index: u64) -> Vec<RaftEntry> {
        let read = self.log.read(index..index + 1, usize::MAX).unwrap_or_default();
        let own = read.into_iter().filter(|(id, _)| id.term == term);
        own.filter_map(|(_, bytes)| convert::decode_entry(bytes).ok())
            .collect()
    }

    /// The newest entry of the leader's log from before its term.
    fn last_before(&self, term: u64) -> Option<LogId> {
        let last = self.log.last()?.index;
        let newest_first = (0..OWN_ENTRIES_MAX).map_while(|back| last.checked_sub(back));
        let mut ids = newest_first.map_while(|index| self.log.log_id_at(index));
        ids.find(|id| id.term < term)
    }
}
