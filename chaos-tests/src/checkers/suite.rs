//! All checkers over one run.

use serde::Serialize;

use super::digest::Digests;
use super::durability::{self, Replica};
use super::exactly_once::{self, Sighting};
use super::linearizability::{self, Limits};
use super::{Violation, version_order};
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

/// Runs every checker. `last` is none where the replicas could not be read.
#[must_use]
pub fn check(
    operations: &[Operation],
    last: Option<&FinalState>,
    digests: &Digests,
    limits: Limits,
) -> Report {
    let oracle = Oracle::of(operations);
    let mut violations = version_order::check(operations);
    violations.extend(linearizability::check(operations, limits));
    let replicas = last.map_or(&[][..], |last| &last.replicas);
    violations.extend(exactly_once::check(operations, &sightings(replicas)));
    if last.is_some() {
        violations.extend(durability::check(&oracle, replicas));
    }
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

fn sightings(replicas: &[Replica]) -> Vec<Sighting> {
    let held = replicas.iter().flat_map(|replica| &replica.records);
    held.map(|(key, (value, revision))| Sighting {
        key: key.clone(),
        value: *value,
        revision: *revision,
    })
    .collect()
}
