//! Version order while the run goes on, on every operation, in bounded memory.
//!
//! Each call remembers the highest index that was answered before it began; its own answer must not lie below.
//! What lies below the floor of every open call can no longer be asked for, so only the newest change at or
//! below it is kept. What needs the whole history (phantoms, open writes) is left to the other checkers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Violation};
use crate::history::{Action, Operation, Outcome, Seen, Value};

/// Violations kept; more are counted only.
const KEPT_MAX: usize = 100;

/// Fed with every call and every answer, in the order of their events.
#[derive(Debug, Default)]
pub struct Online {
    /// Highest answered index of each shard.
    newest: BTreeMap<u32, u64>,
    /// Open calls: the floors when they began.
    open: BTreeMap<u64, BTreeMap<u32, u64>>,
    registers: BTreeMap<String, Register>,
    violations: Vec<Violation>,
    found: u64,
    checked: u64,
}

#[derive(Debug, Default)]
struct Register {
    /// Known changes by revision; none = deleted. Changes of one log entry share a revision.
    changes: BTreeMap<u64, BTreeSet<Option<Value>>>,
    /// What reads saw under a revision: always the same.
    read: BTreeMap<u64, Value>,
    /// Reads told that nothing changed above the first and up to the second.
    quiet: BTreeSet<(u64, u64)>,
    /// Deletions under way or of unknown outcome: while there is one, absence proves nothing.
    open_deletes: u64,
}

impl Online {
    /// A call was made.
    pub fn started(&mut self, operation: &Operation) {
        self.open.insert(operation.id, self.newest.clone());
        if operation.action == Action::Delete {
            self.registers
                .entry(operation.key.clone())
                .or_default()
                .open_deletes += 1;
        }
    }

    /// It was answered, or given up.
    pub fn finished(&mut self, operation: &Operation) {
        let floors = self.open.remove(&operation.id).unwrap_or_default();
        let unknown = matches!(operation.outcome, Outcome::Unknown { .. });
        if operation.action == Action::Delete && !unknown {
            let register = self.registers.entry(operation.key.clone()).or_default();
            register.open_deletes = register.open_deletes.saturating_sub(1);
        }
        if let Outcome::Ok(seen) = &operation.outcome {
            self.answered(operation, *seen, &floors);
        }
    }

    fn answered(&mut self, operation: &Operation, seen: Seen, floors: &BTreeMap<u32, u64>) {
        self.checked += 1;
        let is_read = operation.action.is_read();
        let index = if is_read { seen.index } else { seen.revision };
        let floor = floors.get(&seen.shard).copied().unwrap_or_default();
        let respects = if is_read { index >= floor } else { index > floor };
        // A replayed answer tells of a change that may be older than this call.
        if !respects && !seen.replayed {
            let message = format!(
                "at index {index} of shard {} although {floor} was answered before",
                seen.shard
            );
            self.found(Rule::RealTimeOrder, operation, message);
        }
        let newest = self.newest.entry(seen.shard).or_default();
        *newest = index.max(*newest);
        let problem = self
            .registers
            .entry(operation.key.clone())
            .or_default()
            .take(operation, seen);
        if let Some((rule, message)) = problem {
            self.found(rule, operation, message);
        }
        let low = self.low_water(seen.shard);
        if let Some(register) = self.registers.get_mut(&operation.key) {
            register.forget_below(low);
        }
    }

    /// No answer to come can be below this index.
    fn low_water(&self, shard: u32) -> u64 {
        let floor = |floors: &BTreeMap<u32, u64>| floors.get(&shard).copied().unwrap_or_default();
        let lowest = self.open.values().map(floor).min();
        lowest.unwrap_or_else(|| floor(&self.newest))
    }

    fn found(&mut self, rule: Rule, operation: &Operation, message: String) {
        self.found += 1;
        if self.violations.len() < KEPT_MAX {
            self.violations
                .push(Violation::new(rule, &operation.key, &[operation.id], message));
        }
    }

    /// Answers that were checked.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// How many violations there were, and the first of them.
    #[must_use]
    pub fn violations(&self) -> (u64, &[Violation]) {
        (self.found, &self.violations)
    }

    /// Changes and quiet ranges remembered now.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let of = |register: &Register| register.changes.len() + register.read.len() + register.quiet.len();
        self.registers.values().map(of).sum()
    }
}

impl Register {
    fn take(&mut self, operation: &Operation, seen: Seen) -> Option<(Rule, String)> {
        if operation.action.is_read() {
            self.read(seen)
        } else {
            let changes = self.changes.entry(seen.revision).or_default();
            changes.insert(operation.action.written());
            let (below, up_to) = self.quiet_around(seen.revision)?;
            let message = format!(
                "revision {} lies where a read saw no change: above {below}, up to {up_to}",
                seen.revision
            );
            Some((Rule::StaleRead, message))
        }
    }

    fn read(&mut self, seen: Seen) -> Option<(Rule, String)> {
        let newest = self.changes.range(..=seen.index).next_back();
        let problem = match (seen.value, newest) {
            (Some(_), Some((at, _))) if *at > seen.revision => {
                let message = format!(
                    "revision {} read at index {} although {at} is known",
                    seen.revision, seen.index
                );
                Some((Rule::StaleRead, message))
            }
            (None, Some((at, values))) if !values.contains(&None) && self.open_deletes == 0 => {
                let message = format!("nothing read at index {} although {at} is known", seen.index);
                Some((Rule::LostValue, message))
            }
            _ => None,
        };
        let Some(value) = seen.value else {
            return problem;
        };
        self.changes.entry(seen.revision).or_default().insert(Some(value));
        let first = *self.read.entry(seen.revision).or_insert(value);
        let reused = (first != value).then(|| {
            let message = format!(
                "revision {} holds values {} and {}",
                seen.revision, first.0, value.0
            );
            (Rule::RevisionReused, message)
        });
        if seen.index > seen.revision {
            self.quiet.insert((seen.revision, seen.index));
        }
        problem.or(reused)
    }

    fn quiet_around(&self, revision: u64) -> Option<(u64, u64)> {
        let mut around = self.quiet.range(..(revision, 0));
        around.find(|(_, up_to)| revision <= *up_to).copied()
    }

    fn forget_below(&mut self, low: u64) {
        if let Some((newest, _)) = self.changes.range(..=low).next_back() {
            let newest = *newest;
            self.changes = self.changes.split_off(&newest);
            self.read = self.read.split_off(&newest);
        }
        self.quiet.retain(|(_, up_to)| *up_to > low);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    /// Feeds a history by its events.
    fn fed(history: &History) -> Online {
        let operations = history.operations();
        let mut events: Vec<(u64, bool, &Operation)> = Vec::new();
        for operation in &operations {
            events.push((operation.invoked, false, operation));
            events.push((operation.returned.unwrap_or(u64::MAX), true, operation));
        }
        events.sort_by_key(|(at, is_return, _)| (*at, *is_return));
        let mut online = Online::default();
        for (_, is_return, operation) in events {
            if is_return {
                online.finished(operation);
            } else {
                online.started(operation);
            }
        }
        online
    }

    fn rules(history: &History) -> Vec<Rule> {
        fed(history).violations.iter().map(|found| found.rule).collect()
    }

    #[test]
    fn a_good_history_passes() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 3).ok(0, 5);
        history.put(2, "a", 2).at(1, 4).ok(0, 6);
        history.read(3, "a").at(2, 5).sees(Some(1), 0, 5, 5);
        history.read(3, "a").at(6, 7).sees(Some(2), 0, 6, 6);
        history.delete(1, "a").at(8, 9).ok(0, 8);
        history.read(3, "a").at(10, 11).sees(None, 0, 0, 8);
        assert_eq!(rules(&history), []);
        assert_eq!(fed(&history).checked(), 6);
    }

    #[test]
    fn an_answer_below_what_was_answered_before_is_found() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.read(2, "b").at(2, 3).sees(None, 0, 0, 4);
        history.put(2, "b", 2).at(4, 5).ok(0, 5);
        assert_eq!(rules(&history), [Rule::RealTimeOrder, Rule::RealTimeOrder]);
    }

    #[test]
    fn a_stale_read_is_found_before_and_after_the_write_is_answered() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.put(1, "a", 2).at(2, 3).ok(0, 7);
        history.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 8);
        assert_eq!(rules(&history), [Rule::StaleRead]);
        let mut late = History::new();
        late.put(1, "a", 1).at(0, 1).ok(0, 5);
        late.put(1, "a", 2).at(2, 9).ok(0, 7);
        late.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 8);
        assert_eq!(rules(&late), [Rule::StaleRead]);
    }

    #[test]
    fn a_lost_value_and_a_reused_revision_are_found() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.read(2, "a").at(2, 3).sees(None, 0, 0, 6);
        history.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 6);
        history.read(2, "a").at(6, 7).sees(Some(9), 0, 5, 6);
        assert_eq!(rules(&history), [Rule::LostValue, Rule::RevisionReused]);
    }

    #[test]
    fn a_deletion_under_way_or_of_unknown_outcome_explains_absence() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.delete(1, "a").at(2, 9).ok(0, 6);
        history.read(2, "a").at(4, 5).sees(None, 0, 0, 6);
        history.put(1, "a", 2).at(10, 11).ok(0, 7);
        history.delete(3, "a").at(12, 13).unknown();
        history.read(2, "a").at(14, 15).sees(None, 0, 0, 8);
        assert_eq!(rules(&history), []);
    }

    #[test]
    fn memory_does_not_grow_with_the_run() {
        let mut history = History::new();
        for round in 0..2_000 {
            let at = round * 4;
            history.put(1, "a", round + 1).at(at, at + 1).ok(0, round + 1);
            history
                .read(2, "a")
                .at(at + 2, at + 3)
                .sees(Some(round + 1), 0, round + 1, round + 1);
        }
        let online = fed(&history);
        assert_eq!(online.violations().0, 0);
        assert!(online.remembered() <= 6, "{}", online.remembered());
    }
}
