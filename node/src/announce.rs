//! When a leader of an idle group tells its followers again how far it has committed.
//!
//! A commit travels with the next append; an idle group has none, so the one message that carried it may be lost for
//! good, and a follower would stay an entry behind for ever. Told again a few times, ever more rarely, then silence.

use std::collections::BTreeMap;
use std::time::Duration;

/// Pause before the first repetition; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Repetitions for one commit: the last follows the first after about two minutes.
const REPEATS_MAX: u32 = 9;

/// Remembers what was told of each group.
#[derive(Debug, Default)]
pub struct Announcer {
    groups: BTreeMap<u32, Told>,
}

#[derive(Debug)]
struct Told {
    term: u64,
    committed_index: u64,
    voters_heard: usize,
    repeats: u32,
    next: Duration,
}

impl Announcer {
    /// True if a leader should tell its followers now. A new commit, and a voter that is heard again, begin anew.
    /// `now` counts from any fixed moment.
    pub fn is_due(
        &mut self,
        now: Duration,
        shard: u32,
        term: u64,
        committed_index: u64,
        voters_heard: usize,
    ) -> bool {
        let fresh = Told {
            term,
            committed_index,
            voters_heard,
            repeats: 0,
            next: now + FIRST_PAUSE,
        };
        let told = self.groups.entry(shard).or_insert(fresh);
        let changed = told.term != term || told.committed_index != committed_index;
        if changed || voters_heard > told.voters_heard {
            *told = Told {
                term,
                committed_index,
                voters_heard,
                repeats: 0,
                next: now + FIRST_PAUSE,
            };
            return false;
        }
        told.voters_heard = voters_heard;
        if told.repeats >= REPEATS_MAX || now < told.next {
            return false;
        }
        told.repeats += 1;
        told.next = now + FIRST_PAUSE * 2_u32.pow(told.repeats);
        true
    }

    /// This node does not lead the group now.
    pub fn forget(&mut self, shard: u32) {
        self.groups.remove(&shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn count(announcer: &mut Announcer, from: u64, to: u64, committed: u64, heard: usize) -> usize {
        (from..to)
            .step_by(20)
            .filter(|at| announcer.is_due(ms(*at), 1, 1, committed, heard))
            .count()
    }

    #[test]
    fn a_commit_is_told_again_and_then_no_more() {
        let mut announcer = Announcer::default();
        assert_eq!(count(&mut announcer, 0, 240, 5, 2), 0);
        assert_eq!(count(&mut announcer, 240, 1_000, 5, 2), 2);
        assert_eq!(count(&mut announcer, 1_000, 300_000, 5, 2), 7);
        assert_eq!(count(&mut announcer, 300_000, 400_000, 5, 2), 0);
    }

    #[test]
    fn a_busy_group_is_left_alone() {
        let mut announcer = Announcer::default();
        let told = (0..100)
            .filter(|at| announcer.is_due(ms(at * 20), 1, 1, *at, 2))
            .count();
        assert_eq!(told, 0);
    }

    #[test]
    fn a_voter_that_is_back_is_told() {
        let mut announcer = Announcer::default();
        count(&mut announcer, 0, 300_000, 5, 2);
        assert_eq!(count(&mut announcer, 300_000, 310_000, 5, 1), 0);
        assert!(count(&mut announcer, 310_000, 320_000, 5, 2) > 0);
    }
}
