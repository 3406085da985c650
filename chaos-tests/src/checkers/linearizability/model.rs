//! The register: one value or none.

use std::collections::BTreeSet;

use crate::history::{Action, Operation, Outcome, Value};

/// The register's content.
pub(super) type State = Option<Value>;

/// One operation as the search sees it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: u64,
    pub(super) invoked: u64,
    /// None = open for ever; it may take effect at any time or never.
    pub(super) returned: Option<u64>,
    effect: Effect,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    /// Saw this content.
    Saw(State),
    /// Saw any content but this.
    SawOtherThan(State),
    Write(State),
    WriteIf {
        expected: State,
        value: Value,
    },
}

impl Call {
    /// The content after this call, if it could happen in `state`.
    pub(super) fn step(&self, state: State) -> Option<State> {
        match self.effect {
            Effect::Saw(seen) => (seen == state).then_some(state),
            Effect::SawOtherThan(expected) => (expected != state).then_some(state),
            Effect::Write(value) => Some(value),
            Effect::WriteIf { expected, value } => (expected == state).then_some(Some(value)),
        }
    }
}

/// What can be seen of each operation; those that tell nothing are left out.
pub(super) fn calls(operations: &[&Operation]) -> Vec<Call> {
    let matters = Observed::of(operations);
    let mut calls: Vec<Call> = operations
        .iter()
        .filter_map(|operation| call(operation, &matters))
        .collect();
    calls.sort_by_key(|call| call.invoked);
    calls
}

fn call(operation: &Operation, matters: &Observed) -> Option<Call> {
    let effect = match (&operation.outcome, &operation.action) {
        (Outcome::Ok(seen), Action::Read) => Effect::Saw(seen.value),
        (Outcome::Ok(_) | Outcome::Unknown { .. }, Action::Put { value }) => Effect::Write(Some(*value)),
        (Outcome::Ok(_) | Outcome::Unknown { .. }, Action::Delete) => Effect::Write(None),
        (Outcome::Ok(_) | Outcome::Unknown { .. }, Action::Cas { expected, value }) => Effect::WriteIf {
            expected: *expected,
            value: *value,
        },
        (Outcome::Rejected { .. }, Action::Cas { expected, .. }) => Effect::SawOtherThan(*expected),
        (Outcome::Unknown { .. }, Action::Read) | (Outcome::Rejected { .. } | Outcome::Failed { .. }, _) => {
            return None;
        }
    };
    if operation.is_open_write() && !matters.includes(operation) {
        return None;
    }
    Some(Call {
        operation: operation.id,
        invoked: operation.invoked,
        returned: operation.returned.filter(|_| !operation.is_open_write()),
        effect,
    })
}

/// Which contents anyone saw. An open write nobody saw and nobody's "no" can rest on never needs to happen;
/// leaving it out keeps the search small and its answer the same.
struct Observed {
    values: BTreeSet<Value>,
    absence: bool,
    refusals: bool,
}

impl Observed {
    fn of(operations: &[&Operation]) -> Self {
        let mut observed = Self {
            values: BTreeSet::new(),
            absence: false,
            refusals: false,
        };
        for operation in operations {
            match (&operation.outcome, &operation.action) {
                (Outcome::Ok(seen), Action::Read) => observed.add(seen.value),
                // An open change may be what makes another's value needed.
                (Outcome::Ok(_) | Outcome::Unknown { .. }, Action::Cas { expected, .. }) => {
                    observed.add(*expected);
                }
                (Outcome::Rejected { .. }, _) => observed.refusals = true,
                _ => {}
            }
        }
        observed
    }

    fn add(&mut self, seen: State) {
        match seen {
            Some(value) => {
                self.values.insert(value);
            }
            None => self.absence = true,
        }
    }

    fn includes(&self, operation: &Operation) -> bool {
        self.refusals
            || match operation.action.written() {
                Some(value) => self.values.contains(&value),
                None => self.absence,
            }
    }
}
