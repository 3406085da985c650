//! What one client saw stays seen: its reads of a register never go back, and it reads its own writes.
//!
//! Rests on revisions and values alone, not on the index an answer claims, so that a wrong claim does not hide
//! what the client saw.

use std::collections::BTreeMap;

use super::{Rule, Violation};
use crate::history::{Action, ClientId, Operation, Outcome};

/// The newest revision of a register that a client knows of.
#[derive(Clone, Copy)]
struct Known {
    revision: u64,
    by: u64,
    rule: Rule,
}

/// Checks a whole history. Operations of one client must stand in the order in which it made them.
#[must_use]
pub fn check(operations: &[Operation]) -> Vec<Violation> {
    let deletes = Deletes::of(operations);
    let mut known: BTreeMap<(ClientId, &str), Known> = BTreeMap::new();
    let mut violations = Vec::new();
    for operation in operations {
        let Some(seen) = operation.seen() else { continue };
        let session = (operation.client, operation.key.as_str());
        if operation.action.is_read() {
            let floor = known.get(&session).filter(|floor| match seen.value {
                Some(_) => seen.revision < floor.revision,
                None => !deletes.explain(operation, floor.revision),
            });
            if let Some(floor) = floor {
                let saw = seen
                    .value
                    .map_or_else(|| "nothing".to_owned(), |_| format!("revision {}", seen.revision));
                let message = format!("saw {saw} after revision {} in the same session", floor.revision);
                let ids = [floor.by, operation.id];
                violations.push(Violation::new(floor.rule, &operation.key, &ids, message));
            }
        }
        let rule = if operation.action.is_read() {
            Rule::MonotonicReads
        } else {
            Rule::ReadYourWrites
        };
        let newer = known
            .get(&session)
            .is_none_or(|floor| seen.revision > floor.revision);
        // A deletion leaves nothing that a later read could show; what follows it is newer anyway.
        // Having seen nothing obliges to nothing, either.
        if newer && operation.action != Action::Delete && seen.value.is_some() {
            let by = operation.id;
            let revision = seen.revision;
            known.insert(session, Known { revision, by, rule });
        }
    }
    violations
}

/// Deletions of each register, whoever asked for them.
struct Deletes<'a> {
    /// Highest revision of an acknowledged one.
    acknowledged: BTreeMap<&'a str, u64>,
    /// First call of one whose outcome is unknown.
    open: BTreeMap<&'a str, u64>,
}

impl<'a> Deletes<'a> {
    fn of(operations: &'a [Operation]) -> Self {
        let mut deletes = Self {
            acknowledged: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        for operation in operations.iter().filter(|one| one.action == Action::Delete) {
            match &operation.outcome {
                Outcome::Ok(seen) => {
                    let newest = deletes.acknowledged.entry(&operation.key).or_default();
                    *newest = seen.revision.max(*newest);
                }
                Outcome::Unknown { .. } => {
                    let first = deletes.open.entry(&operation.key).or_insert(operation.invoked);
                    *first = operation.invoked.min(*first);
                }
                Outcome::Rejected { .. } | Outcome::Failed { .. } => {}
            }
        }
        deletes
    }

    /// Nothing may be seen above `revision` if something was deleted above it.
    fn explain(&self, read: &Operation, revision: u64) -> bool {
        let key = read.key.as_str();
        let returned = read.returned.unwrap_or(u64::MAX);
        self.acknowledged
            .get(key)
            .is_some_and(|newest| *newest > revision)
            || self.open.get(key).is_some_and(|invoked| *invoked < returned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    fn rules(history: &History) -> Vec<Rule> {
        check(&history.operations())
            .into_iter()
            .map(|found| found.rule)
            .collect()
    }

    #[test]
    fn going_forward_passes() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.read(1, "a").at(2, 3).sees(Some(1), 0, 5, 6);
        history.put(2, "a", 2).at(2, 4).ok(0, 7);
        history.read(1, "a").at(5, 6).sees(Some(2), 0, 7, 8);
        history.delete(2, "a").at(7, 8).ok(0, 9);
        history.read(1, "a").at(9, 10).sees(None, 0, 0, 9);
        // Another session has its own floor.
        history.read(3, "a").at(9, 10).sees(Some(1), 0, 5, 6);
        assert_eq!(rules(&history), []);
    }

    #[test]
    fn nothing_may_be_seen_twice() {
        let mut history = History::new();
        history.read(1, "a").at(0, 1).sees(None, 0, 0, 4);
        history.read(1, "a").at(2, 3).sees(None, 0, 0, 5);
        assert_eq!(rules(&history), []);
    }

    #[test]
    fn a_read_that_goes_back_is_found_whatever_index_it_claims() {
        let mut history = History::new();
        history.read(1, "a").at(0, 1).sees(Some(2), 0, 7, 8);
        history.read(1, "a").at(2, 3).sees(Some(1), 0, 5, 99);
        assert_eq!(rules(&history), [Rule::MonotonicReads]);
    }

    #[test]
    fn an_own_write_that_is_not_seen_is_found() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.read(1, "a").at(2, 3).sees(None, 0, 0, 6);
        assert_eq!(rules(&history), [Rule::ReadYourWrites]);
        let mut older = History::new();
        older.put(1, "a", 2).at(0, 1).ok(0, 5);
        older.read(1, "a").at(2, 3).sees(Some(1), 0, 4, 6);
        assert_eq!(rules(&older), [Rule::ReadYourWrites]);
    }

    #[test]
    fn a_deletion_of_unknown_outcome_explains_absence_only_once_it_was_asked_for() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.read(1, "a").at(2, 3).sees(None, 0, 0, 6);
        history.delete(2, "a").at(4, 5).unknown();
        assert_eq!(rules(&history), [Rule::ReadYourWrites]);
        history.read(1, "a").at(6, 7).sees(None, 0, 0, 8);
        assert_eq!(rules(&history), [Rule::ReadYourWrites]);
    }
}
