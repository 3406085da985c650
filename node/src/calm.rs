//! Which groups the driver need not look at: where nothing has changed for a while, there is nothing to decide.
//! An idle node spends its time on looks at groups, most of all on many small ones.

use std::collections::BTreeMap;
use std::time::Duration;

use spine_consensus::group::GroupStatus;
use tokio::time::Instant;

/// A group is looked at in every turn for so long after its last change.
pub const CALM_AFTER: Duration = Duration::from_secs(5);
/// A calm group is looked at all the same when its last look is so long ago: a follower catches up, and a leader's
/// patience ends, without a change of the group.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Seen {
    status: GroupStatus,
    changed: Instant,
    looked: Instant,
}

/// The groups as they were seen last.
#[derive(Debug, Default)]
pub struct Calm {
    groups: BTreeMap<u32, Seen>,
}

impl Calm {
    /// True if a group that looks like this may be passed over now.
    pub fn passes(&self, now: Instant, shard: u32, status: &GroupStatus) -> bool {
        self.groups.get(&shard).is_some_and(|seen| {
            seen.status == *status && now >= seen.changed + CALM_AFTER && now < seen.looked + LOOK_AGAIN
        })
    }

    /// The group is looked at now.
    pub fn looks(&mut self, now: Instant, shard: u32, status: &GroupStatus) {
        match self.groups.get_mut(&shard) {
            Some(seen) if seen.status == *status => seen.looked = now,
            _ => {
                let seen = Seen {
                    status: status.clone(),
                    changed: now,
                    looked: now,
                };
                self.groups.insert(shard, seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn status(committed_index: u64) -> GroupStatus {
        GroupStatus {
            term: 1,
            leader: Some((11, 1)),
            leading: true,
            stopped: None,
            last_log_index: committed_index,
            committed_index,
            committed_term: 1,
            purged_index: 0,
        }
    }

    /// Looks in turns of 80 ms, as the driver does; how many there were.
    fn looks(calm: &mut Calm, from: Instant, turns: u32, status: &GroupStatus) -> u32 {
        let mut count = 0;
        for turn in 0..turns {
            let now = from + 80 * MS * turn;
            if !calm.passes(now, 1, status) {
                calm.looks(now, 1, status);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_calm_group_is_looked_at_once_a_second() {
        let (mut calm, began) = (Calm::default(), Instant::now());
        // 5 s of every turn, then 8 s of turns that do not quite divide a second.
        assert_eq!(looks(&mut calm, began, 63, &status(5)), 63);
        assert_eq!(looks(&mut calm, began + 63 * 80 * MS, 100, &status(5)), 7);
    }

    #[test]
    fn a_change_wakes_it() {
        let (mut calm, began) = (Calm::default(), Instant::now());
        looks(&mut calm, began, 200, &status(5));
        let later = began + 200 * 80 * MS;
        assert!(calm.passes(later, 1, &status(5)));
        assert!(!calm.passes(later, 1, &status(6)), "a commit");
        let lost = GroupStatus {
            leader: None,
            leading: false,
            ..status(5)
        };
        assert!(!calm.passes(later, 1, &lost), "a leader less");
        assert!(!calm.passes(later, 2, &status(5)), "a group never seen");
        assert_eq!(looks(&mut calm, later, 60, &status(6)), 60);
    }
}
