//! Which segments are still needed, from what has been written: behind the index by what is queued, and so never
//! wrong about what a recovery would find.

use std::collections::BTreeMap;

use crate::ids::{LogId, Vote};

/// A value and the segment of the record that says so.
type At<T> = Option<(T, u64)>;

#[derive(Clone, Copy)]
struct Run {
    last: u64,
    segment: u64,
}

/// What is written of one group.
#[derive(Default)]
pub(super) struct GroupLive {
    /// First index -> neighbouring entries in one segment. Disjoint.
    runs: BTreeMap<u64, Run>,
    pub(super) created: Option<u64>,
    pub(super) vote: At<Vote>,
    pub(super) committed: At<LogId>,
    pub(super) purged: At<LogId>,
}

impl GroupLive {
    fn fact_segments(&self) -> impl Iterator<Item = u64> {
        [
            self.created,
            self.vote.map(|(_, segment)| segment),
            self.committed.map(|(_, segment)| segment),
            self.purged.map(|(_, segment)| segment),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether a fact of the group stands in this segment.
    pub(super) fn has_facts_in(&self, segment: u64) -> bool {
        self.fact_segments().any(|at| at == segment)
    }

    /// First and last index, from `from` on, of the first neighbouring entries in this segment.
    pub(super) fn first_run_in_from(&self, segment: u64, from: u64) -> Option<(u64, u64)> {
        let inside = self
            .runs
            .iter()
            .filter(|(_, run)| run.segment == segment && run.last >= from);
        inside.map(|(first, run)| ((*first).max(from), run.last)).next()
    }

    /// The last index written, or purged.
    pub(super) fn last_index(&self) -> Option<u64> {
        let last = self.runs.values().next_back().map(|run| run.last);
        last.max(self.purged.map(|(id, _)| id.index))
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = u64> {
        self.fact_segments()
            .chain(self.runs.values().map(|run| run.segment))
    }
}

/// All groups, and how many things pin each segment.
#[derive(Default)]
pub(super) struct Live {
    pub(super) groups: BTreeMap<u64, GroupLive>,
    pins: BTreeMap<u64, u64>,
}

fn pin(pins: &mut BTreeMap<u64, u64>, segment: u64) {
    *pins.entry(segment).or_default() += 1;
}

fn unpin(pins: &mut BTreeMap<u64, u64>, segment: u64) {
    if let Some(count) = pins.get_mut(&segment) {
        *count -= 1;
        if *count == 0 {
            pins.remove(&segment);
        }
    }
}

fn set<T>(pins: &mut BTreeMap<u64, u64>, fact: &mut At<T>, value: T, segment: u64) {
    pin(pins, segment);
    if let Some((_, old)) = fact.replace((value, segment)) {
        unpin(pins, old);
    }
}

impl Live {
    /// The oldest segment that is needed.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.pins.keys().next().copied()
    }

    pub(super) fn created(&mut self, group: u64, segment: u64) {
        let live = self.groups.entry(group).or_default();
        pin(&mut self.pins, segment);
        if let Some(old) = live.created.replace(segment) {
            unpin(&mut self.pins, old);
        }
    }

    pub(super) fn vote(&mut self, group: u64, vote: Vote, segment: u64) {
        set(
            &mut self.pins,
            &mut self.groups.entry(group).or_default().vote,
            vote,
            segment,
        );
    }

    pub(super) fn committed(&mut self, group: u64, id: LogId, segment: u64) {
        set(
            &mut self.pins,
            &mut self.groups.entry(group).or_default().committed,
            id,
            segment,
        );
    }

    pub(super) fn purged(&mut self, group: u64, id: LogId, segment: u64) {
        set(
            &mut self.pins,
            &mut self.groups.entry(group).or_default().purged,
            id,
            segment,
        );
        self.remove_entries(group, 0, id.index);
    }

    pub(super) fn truncated(&mut self, group: u64, keep: Option<u64>) {
        self.remove_entries(group, keep.map_or(0, |keep| keep.saturating_add(1)), u64::MAX);
    }

    pub(super) fn removed(&mut self, group: u64) {
        if let Some(live) = self.groups.remove(&group) {
            for segment in live.segments() {
                unpin(&mut self.pins, segment);
            }
        }
    }

    /// Entries `first..=last` now stand in `segment`, wherever they stood before.
    pub(super) fn entries(&mut self, group: u64, first: u64, last: u64, segment: u64) {
        self.remove_entries(group, first, last);
        let runs = &mut self.groups.entry(group).or_default().runs;
        if let Some((_, run)) = runs.range_mut(..first).next_back()
            && run.segment == segment
            && run.last.checked_add(1) == Some(first)
        {
            run.last = last;
            return;
        }
        runs.insert(first, Run { last, segment });
        pin(&mut self.pins, segment);
    }

    /// Entries `first..=last` stand nowhere any more.
    fn remove_entries(&mut self, group: u64, first: u64, last: u64) {
        if first > last {
            return;
        }
        let runs = &mut self.groups.entry(group).or_default().runs;
        if let Some((_, run)) = runs.range_mut(..first).next_back()
            && run.last >= first
        {
            let cut = *run;
            run.last = first - 1;
            if cut.last > last {
                runs.insert(last + 1, cut);
                pin(&mut self.pins, cut.segment);
            }
        }
        while let Some((start, run)) = runs.range(first..=last).next().map(|(start, run)| (*start, *run)) {
            runs.remove(&start);
            if run.last > last {
                runs.insert(last + 1, run);
            } else {
                unpin(&mut self.pins, run.segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Live;

    #[test]
    fn a_run_in_the_middle_moves_and_splits_its_old_run() {
        let mut live = Live::default();
        live.entries(1, 1, 100, 5);
        live.entries(1, 40, 60, 9);
        let group = &live.groups[&1];
        assert_eq!(group.first_run_in_from(5, 0), Some((1, 39)));
        assert_eq!(group.first_run_in_from(9, 0), Some((40, 60)));
        assert_eq!(live.oldest(), Some(5));
        live.entries(1, 1, 39, 9);
        live.entries(1, 61, 100, 9);
        assert_eq!(live.oldest(), Some(9));
        live.truncated(1, Some(10));
        assert_eq!(live.oldest(), Some(9));
        live.truncated(1, None);
        assert_eq!(live.oldest(), None);
    }

    #[test]
    fn neighbouring_entries_share_a_run() {
        let mut live = Live::default();
        live.entries(1, 1, 1, 5);
        live.entries(1, 2, 7, 5);
        live.entries(1, 8, 8, 6);
        assert_eq!(live.groups[&1].first_run_in_from(5, 0), Some((1, 7)));
        live.removed(1);
        assert_eq!(live.oldest(), None);
    }
}
