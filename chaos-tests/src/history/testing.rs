//! Hand-made histories for the checkers' own tests.

use super::{Action, ClientId, Operation, Outcome, Seen, Value};

pub(crate) struct History {
    operations: Vec<Operation>,
}

/// One operation being described.
pub(crate) struct Draft<'a> {
    history: &'a mut History,
    operation: Operation,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            operations: Vec::new(),
        }
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.clone()
    }

    pub(crate) fn put(&mut self, client: u64, key: &str, value: u64) -> Draft<'_> {
        self.draft(client, key, Action::Put { value: Value(value) })
    }

    pub(crate) fn cas(&mut self, client: u64, key: &str, expected: Option<u64>, value: u64) -> Draft<'_> {
        let action = Action::Cas {
            expected: expected.map(Value),
            value: Value(value),
        };
        self.draft(client, key, action)
    }

    pub(crate) fn delete(&mut self, client: u64, key: &str) -> Draft<'_> {
        self.draft(client, key, Action::Delete)
    }

    pub(crate) fn read(&mut self, client: u64, key: &str) -> Draft<'_> {
        self.draft(client, key, Action::Read)
    }

    fn draft(&mut self, client: u64, key: &str, action: Action) -> Draft<'_> {
        let operation = Operation {
            id: self.operations.len() as u64,
            client: ClientId(client),
            key: key.to_owned(),
            action,
            request_id: None,
            invoked: 0,
            returned: None,
            invoked_ns: 0,
            returned_ns: None,
            outcome: Outcome::Unknown {
                reason: String::new(),
            },
        };
        Draft {
            history: self,
            operation,
        }
    }
}

impl Draft<'_> {
    pub(crate) fn at(mut self, invoked: u64, returned: u64) -> Self {
        self.operation.invoked = invoked;
        self.operation.returned = Some(returned);
        self
    }

    pub(crate) fn request(mut self, id: &str) -> Self {
        self.operation.request_id = Some(id.to_owned());
        self
    }

    /// A write acknowledged at this revision.
    pub(crate) fn ok(self, shard: u32, revision: u64) {
        let value = self.operation.action.written();
        self.finish(Outcome::Ok(Seen {
            value,
            revision,
            shard,
            index: revision,
            replayed: false,
        }));
    }

    /// A read's answer.
    pub(crate) fn sees(self, value: Option<u64>, shard: u32, revision: u64, index: u64) {
        let value = value.map(Value);
        self.finish(Outcome::Ok(Seen {
            value,
            revision,
            shard,
            index,
            replayed: false,
        }));
    }

    pub(crate) fn rejected(self) {
        self.finish(Outcome::Rejected {
            reason: "REVISION_MISMATCH".to_owned(),
        });
    }

    pub(crate) fn failed(self) {
        self.finish(Outcome::Failed {
            reason: "UNAVAILABLE".to_owned(),
        });
    }

    pub(crate) fn unknown(mut self) {
        self.operation.returned = None;
        self.finish(Outcome::Unknown {
            reason: "DEADLINE".to_owned(),
        });
    }

    fn finish(mut self, outcome: Outcome) {
        self.operation.outcome = outcome;
        self.history.operations.push(self.operation);
    }
}
