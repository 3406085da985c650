//! At the end every replica holds every acknowledged write, and nothing that failed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Violation};
use crate::history::Value;
use crate::oracle::{Fate, Key, Oracle};

/// What one replica holds of the registers of the run: key -> value and revision. A register that is not in
/// the map is absent there.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// Names the replica in violations.
    pub name: String,
    pub records: BTreeMap<String, (Value, u64)>,
    /// Registers whose shard has no replica here.
    pub elsewhere: BTreeSet<String>,
}

/// Checks all replicas against what clients were told, and against each other.
#[must_use]
pub fn check(oracle: &Oracle, replicas: &[Replica]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, key) in oracle.keys() {
        let mut first: Option<(&Replica, Option<(Value, u64)>)> = None;
        for replica in replicas
            .iter()
            .filter(|replica| !replica.elsewhere.contains(name))
        {
            let held = replica.records.get(name).copied();
            violations.extend(held_is_explained(name, key, held, replica, oracle));
            let (other, theirs) = *first.get_or_insert((replica, held));
            if theirs != held {
                let message = format!("{}: {theirs:?}, {}: {held:?}", other.name, replica.name);
                violations.push(Violation::new(Rule::ReplicasDiffer, name, &[], message));
            }
        }
    }
    for replica in replicas {
        for (name, (value, _)) in &replica.records {
            if oracle.key(name).is_none() {
                let message = format!(
                    "{} holds value {} of a register nobody wrote",
                    replica.name, value.0
                );
                violations.push(Violation::new(Rule::Phantom, name, &[], message));
            }
        }
    }
    violations
}

fn held_is_explained(
    name: &str,
    key: &Key,
    held: Option<(Value, u64)>,
    replica: &Replica,
    oracle: &Oracle,
) -> Option<Violation> {
    let newest = key.acknowledged.last_key_value();
    let say = |rule, message: String| Some(Violation::new(rule, name, &[], message));
    let Some((value, revision)) = held else {
        let (acknowledged, values) = newest?;
        if values.contains(&None) || !key.open_deletes.is_empty() {
            return None;
        }
        return say(
            Rule::NotDurable,
            format!("{} lacks revision {acknowledged}", replica.name),
        );
    };
    let Some(write) = oracle.write(value).filter(|write| write.key == name) else {
        return say(
            Rule::Phantom,
            format!("{} holds value {} that nobody wrote", replica.name, value.0),
        );
    };
    match write.fate {
        Fate::Failed => {
            return say(
                Rule::FailedButSeen,
                format!("{} holds value {} of a failed write", replica.name, value.0),
            );
        }
        Fate::Acknowledged { revision: told } if told != revision => {
            let message = format!(
                "{} holds value {} as {revision}, told {told}",
                replica.name, value.0
            );
            return say(Rule::AppliedTwice, message);
        }
        Fate::Acknowledged { .. } | Fate::Unknown => {}
    }
    let (acknowledged, _) = newest?;
    (revision < *acknowledged)
        .then(|| {
            format!(
                "{} holds revision {revision}, {acknowledged} was acknowledged",
                replica.name
            )
        })
        .and_then(|message| say(Rule::NotDurable, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    fn replica(name: &str, records: &[(&str, u64, u64)]) -> Replica {
        let records = records
            .iter()
            .map(|(key, value, revision)| ((*key).to_owned(), (Value(*value), *revision)))
            .collect();
        Replica {
            name: name.to_owned(),
            records,
            elsewhere: BTreeSet::new(),
        }
    }

    fn oracle() -> Oracle {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.put(1, "a", 2).at(2, 3).ok(0, 6);
        history.put(1, "b", 3).at(4, 5).unknown();
        history.put(1, "c", 4).at(6, 7).failed();
        Oracle::of(&history.operations())
    }

    fn rules(replicas: &[Replica]) -> Vec<Rule> {
        check(&oracle(), replicas).into_iter().map(|v| v.rule).collect()
    }

    #[test]
    fn equal_and_complete_replicas_pass() {
        let with = replica("n1", &[("a", 2, 6), ("b", 3, 9)]);
        assert_eq!(rules(&[with.clone(), with]), []);
        let without = replica("n1", &[("a", 2, 6)]);
        assert_eq!(rules(&[without.clone(), without]), []);
    }

    #[test]
    fn missing_old_failed_foreign_and_unequal_are_found() {
        assert_eq!(rules(&[replica("n1", &[])]), [Rule::NotDurable]);
        assert_eq!(rules(&[replica("n1", &[("a", 1, 5)])]), [Rule::NotDurable]);
        assert_eq!(rules(&[replica("n1", &[("a", 2, 7)])]), [Rule::AppliedTwice]);
        assert_eq!(
            rules(&[replica("n1", &[("a", 2, 6), ("c", 4, 8)])]),
            [Rule::FailedButSeen]
        );
        assert_eq!(
            rules(&[replica("n1", &[("a", 2, 6), ("z", 8, 8)])]),
            [Rule::Phantom]
        );
        assert_eq!(rules(&[replica("n1", &[("a", 3, 6)])]), [Rule::Phantom]);
        let one = replica("n1", &[("a", 2, 6), ("b", 3, 9)]);
        let two = replica("n2", &[("a", 2, 6)]);
        assert_eq!(rules(&[one, two]), [Rule::ReplicasDiffer]);
    }

    #[test]
    fn a_deletion_explains_absence() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.delete(1, "a").at(2, 3).ok(0, 6);
        let oracle = Oracle::of(&history.operations());
        assert_eq!(check(&oracle, &[replica("n1", &[])]), []);
        let back = check(&oracle, &[replica("n1", &[("a", 1, 5)])]);
        assert_eq!(back[0].rule, Rule::NotDurable);
    }
}
