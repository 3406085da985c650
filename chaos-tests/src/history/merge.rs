//! One request sent twice is one operation for the checkers.

use std::collections::BTreeMap;

use super::{Operation, Outcome};

/// Joins operations that share a request id: invoked with the first, returned with the first success. Such a
/// request takes effect at most once, at some moment after it was first sent.
#[must_use]
pub fn merge_resent(operations: &[Operation]) -> Vec<Operation> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let mut merged: Vec<Operation> = Vec::with_capacity(operations.len());
    for operation in operations {
        let Some(request_id) = operation.request_id.as_deref() else {
            merged.push(operation.clone());
            continue;
        };
        if let Some(at) = first.get(request_id) {
            join(&mut merged[*at], operation);
        } else {
            first.insert(request_id, merged.len());
            merged.push(operation.clone());
        }
    }
    merged
}

fn join(into: &mut Operation, again: &Operation) {
    into.invoked = into.invoked.min(again.invoked);
    into.invoked_ns = into.invoked_ns.min(again.invoked_ns);
    let better = match (&into.outcome, &again.outcome) {
        (Outcome::Ok(_), Outcome::Ok(_)) => again.returned < into.returned,
        (_, Outcome::Ok(_)) => true,
        // A "no" to one try says nothing of the other, which may still be on its way.
        (Outcome::Failed { .. } | Outcome::Rejected { .. }, Outcome::Unknown { .. }) => true,
        _ => false,
    };
    if better {
        into.outcome = again.outcome.clone();
        into.returned = again.returned;
        into.returned_ns = again.returned_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    #[test]
    fn an_answer_to_the_second_try_answers_the_first() {
        let mut history = History::new();
        history.put(1, "a", 1).request("r").at(0, 1).unknown();
        history.put(1, "a", 1).request("r").at(2, 3).ok(0, 5);
        history.put(1, "a", 2).request("s").at(4, 5).ok(0, 6);
        let merged = merge_resent(&history.operations());
        assert_eq!(merged.len(), 2);
        assert_eq!((merged[0].invoked, merged[0].returned), (0, Some(3)));
        assert_eq!(merged[0].seen().map(|seen| seen.revision), Some(5));
    }

    #[test]
    fn a_failed_retry_does_not_close_an_unknown_write() {
        let mut history = History::new();
        history.put(1, "a", 1).request("r").at(0, 1).unknown();
        history.put(1, "a", 1).request("r").at(2, 3).failed();
        let merged = merge_resent(&history.operations());
        assert!(merged[0].is_open_write());
    }
}
