//! Keeps what was acknowledged, what is unknown and what failed apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Operation, Outcome, Value, merge_resent};

/// Every change clients asked for, sorted by what is known of it.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    writes: BTreeMap<Value, Write>,
    keys: BTreeMap<String, Key>,
}

/// One asked-for value.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: String,
    /// Event number of its first call.
    pub invoked: u64,
    pub fate: Fate,
    /// Operation that asked for it.
    pub operation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acknowledged {
        revision: u64,
    },
    Unknown,
    /// Failed or rejected: it must never be seen.
    Failed,
}

/// What is known of one register.
#[derive(Clone, Debug, Default)]
pub struct Key {
    /// Acknowledged changes by revision; an empty set is a deletion. Changes of one log entry share one.
    pub acknowledged: BTreeMap<u64, BTreeSet<Option<Value>>>,
    /// Event numbers at which deletions of unknown outcome were first asked for.
    pub open_deletes: Vec<u64>,
}

impl Oracle {
    /// Sorts a history; resent requests count once.
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        let mut oracle = Self::default();
        for operation in &merge_resent(operations) {
            oracle.add(operation);
        }
        oracle
    }

    fn add(&mut self, operation: &Operation) {
        if operation.action.is_read() {
            return;
        }
        let key = self.keys.entry(operation.key.clone()).or_default();
        let value = operation.action.written();
        let fate = match &operation.outcome {
            Outcome::Ok(seen) => {
                key.acknowledged.entry(seen.revision).or_default().insert(value);
                Fate::Acknowledged {
                    revision: seen.revision,
                }
            }
            Outcome::Unknown { .. } => {
                if value.is_none() {
                    key.open_deletes.push(operation.invoked);
                }
                Fate::Unknown
            }
            Outcome::Rejected { .. } | Outcome::Failed { .. } => Fate::Failed,
        };
        if let Some(value) = value {
            let write = Write {
                key: operation.key.clone(),
                invoked: operation.invoked,
                fate,
                operation: operation.id,
            };
            self.writes.insert(value, write);
        }
    }

    /// The write that asked for this value; none = a phantom.
    #[must_use]
    pub fn write(&self, value: Value) -> Option<&Write> {
        self.writes.get(&value)
    }

    #[must_use]
    pub fn key(&self, key: &str) -> Option<&Key> {
        self.keys.get(key)
    }

    /// All registers that anyone tried to change, in order.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for write in self.writes.values() {
            match write.fate {
                Fate::Acknowledged { .. } => counts.acknowledged += 1,
                Fate::Unknown => counts.unknown += 1,
                Fate::Failed => counts.failed += 1,
            }
        }
        counts
    }
}

/// How many values were asked for, by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub unknown: u64,
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    #[test]
    fn the_three_fates_stay_apart() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.put(1, "a", 2).at(2, 3).unknown();
        history.put(2, "a", 3).at(4, 5).failed();
        history.cas(2, "a", None, 4).at(6, 7).rejected();
        history.delete(2, "b").at(8, 9).unknown();
        let oracle = Oracle::of(&history.operations());
        assert_eq!(
            oracle.counts(),
            Counts {
                acknowledged: 1,
                unknown: 1,
                failed: 2
            }
        );
        assert_eq!(
            oracle.write(Value(1)).unwrap().fate,
            Fate::Acknowledged { revision: 5 }
        );
        assert_eq!(oracle.write(Value(2)).unwrap().fate, Fate::Unknown);
        assert!(oracle.write(Value(9)).is_none());
        assert_eq!(oracle.key("b").unwrap().open_deletes, vec![8]);
    }
}
