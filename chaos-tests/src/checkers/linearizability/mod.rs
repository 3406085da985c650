//! Is there an order of one register's operations, within their calls, that a single copy could have answered?
//!
//! Wing and Gong's search with Lowe's memo. A history is linearizable if each register's is, so registers are
//! searched alone. A limit reached is a failure: nobody looked at the rest.

mod events;
mod model;
mod search;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Rule, Violation};
use crate::history::{Operation, merge_resent};

/// How far the search of one register may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Remembered configurations; about 50 bytes each.
    pub configurations: usize,
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            configurations: 4_000_000,
            time: Duration::from_secs(30),
        }
    }
}

/// Searches every register of a history.
#[must_use]
pub fn check(operations: &[Operation], limits: Limits) -> Vec<Violation> {
    check_some(operations, limits, |_| true)
}

/// Searches the chosen registers of a history.
#[must_use]
pub fn check_some(operations: &[Operation], limits: Limits, chosen: impl Fn(&str) -> bool) -> Vec<Violation> {
    let merged = merge_resent(operations);
    let mut registers: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in merged.iter().filter(|operation| chosen(&operation.key)) {
        registers.entry(&operation.key).or_default().push(operation);
    }
    registers
        .into_iter()
        .filter_map(|(key, operations)| check_register(key, &operations, limits))
        .collect()
}

fn check_register(key: &str, operations: &[&Operation], limits: Limits) -> Option<Violation> {
    let calls = model::calls(operations);
    let deadline = Instant::now() + limits.time;
    let mut search = search::Search::new(&calls, limits.configurations);
    let found = search.run(|| Instant::now() >= deadline);
    match found {
        search::Found::Order => None,
        search::Found::NoOrder { stuck } => {
            let ids: Vec<u64> = stuck.iter().map(|call| calls[*call].operation).collect();
            let message = format!(
                "no order explains the answers of {} operations; the search never got past those named",
                calls.len()
            );
            Some(Violation::new(Rule::NotLinearizable, key, &ids, message))
        }
        search::Found::Limit => {
            let message = format!("the search of {} operations reached its limit", calls.len());
            Some(Violation::new(Rule::GaveUp, key, &[], message))
        }
    }
}

#[cfg(test)]
mod tests;
