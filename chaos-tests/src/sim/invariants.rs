//! What must hold of all replicas at every moment, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use spine_statemachine::digest::Digest;

use crate::checkers::digest::{Digests, Observation};

/// One replica of one shard, as its node shows it at one tick.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    pub node: usize,
    /// Its id: another one after it has moved away and come back.
    pub replica: u64,
    /// How often its node had started before.
    pub start: u32,
    pub shard: u32,
    pub term: u64,
    pub leading: bool,
    pub committed_index: u64,
    pub applied_index: u64,
    pub purged_index: u64,
    pub last_log_index: u64,
    pub digest: Digest,
    /// Why it takes part no more.
    pub stopped: Option<String>,
}

/// Watches a whole run.
#[derive(Default)]
pub struct Invariants {
    /// Who led a shard in a term. openraft's leader ids are (term, node), so two nodes may stand as leaders of one
    /// term; what they commit is compared by digest.
    leaders: BTreeSet<(u32, u64, usize)>,
    /// When each of them was first seen, ms since the run began.
    led_since_ms: Vec<u64>,
    /// The newest view of each replica since its node's last start.
    last: BTreeMap<(usize, u32, u64), (u64, ReplicaView)>,
    digests: Digests,
    /// Replicas that a test has altered, by node and shard.
    altered: BTreeSet<(usize, u32)>,
    /// Replicas, by node and id, whose disk was put back, with the term in which each was seen first after that.
    put_back: BTreeMap<(usize, u64), Option<u64>>,
}

impl Invariants {
    /// What a node's replica of a shard holds is looked at no more, until it is trusted again.
    pub fn distrust(&mut self, node: usize, shard: u32) {
        self.altered.insert((node, shard));
    }

    /// It is looked at again.
    pub fn trust(&mut self, node: usize, shard: u32) {
        self.altered.remove(&(node, shard));
    }

    /// A node's disk was put back: these replicas may have forgotten votes, and must give none any more.
    pub fn put_back(&mut self, node: usize, replicas: impl IntoIterator<Item = u64>) {
        let known = replicas.into_iter().map(|replica| ((node, replica), None));
        self.put_back.extend(known);
    }

    /// A vote, for itself or another, is of a term that is new to it.
    fn look_for_votes(&mut self, view: &ReplicaView) -> Result<(), String> {
        let Some(first) = self.put_back.get_mut(&(view.node, view.replica)) else {
            return Ok(());
        };
        let first = *first.get_or_insert(view.term);
        if view.leading || view.term > first {
            return Err(format!(
                "n{} shard {}: a replica of an older copy of the disk votes: term {first}, then {}",
                view.node + 1,
                view.shard,
                view.term
            ));
        }
        Ok(())
    }

    /// Looks at one replica, `now_ms` after the run began.
    ///
    /// # Errors
    /// What does not hold, for people.
    pub fn look(&mut self, now_ms: u64, view: ReplicaView) -> Result<(), String> {
        let ReplicaView {
            node,
            replica,
            shard,
            term,
            ..
        } = view;
        // Called for every replica at every tick: text is made where something is wrong.
        let name = || format!("n{} shard {shard} term {term}", node + 1);
        if let Some(reason) = &view.stopped {
            return Err(format!("{}: stopped: {reason}", name()));
        }
        self.look_for_votes(&view)?;
        if view.leading && self.leaders.insert((shard, term, node)) {
            self.led_since_ms.push(now_ms);
        }
        if view.purged_index > view.applied_index {
            let ReplicaView {
                purged_index,
                applied_index,
                ..
            } = view;
            return Err(format!(
                "{}: purged to {purged_index}, applied only {applied_index}",
                name()
            ));
        }
        let key = (node, shard, replica);
        if self.altered.contains(&(node, shard)) {
            self.last.insert(key, (now_ms, view));
            return Ok(());
        }
        let last = self.last.get(&key).map(|(_, last)| last);
        if let Some(last) = last.filter(|last| last.start == view.start) {
            let pairs = [
                ("term", last.term, term),
                ("committed index", last.committed_index, view.committed_index),
                ("applied index", last.applied_index, view.applied_index),
                ("purged index", last.purged_index, view.purged_index),
            ];
            for (what, before, now) in pairs {
                if now < before {
                    return Err(format!("{}: {what} went back from {before} to {now}", name()));
                }
            }
            if last.applied_index == view.applied_index && last.digest != view.digest {
                return Err(format!(
                    "{}: the digest changed at index {}",
                    name(),
                    view.applied_index
                ));
            }
        }
        let is_news =
            last.is_none_or(|last| last.start != view.start || last.applied_index != view.applied_index);
        if is_news {
            let seen = Observation {
                replica: format!("n{}", node + 1),
                shard,
                applied_index: view.applied_index,
                digest: view.digest.to_string(),
            };
            self.digests
                .observe(&seen)
                .map_err(|violation| violation.to_string())?;
        }
        self.last.insert(key, (now_ms, view));
        Ok(())
    }

    /// Elections that ended with a leader.
    #[must_use]
    pub fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    /// When each of them was first seen to lead, ms since the run began, in order.
    #[must_use]
    pub fn led_since_ms(&self) -> &[u64] {
        &self.led_since_ms
    }

    /// Digests seen, and how often two met.
    #[must_use]
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// True if all replicas of every shard seen stand at one index with one digest.
    #[must_use]
    pub fn all_equal(&self, nodes: usize) -> bool {
        let mut shards: BTreeMap<u32, Vec<&ReplicaView>> = BTreeMap::new();
        for view in self.present() {
            shards.entry(view.shard).or_default().push(view);
        }
        !shards.is_empty()
            && shards.values().all(|views| {
                views.len() == nodes.min(3)
                    && views.windows(2).all(|pair| {
                        pair[0].applied_index == pair[1].applied_index && pair[0].digest == pair[1].digest
                    })
            })
    }

    /// The replicas of the last look: one that moved away is seen no more.
    fn present(&self) -> impl Iterator<Item = &ReplicaView> {
        let newest = self.last.values().map(|(at, _)| *at).max();
        let all = self.last.values();
        all.filter(move |(at, _)| Some(*at) == newest)
            .map(|(_, view)| view)
    }

    /// One line for each replica, for whoever reads a failure.
    #[must_use]
    pub fn describe(&self) -> String {
        let lines = self.present().map(|view| {
            format!(
                "n{} s{} t{}{} {}/{}/{}",
                view.node + 1,
                view.shard,
                view.term,
                if view.leading { " leads" } else { "" },
                view.applied_index,
                view.committed_index,
                view.last_log_index
            )
        });
        lines.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: usize, term: u64, applied_index: u64, digest: &str) -> ReplicaView {
        ReplicaView {
            node,
            replica: 1,
            start: 0,
            shard: 1,
            term,
            leading: false,
            committed_index: applied_index,
            applied_index,
            purged_index: 0,
            last_log_index: applied_index,
            digest: Digest::from_bytes(&[digest.as_bytes()[0]; 16]).unwrap(),
            stopped: None,
        }
    }

    #[test]
    fn progress_and_restarts_pass() {
        let mut invariants = Invariants::default();
        invariants.look(0, view(0, 1, 5, "a")).unwrap();
        invariants
            .look(
                0,
                ReplicaView {
                    leading: true,
                    ..view(0, 2, 6, "b")
                },
            )
            .unwrap();
        invariants.look(0, view(1, 2, 6, "b")).unwrap();
        invariants
            .look(
                0,
                ReplicaView {
                    start: 1,
                    ..view(0, 2, 5, "a")
                },
            )
            .unwrap();
        assert_eq!(invariants.terms_led(), 1);
        assert!(!invariants.all_equal(2));
        invariants
            .look(
                0,
                ReplicaView {
                    start: 1,
                    ..view(0, 2, 6, "b")
                },
            )
            .unwrap();
        assert!(invariants.all_equal(2));
    }

    #[test]
    fn each_broken_invariant_is_told() {
        let broken = |views: Vec<ReplicaView>| {
            let mut invariants = Invariants::default();
            views
                .into_iter()
                .find_map(|view| invariants.look(0, view).err())
                .unwrap_or_default()
        };
        assert!(broken(vec![view(0, 3, 5, "a"), view(0, 2, 5, "a")]).contains("term went back"));
        assert!(broken(vec![view(0, 1, 5, "a"), view(0, 1, 4, "a")]).contains("went back"));
        assert!(broken(vec![view(0, 1, 5, "a"), view(1, 1, 5, "b")]).contains("DigestDiffers"));
        assert!(broken(vec![view(0, 1, 5, "a"), view(0, 1, 5, "b")]).contains("digest changed"));
        assert!(
            broken(vec![ReplicaView {
                purged_index: 6,
                ..view(0, 1, 5, "a")
            }])
            .contains("purged")
        );
        let stopped = ReplicaView {
            stopped: Some("x".to_owned()),
            ..view(0, 1, 5, "a")
        };
        assert!(broken(vec![stopped]).contains("stopped"));
    }

    #[test]
    fn a_replica_of_an_older_copy_gives_no_vote() {
        let mut invariants = Invariants::default();
        invariants.put_back(0, [1]);
        invariants
            .look(1, view(0, 5, 10, "a"))
            .expect("it is where it was");
        invariants.look(2, view(1, 6, 10, "a")).expect("another node may");
        assert!(invariants.look(3, view(0, 6, 10, "a")).is_err());
    }
}
