//! Watches against what clients were told: in order, each change once, none missing, none that was not asked for.

use std::collections::BTreeMap;

use super::{Rule, Violation};
use crate::history::{Operation, Value};
use crate::oracle::{Fate, Oracle};

/// What a watch showed of one log entry: register and new value, none = deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub index: u64,
    pub changes: Vec<(String, Option<Value>)>,
}

/// All changes shown of one register, as (index, value), in the order in which they were.
type Changes = Vec<(u64, Option<Value>)>;

/// Checks watches that began before the history and ended after it, one for each shard.
#[must_use]
pub fn check(operations: &[Operation], watches: &[Vec<Shown>]) -> Vec<Violation> {
    let oracle = Oracle::of(operations);
    let mut violations: Vec<Violation> = watches.iter().flat_map(|watch| order(watch)).collect();
    let mut changes: BTreeMap<&str, Changes> = BTreeMap::new();
    for shown in watches.iter().flatten() {
        for (register, value) in &shown.changes {
            let of = changes.entry(register.as_str()).or_default();
            of.push((shown.index, *value));
        }
    }
    for (register, shown) in &changes {
        violations.extend(explained(register, shown, &oracle));
    }
    for (register, known) in oracle.keys() {
        let shown = changes.get(register).map_or(&[][..], Vec::as_slice);
        for (revision, values) in &known.acknowledged {
            let missing = values.iter().filter(|value| !is_shown(shown, *revision, **value));
            violations.extend(missing.map(|value| missed(register, *revision, *value, &oracle)));
        }
    }
    violations
}

fn order(watch: &[Shown]) -> Vec<Violation> {
    let pairs = watch.iter().zip(watch.iter().skip(1));
    let wrong = pairs.filter(|(before, after)| after.index <= before.index);
    wrong
        .map(|(before, after)| {
            let message = format!("a watch showed index {} after {}", after.index, before.index);
            Violation::new(Rule::WatchOutOfOrder, "", &[], message)
        })
        .collect()
}

/// Every value shown was asked for, here, did not fail, and is shown once, at the revision that was answered.
fn explained(register: &str, shown: &[(u64, Option<Value>)], oracle: &Oracle) -> Vec<Violation> {
    let mut seen: BTreeMap<Value, u64> = BTreeMap::new();
    let mut violations = Vec::new();
    for (index, value) in shown {
        let Some(value) = value else { continue };
        let mut found = |rule, operations: &[u64], message: String| {
            violations.push(Violation::new(rule, register, operations, message));
        };
        if let Some(before) = seen.insert(*value, *index) {
            let message = format!("value {} shown at {before} and at {index}", value.0);
            found(Rule::AppliedTwice, &[], message);
        }
        let Some(write) = oracle.write(*value).filter(|write| write.key == register) else {
            found(
                Rule::Phantom,
                &[],
                format!("value {} at {index} was never written to this register", value.0),
            );
            continue;
        };
        match write.fate {
            Fate::Failed => found(
                Rule::FailedButSeen,
                &[write.operation],
                format!("value {} shown although its write did not happen", value.0),
            ),
            Fate::Acknowledged { revision } if revision != *index => found(
                Rule::AppliedTwice,
                &[write.operation],
                format!("value {} acknowledged as {revision}, shown at {index}", value.0),
            ),
            Fate::Acknowledged { .. } | Fate::Unknown => {}
        }
    }
    violations
}

fn is_shown(shown: &[(u64, Option<Value>)], revision: u64, value: Option<Value>) -> bool {
    if shown.contains(&(revision, value)) {
        return true;
    }
    // A deletion of nothing changes nothing.
    let before = shown.iter().rev().find(|(index, _)| *index < revision);
    value.is_none() && before.is_none_or(|(_, value)| value.is_none())
}

fn missed(register: &str, revision: u64, value: Option<Value>, oracle: &Oracle) -> Violation {
    let what = value.map_or_else(|| "a deletion".to_owned(), |value| format!("value {}", value.0));
    let write = value.and_then(|value| oracle.write(value));
    let operations: Vec<u64> = write.map(|write| write.operation).into_iter().collect();
    let message = format!("{what}, acknowledged at revision {revision}, was never shown");
    Violation::new(Rule::WatchMissed, register, &operations, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    fn shown(index: u64, register: &str, value: Option<u64>) -> Shown {
        Shown {
            index,
            changes: vec![(register.to_owned(), value.map(Value))],
        }
    }

    fn history() -> Vec<Operation> {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.put(1, "b", 2).at(2, 3).unknown();
        history.delete(1, "a").at(4, 5).ok(0, 7);
        history.delete(1, "a").at(6, 7).ok(0, 8);
        history.put(1, "a", 3).at(8, 9).failed();
        history.operations()
    }

    fn good() -> Vec<Shown> {
        vec![
            shown(5, "a", Some(1)),
            shown(6, "b", Some(2)),
            shown(7, "a", None),
        ]
    }

    fn rules(watch: Vec<Shown>) -> Vec<Rule> {
        let found = check(&history(), &[watch]);
        found.into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn a_good_watch_passes_with_and_without_what_is_unknown() {
        assert_eq!(rules(good()), []);
        let mut without = good();
        without.remove(1);
        assert_eq!(rules(without), []);
    }

    #[test]
    fn each_way_to_be_wrong_is_noticed() {
        for missing in [0, 2] {
            let mut watch = good();
            watch.remove(missing);
            let found = rules(watch);
            assert!(found.contains(&Rule::WatchMissed), "{missing}: {found:?}");
            assert!(found.iter().all(|rule| *rule == Rule::WatchMissed));
        }
        let mut repeated = good();
        repeated.insert(1, shown(5, "a", Some(1)));
        assert_eq!(rules(repeated), [Rule::WatchOutOfOrder, Rule::AppliedTwice]);
        let mut swapped = good();
        swapped.swap(0, 1);
        assert_eq!(rules(swapped), [Rule::WatchOutOfOrder]);
        let with = |extra| {
            let mut watch = good();
            watch.push(extra);
            rules(watch)
        };
        assert_eq!(with(shown(9, "a", Some(99))), [Rule::Phantom]);
        assert_eq!(with(shown(9, "b", Some(1))), [Rule::Phantom]);
        assert_eq!(with(shown(9, "a", Some(3))), [Rule::FailedButSeen]);
        assert_eq!(with(shown(9, "b", Some(2))), [Rule::AppliedTwice]);
    }
}
