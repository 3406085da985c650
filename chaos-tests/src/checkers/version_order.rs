//! Real-time order against (shard, index) order, on every operation: a sort, not a search.
//!
//! Every answer names the shard and the log index it is exact at. Order by index must agree with real time;
//! a read must see the newest write at or below its index. Writes nobody was told of are learnt from reads.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Violation};
use crate::history::{ClientId, Operation, Value, merge_resent};
use crate::oracle::{Fate, Oracle};

/// Checks a whole history.
#[must_use]
pub fn check(operations: &[Operation]) -> Vec<Violation> {
    let operations = merge_resent(operations);
    let oracle = Oracle::of(&operations);
    let mut violations = real_time(&operations, &oracle);
    violations.extend(reads(&operations, &oracle));
    violations
}

/// The lowest index an operation may be at, fixed by what had returned when it began.
#[derive(Clone, Copy, Default)]
struct Floor {
    index: u64,
    by: u64,
}

struct Event<'a> {
    at: u64,
    is_return: bool,
    operation: &'a Operation,
}

fn events(operations: &[Operation]) -> Vec<Event<'_>> {
    let mut events = Vec::with_capacity(operations.len() * 2);
    for operation in operations {
        events.push(Event {
            at: operation.invoked,
            is_return: false,
            operation,
        });
        if let Some(at) = operation.returned {
            events.push(Event {
                at,
                is_return: true,
                operation,
            });
        }
    }
    // On a tie the call comes first: operations that touch are concurrent.
    events.sort_by_key(|event| (event.at, event.is_return));
    events
}

/// Walks the run once; `newest` per shard is the highest index anyone was told of so far.
fn real_time(operations: &[Operation], oracle: &Oracle) -> Vec<Violation> {
    let learnt = learn(operations, oracle);
    let mut newest: BTreeMap<u32, Floor> = BTreeMap::new();
    let mut own: BTreeMap<(ClientId, u32), Floor> = BTreeMap::new();
    let mut violations = Vec::new();
    for event in events(operations) {
        let operation = event.operation;
        let Some(place) = place(operation, &learnt) else {
            continue;
        };
        if event.is_return {
            raise(newest.entry(place.shard).or_default(), place.index, operation.id);
            raise(
                own.entry((operation.client, place.shard)).or_default(),
                place.index,
                operation.id,
            );
            continue;
        }
        let floor = newest.get(&place.shard).copied().unwrap_or_default();
        if place.respects(floor.index) {
            continue;
        }
        let mine = own
            .get(&(operation.client, place.shard))
            .copied()
            .unwrap_or_default();
        let rule = if place.respects(mine.index) {
            Rule::RealTimeOrder
        } else {
            Rule::WentBackwards
        };
        let message = format!(
            "at index {} of shard {} although index {} had been answered before it began",
            place.index, place.shard, floor.index
        );
        violations.push(Violation::new(
            rule,
            &operation.key,
            &[floor.by, operation.id],
            message,
        ));
    }
    violations
}

fn raise(floor: &mut Floor, index: u64, by: u64) {
    if index > floor.index {
        *floor = Floor { index, by };
    }
}

/// Where in a shard's order an operation stands.
struct Place {
    shard: u32,
    index: u64,
    is_write: bool,
}

impl Place {
    /// A write needs an index of its own; a read may stand where the last answer stood.
    fn respects(&self, floor: u64) -> bool {
        if self.is_write {
            self.index > floor
        } else {
            self.index >= floor
        }
    }
}

fn place(operation: &Operation, learnt: &BTreeMap<Value, (u32, u64)>) -> Option<Place> {
    if let Some(seen) = operation.seen() {
        let is_write = !operation.action.is_read();
        // A replayed answer may be exact at a later index; the write itself stands at its revision.
        let index = if is_write { seen.revision } else { seen.index };
        return Some(Place {
            shard: seen.shard,
            index,
            is_write,
        });
    }
    let (shard, index) = *learnt.get(&operation.action.written()?)?;
    Some(Place {
        shard,
        index,
        is_write: true,
    })
}

/// Revisions of writes that nobody acknowledged, from the reads that saw them.
fn learn(operations: &[Operation], oracle: &Oracle) -> BTreeMap<Value, (u32, u64)> {
    let mut learnt = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.action.is_read()) {
        let Some(seen) = operation.seen() else { continue };
        let Some(value) = seen.value else { continue };
        if oracle
            .write(value)
            .is_some_and(|write| write.fate == Fate::Unknown)
        {
            learnt.entry(value).or_insert((seen.shard, seen.revision));
        }
    }
    learnt
}

/// All known changes of one register: revision -> values, none = deleted.
type Changes = BTreeMap<u64, BTreeSet<Option<Value>>>;

fn reads(operations: &[Operation], oracle: &Oracle) -> Vec<Violation> {
    let changes = all_changes(operations, oracle);
    let mut last_of: BTreeMap<(&str, u64), (Value, u64)> = BTreeMap::new();
    let mut violations = Vec::new();
    let nothing = Changes::new();
    for operation in operations.iter().filter(|operation| operation.action.is_read()) {
        let Some(seen) = operation.seen() else { continue };
        let known = changes.get(operation.key.as_str()).unwrap_or(&nothing);
        let Some(value) = seen.value else {
            violations.extend(absent(operation, known, oracle));
            continue;
        };
        violations.extend(origin(operation, value, oracle));
        if let Some((_, missed)) = newest_between(known, seen.revision, seen.index) {
            let message = format!(
                "revision {} read at index {} although revision {missed} is acknowledged",
                seen.revision, seen.index
            );
            violations.push(Violation::new(
                Rule::StaleRead,
                &operation.key,
                &[operation.id],
                message,
            ));
        }
        let (other, by) = *last_of
            .entry((&operation.key, seen.revision))
            .or_insert((value, operation.id));
        if other != value {
            let message = format!(
                "revision {} holds values {} and {}",
                seen.revision, other.0, value.0
            );
            violations.push(Violation::new(
                Rule::RevisionReused,
                &operation.key,
                &[by, operation.id],
                message,
            ));
        }
    }
    violations
}

fn all_changes<'a>(operations: &'a [Operation], oracle: &'a Oracle) -> BTreeMap<&'a str, Changes> {
    let mut changes: BTreeMap<&str, Changes> = oracle
        .keys()
        .map(|(name, key)| (name, key.acknowledged.clone()))
        .collect();
    for (value, (_, revision)) in learn(operations, oracle) {
        if let Some(write) = oracle.write(value) {
            let key = changes.entry(write.key.as_str()).or_default();
            key.entry(revision).or_default().insert(Some(value));
        }
    }
    changes
}

/// The first change above `revision` and at or below `index`.
fn newest_between(known: &Changes, revision: u64, index: u64) -> Option<(&BTreeSet<Option<Value>>, u64)> {
    if revision >= index {
        return None;
    }
    known
        .range(revision + 1..=index)
        .next_back()
        .map(|(revision, values)| (values, *revision))
}

/// The value must have been asked for, here, before, and not been refused.
fn origin(read: &Operation, value: Value, oracle: &Oracle) -> Option<Violation> {
    let Some(write) = oracle.write(value).filter(|write| write.key == read.key) else {
        let message = format!("value {} was never written to this register", value.0);
        return Some(Violation::new(Rule::Phantom, &read.key, &[read.id], message));
    };
    let operations = [write.operation, read.id];
    let revision = read.seen().map_or(0, |seen| seen.revision);
    match write.fate {
        Fate::Failed => {
            let message = format!("value {} is seen although its write did not happen", value.0);
            return Some(Violation::new(
                Rule::FailedButSeen,
                &read.key,
                &operations,
                message,
            ));
        }
        Fate::Acknowledged { revision: told } if told != revision => {
            let message = format!("value {} acknowledged as {told}, read as {revision}", value.0);
            return Some(Violation::new(
                Rule::AppliedTwice,
                &read.key,
                &operations,
                message,
            ));
        }
        Fate::Acknowledged { .. } | Fate::Unknown => {}
    }
    if read.returned.is_some_and(|returned| returned < write.invoked) {
        let message = format!("value {} is read before it was asked for", value.0);
        return Some(Violation::new(
            Rule::FromTheFuture,
            &read.key,
            &operations,
            message,
        ));
    }
    None
}

/// Nothing may be seen only where nothing is known to be, or a deletion may explain it.
fn absent(read: &Operation, known: &Changes, oracle: &Oracle) -> Option<Violation> {
    let seen = read.seen()?;
    let (revision, values) = known.range(..=seen.index).next_back()?;
    if values.contains(&None) {
        return None;
    }
    let returned = read.returned.unwrap_or(u64::MAX);
    let open = oracle.key(&read.key).map_or(&[][..], |key| &key.open_deletes);
    if open.iter().any(|invoked| *invoked < returned) {
        return None;
    }
    let message = format!(
        "nothing read at index {} although revision {revision} is acknowledged",
        seen.index
    );
    Some(Violation::new(Rule::LostValue, &read.key, &[read.id], message))
}

#[cfg(test)]
#[path = "version_order_tests.rs"]
mod tests;
