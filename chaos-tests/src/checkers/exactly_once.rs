//! A request takes effect at most once, and everyone who asks with its id is told the same.

use std::collections::BTreeMap;

use super::{Rule, Violation};
use crate::history::{Operation, Value};

/// A value found in a replica's state after the run.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub key: String,
    pub value: Value,
    pub revision: u64,
}

/// Checks a history and what was found on replicas.
#[must_use]
pub fn check(operations: &[Operation], sightings: &[Sighting]) -> Vec<Violation> {
    let mut violations = replays(operations);
    violations.extend(revisions(operations, sightings));
    violations
}

/// All successes of one request id name one revision.
fn replays(operations: &[Operation]) -> Vec<Violation> {
    let mut told: BTreeMap<&str, (&Operation, u64)> = BTreeMap::new();
    let mut violations = Vec::new();
    for operation in operations {
        let (Some(request_id), Some(seen)) = (operation.request_id.as_deref(), operation.seen()) else {
            continue;
        };
        let (first, revision) = *told.entry(request_id).or_insert((operation, seen.revision));
        let same =
            revision == seen.revision && first.action == operation.action && first.key == operation.key;
        if !same {
            let message = format!(
                "one request id answered with revisions {revision} and {}",
                seen.revision
            );
            let ids = [first.id, operation.id];
            violations.push(Violation::new(Rule::ReplayDiffers, &operation.key, &ids, message));
        }
    }
    violations
}

/// Every value stands under one revision, whoever saw it.
fn revisions(operations: &[Operation], sightings: &[Sighting]) -> Vec<Violation> {
    let mut known: BTreeMap<Value, u64> = BTreeMap::new();
    let mut violations = Vec::new();
    let answered = operations.iter().filter_map(|operation| {
        let seen = operation.seen()?;
        Some((
            operation.key.as_str(),
            seen.value?,
            seen.revision,
            Some(operation.id),
        ))
    });
    let found = sightings
        .iter()
        .map(|found| (found.key.as_str(), found.value, found.revision, None));
    for (key, value, revision, id) in answered.chain(found) {
        let first = *known.entry(value).or_insert(revision);
        if first != revision {
            let ids: Vec<u64> = id.into_iter().collect();
            let message = format!("value {} stands under revisions {first} and {revision}", value.0);
            violations.push(Violation::new(Rule::AppliedTwice, key, &ids, message));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    #[test]
    fn equal_replays_pass_and_different_ones_do_not() {
        let mut history = History::new();
        history.put(1, "a", 1).request("r").at(0, 1).ok(0, 5);
        history.put(1, "a", 1).request("r").at(2, 3).ok(0, 5);
        assert_eq!(check(&history.operations(), &[]), []);
        history.put(1, "a", 1).request("r").at(4, 5).ok(0, 8);
        let rules: Vec<Rule> = check(&history.operations(), &[]).iter().map(|v| v.rule).collect();
        assert_eq!(rules, [Rule::ReplayDiffers, Rule::AppliedTwice]);
    }

    #[test]
    fn a_value_found_on_a_replica_under_another_revision() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        let found = |revision| Sighting {
            key: "a".to_owned(),
            value: Value(1),
            revision,
        };
        assert_eq!(check(&history.operations(), &[found(5)]), []);
        let violations = check(&history.operations(), &[found(9)]);
        assert_eq!(violations[0].rule, Rule::AppliedTwice);
    }
}
