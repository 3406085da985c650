//! Writes a history while a run goes on, from many tasks or threads.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Action, Operation, Outcome, Value};

/// One client, that is one sequence of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

/// Nanoseconds since the run began. The simulator gives virtual time.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Shared by all clients of a run; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

/// Sees every event of a history as it happens, in order.
pub trait Observer: Send {
    /// A call is about to be made.
    fn started(&mut self, operation: &Operation);
    /// Its outcome is known, or known to be unknown.
    fn finished(&mut self, operation: &Operation);
}

#[derive(Default)]
struct Inner {
    event: u64,
    next_value: u64,
    next_client: u64,
    answered: usize,
    operations: Vec<Operation>,
    observer: Option<Box<dyn Observer>>,
}

/// A call that was made and has no answer yet.
#[must_use = "a call that is never finished stays unknown for ever"]
pub struct Started {
    recorder: Recorder,
    id: u64,
}

impl Recorder {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            inner: Arc::default(),
            clock,
        }
    }

    /// A recorder on the machine's monotonic clock.
    #[must_use]
    pub fn on_real_time() -> Self {
        let began = std::time::Instant::now();
        Self::new(Arc::new(move || {
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }))
    }

    /// Shows all events from now on.
    pub fn show_to(&self, observer: Box<dyn Observer>) {
        self.inner.lock().observer = Some(observer);
    }

    /// A value no other call of this run writes.
    #[must_use]
    pub fn next_value(&self) -> Value {
        let mut inner = self.inner.lock();
        inner.next_value += 1;
        Value(inner.next_value)
    }

    #[must_use]
    pub fn next_client(&self) -> ClientId {
        let mut inner = self.inner.lock();
        inner.next_client += 1;
        ClientId(inner.next_client)
    }

    /// Notes that a call is about to be made. Until [`Started::finish`] its outcome is unknown.
    pub fn start(&self, client: ClientId, key: &str, action: Action, request_id: Option<String>) -> Started {
        let now = (self.clock)();
        let mut inner = self.inner.lock();
        inner.event += 1;
        let id = inner.operations.len() as u64;
        let operation = Operation {
            id,
            client,
            key: key.to_owned(),
            action,
            request_id,
            invoked: inner.event,
            returned: None,
            invoked_ns: now,
            returned_ns: None,
            outcome: Outcome::Unknown {
                reason: "no answer before the run ended".to_owned(),
            },
        };
        if let Some(observer) = &mut inner.observer {
            observer.started(&operation);
        }
        inner.operations.push(operation);
        Started {
            recorder: self.clone(),
            id,
        }
    }

    /// Everything so far, in order of invocation.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.inner.lock().operations.clone()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().operations.len()
    }

    /// How many calls succeeded so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.inner.lock().answered
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Started {
    /// Notes the answer. An unknown outcome keeps the call open.
    pub fn finish(self, outcome: Outcome) {
        let now = (self.recorder.clock)();
        let mut inner = self.recorder.inner.lock();
        inner.event += 1;
        let event = inner.event;
        inner.answered += usize::from(matches!(outcome, Outcome::Ok(_)));
        let Inner {
            operations, observer, ..
        } = &mut *inner;
        let slot = usize::try_from(self.id)
            .ok()
            .and_then(|id| operations.get_mut(id));
        if let Some(operation) = slot {
            if !matches!(outcome, Outcome::Unknown { .. }) {
                operation.returned = Some(event);
            }
            operation.returned_ns = Some(now);
            operation.outcome = outcome;
            if let Some(observer) = observer {
                observer.finished(operation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Seen;

    #[test]
    fn events_are_totally_ordered_and_unknown_stays_open() {
        let recorder = Recorder::new(Arc::new(|| 7));
        let client = recorder.next_client();
        let value = recorder.next_value();
        let first = recorder.start(client, "a", Action::Put { value }, Some("r1".to_owned()));
        let second = recorder.start(recorder.next_client(), "a", Action::Read, None);
        second.finish(Outcome::Ok(Seen {
            value: None,
            revision: 0,
            shard: 1,
            index: 3,
            replayed: false,
        }));
        first.finish(Outcome::Unknown {
            reason: "deadline".to_owned(),
        });
        let _never = recorder.start(client, "a", Action::Delete, None);
        let operations = recorder.operations();
        assert_eq!(operations[0].invoked, 1);
        assert_eq!(operations[0].returned, None);
        assert_eq!((operations[1].invoked, operations[1].returned), (2, Some(3)));
        assert!(operations[2].is_open_write());
        assert_ne!(recorder.next_value(), value);
    }
}
