//! Calls made beside a replica, and what it holds at the end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use spine_consensus::group::{GroupError, RaftGroup};
use spine_proto::storage::v1 as pb;
use spine_statemachine::store::OrderedRead;
use spine_statemachine::{Applied, SubOutcome, frame, key};
use tokio::time::{sleep, timeout};

use super::node::Slot;
use crate::checkers::durability::Replica;
use crate::history::{Action, ClientId, Outcome, Recorder, Seen, Value};
use crate::oracle::Oracle;
use crate::workload::seeded;

const REGISTERS: u32 = 4;
const DEADLINE: Duration = Duration::from_secs(3);
const THINK_MS: u64 = 40;
const VALUE_LEN: usize = 400;

pub(super) struct Caller {
    id: ClientId,
    random: ChaCha8Rng,
    group: Arc<RaftGroup>,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    /// Counts this caller while a call is under way.
    calls: Rc<Cell<u32>>,
    known: std::collections::BTreeMap<String, (Option<Value>, u64)>,
}

impl Caller {
    pub(super) fn new(
        seed: u64,
        group: Arc<RaftGroup>,
        recorder: Recorder,
        stop: Arc<AtomicBool>,
        calls: Rc<Cell<u32>>,
    ) -> Self {
        let id = recorder.next_client();
        let random = seeded(seed, "group caller");
        Self {
            id,
            random,
            group,
            recorder,
            stop,
            calls,
            known: std::collections::BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.calls.set(self.calls.get() + 1);
            self.step().await;
            self.calls.set(self.calls.get() - 1);
            sleep(Duration::from_millis(self.random.random_range(1..THINK_MS))).await;
        }
    }

    async fn step(&mut self) {
        let name = format!("reg-{}", self.random.random_range(0..REGISTERS));
        let (expected, revision) = self.known.get(&name).copied().unwrap_or_default();
        let value = self.recorder.next_value();
        let action = match self.random.random_range(0..10) {
            0..4 => Action::Read,
            4..7 => Action::Put { value },
            7 => Action::Delete,
            _ => Action::Cas { expected, value },
        };
        let started = self.recorder.start(self.id, &name, action.clone(), None);
        let answer = match &action {
            Action::Read => timeout(DEADLINE, read(&self.group, &name)).await,
            change => timeout(DEADLINE, write(&self.group, &name, change, revision)).await,
        };
        let outcome = answer.unwrap_or_else(|_| Outcome::Unknown {
            reason: "DEADLINE".to_owned(),
        });
        match &outcome {
            Outcome::Ok(seen) => {
                let revision = if seen.value.is_some() { seen.revision } else { 0 };
                self.known.insert(name, (seen.value, revision));
            }
            Outcome::Unknown { .. } => self.id = self.recorder.next_client(),
            Outcome::Rejected { .. } | Outcome::Failed { .. } => {
                self.known.remove(&name);
            }
        }
        started.finish(outcome);
    }
}

fn failed(error: &GroupError) -> Outcome {
    let reason = error.to_string();
    match error {
        GroupError::NotLeader { .. } | GroupError::NoQuorum => Outcome::Failed { reason },
        GroupError::Unknown | GroupError::Stopped(_) => Outcome::Unknown { reason },
    }
}

async fn read(group: &RaftGroup, name: &str) -> Outcome {
    if let Err(error) = group.barrier().await {
        return Outcome::Failed {
            reason: error.to_string(),
        };
    }
    match held(group, name) {
        Ok((found, index)) => {
            let (value, revision) = found.map_or((None, 0), |(value, revision)| (Some(value), revision));
            Outcome::Ok(Seen {
                value,
                revision,
                shard: 0,
                index,
                replayed: false,
            })
        }
        Err(reason) => Outcome::Failed { reason },
    }
}

/// A register's content, and the index it is exact at.
type Held = (Option<(Value, u64)>, u64);

fn held(group: &RaftGroup, name: &str) -> Result<Held, String> {
    let read = group.store().read(|view| {
        let record = view
            .get(&key::meta(name.as_bytes()))
            .map_err(|error| error.to_string())?;
        let index = view.applied().map_or(0, |id| id.index);
        let Some(record) = record else {
            return Ok((None, index));
        };
        let value = frame::decode(&record.value).map_err(|error| error.to_string())?;
        Ok((Some((Value::decode(&value), record.revision)), index))
    });
    read.map_err(|error| error.to_string())?
}

async fn write(group: &RaftGroup, name: &str, action: &Action, revision: u64) -> Outcome {
    let key = key::meta(name.as_bytes());
    let mut sub = pb::SubTxn::default();
    if matches!(action, Action::Cas { .. }) {
        let key = key.clone();
        let kind = match revision {
            0 => pb::guard::Kind::Absent(pb::Absent { key }),
            revision => pb::guard::Kind::RevisionIs(pb::RevisionIs { key, revision }),
        };
        sub.guards.push(pb::Guard { kind: Some(kind) });
    }
    let kind = match action.written() {
        Some(value) => {
            let value = frame::encode(&value.encode(VALUE_LEN));
            pb::mutation::Kind::Put(pb::Put {
                key,
                value,
                schema: 1,
            })
        }
        None => pb::mutation::Kind::Delete(pb::Delete { key }),
    };
    sub.mutations.push(pb::Mutation { kind: Some(kind) });
    let txn = pb::Txn {
        subs: vec![sub],
        proposed_at_ms: 1,
    };
    let entry: Bytes = pb::Entry {
        kind: Some(pb::entry::Kind::Txn(txn)),
    }
    .encode_to_vec()
    .into();
    match group.propose(entry).await {
        Ok(proposed) => applied(action, proposed.index, &proposed.applied),
        Err(error) => failed(&error),
    }
}

fn applied(action: &Action, index: u64, applied: &Applied) -> Outcome {
    let Applied::Txn(outcomes) = applied else {
        return Outcome::Unknown {
            reason: "another kind of entry".to_owned(),
        };
    };
    match outcomes.first() {
        Some(SubOutcome::Committed { revision }) => Outcome::Ok(Seen {
            value: action.written(),
            revision: *revision,
            shard: 0,
            index,
            replayed: false,
        }),
        Some(SubOutcome::GuardFailed { .. }) => Outcome::Rejected {
            reason: "GUARD_FAILED".to_owned(),
        },
        other => Outcome::Failed {
            reason: format!("{other:?}"),
        },
    }
}

/// What a replica holds of all registers.
pub(super) fn replica(node: usize, slot: &Rc<RefCell<Slot>>, oracle: &Oracle) -> Replica {
    let mut replica = Replica {
        name: format!("n{}", node + 1),
        ..Replica::default()
    };
    let Some(group) = slot.borrow().group.upgrade() else {
        return replica;
    };
    for (name, _) in oracle.keys() {
        if let Ok((Some(held), _)) = held(&group, name) {
            replica.records.insert(name.to_owned(), held);
        }
    }
    replica
}
