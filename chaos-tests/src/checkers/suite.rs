//! All checkers over one run.

use std::collections::BTreeSet;

use serde::Serialize;

use super::digest::Digests;
use super::durability::{self, Replica};
use super::exactly_once::{self, Sighting};
use super::linearizability::{self, Limits};
use super::{Violation, sessions, version_order};
use crate::history::Operation;
use crate::oracle::{Counts, Oracle};

/// What was read from the replicas themselves after the run.
#[derive(Clone, Debug, Default)]
pub struct FinalState {
    /// One entry for each replica set member that was read; see [`durability::check`].
    pub replicas: Vec<Replica>,
}

/// What all checkers say of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub operations: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub failed: u64,
    pub digests_compared: u64,
    pub violations: Vec<Violation>,
}

impl Report {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Which registers are searched for an order; all other checkers see everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    All,
    /// About one in so many, chosen by the seed, and every suspect: a register that another checker named, or
    /// that had a change of unknown outcome.
    Sample {
        one_in: u64,
        seed: u64,
    },
}

/// Runs every checker. `last` is none where the replicas could not be read.
#[must_use]
pub fn check(
    operations: &[Operation],
    last: Option<&FinalState>,
    digests: &Digests,
    limits: Limits,
) -> Report {
    check_with(operations, last, digests, limits, Searched::All)
}

/// Runs every checker, the search for an order only where it is asked for.
#[must_use]
pub fn check_with(
    operations: &[Operation],
    last: Option<&FinalState>,
    digests: &Digests,
    limits: Limits,
    searched: Searched,
) -> Report {
    let oracle = Oracle::of(operations);
    let mut violations = version_order::check(operations);
    violations.extend(sessions::check(operations));
    let replicas = last.map_or(&[][..], |last| &last.replicas);
    violations.extend(exactly_once::check(operations, &sightings(replicas)));
    if last.is_some() {
        violations.extend(durability::check(&oracle, replicas));
    }
    let suspects = suspects(operations, &violations);
    let chosen = |key: &str| searched.includes(key, &suspects);
    violations.extend(linearizability::check_some(operations, limits, chosen));
    let Counts {
        acknowledged,
        unknown,
        failed,
    } = oracle.counts();
    Report {
        operations: operations.len() as u64,
        acknowledged,
        unknown,
        failed,
        digests_compared: digests.compared(),
        violations,
    }
}

impl Searched {
    fn includes(self, key: &str, suspects: &BTreeSet<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Sample { one_in, seed } => {
                suspects.contains(key) || sample(key, seed).is_multiple_of(one_in.max(1))
            }
        }
    }
}

fn sample(key: &str, seed: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(key.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

fn suspects<'a>(operations: &'a [Operation], violations: &'a [Violation]) -> BTreeSet<&'a str> {
    let named = violations.iter().map(|violation| violation.key.as_str());
    let open = operations.iter().filter(|operation| operation.is_open_write());
    named
        .chain(open.map(|operation| operation.key.as_str()))
        .collect()
}

fn sightings(replicas: &[Replica]) -> Vec<Sighting> {
    let held = replicas.iter().flat_map(|replica| &replica.records);
    held.map(|(key, (value, revision))| Sighting {
        key: key.clone(),
        value: *value,
        revision: *revision,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::Rule;
    use crate::history::testing::History;

    /// A sample so small that it holds nothing.
    const ALMOST_NONE: Searched = Searched::Sample {
        one_in: u64::MAX,
        seed: 1,
    };

    fn searched(history: &History, searched: Searched) -> Vec<Rule> {
        let report = check_with(
            &history.operations(),
            None,
            &Digests::default(),
            Limits::default(),
            searched,
        );
        report.violations.iter().map(|found| found.rule).collect()
    }

    /// Two clients that each lost to the other: only the search finds it.
    fn each_refused_for_the_other(open: bool) -> History {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.cas(2, "a", Some(1), 2).at(2, 3).rejected();
        if open {
            history.put(3, "a", 3).at(4, 5).unknown();
        }
        history
    }

    #[test]
    fn a_sample_still_holds_every_suspect() {
        assert_eq!(
            searched(&each_refused_for_the_other(false), Searched::All),
            [Rule::NotLinearizable]
        );
        assert_eq!(searched(&each_refused_for_the_other(false), ALMOST_NONE), []);
        assert_eq!(
            searched(&each_refused_for_the_other(true), ALMOST_NONE),
            [Rule::NotLinearizable]
        );
        let everything = Searched::Sample { one_in: 1, seed: 1 };
        assert_eq!(
            searched(&each_refused_for_the_other(false), everything),
            [Rule::NotLinearizable]
        );
    }
}
