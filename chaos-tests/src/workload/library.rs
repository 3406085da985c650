//! Calls through the client library, as an application makes them.

use async_trait::async_trait;
use spine_client::{Commit, Committed, Error, Key, Records, SpineClient};

use super::{Call, Caller, Register};
use crate::history::{Action, Outcome, Seen, Value};

/// The call was answered, with a "no"; what became of a try before it is unknown.
pub const REFUSED_AFTER_SILENCE: &str = "REFUSED_AFTER_SILENCE";

/// One client of a cluster. The library chooses nodes and retries with the same request id.
#[derive(Clone)]
pub struct LibraryCaller {
    records: Records,
}

impl LibraryCaller {
    #[must_use]
    pub fn new(client: &SpineClient) -> Self {
        Self {
            records: client.records(),
        }
    }

    async fn read(&self, key: &Key) -> Outcome {
        match self.records.get(key).await {
            Ok(found) => {
                let value = found.record.as_ref().map(|record| Value::decode(&record.value));
                let revision = found.record.map_or(0, |record| record.revision);
                let (shard, index) = (found.position.shard, found.position.index);
                Outcome::Ok(Seen {
                    value,
                    revision,
                    shard,
                    index,
                    replayed: false,
                })
            }
            // A read that failed changed nothing, whatever the reason.
            Err(error) => Outcome::Failed { reason: error.reason },
        }
    }
}

#[async_trait]
impl Caller for LibraryCaller {
    async fn call(&self, call: Call<'_>) -> Outcome {
        let key = key(call.register);
        let commit = Commit::new(&call.register.routing).request_id(call.request_id);
        let commit = match call.action {
            Action::Read => return self.read(&key).await,
            Action::Put { value } => commit.put(key.suffix, value.encode(call.value_len)),
            Action::Delete => commit.delete(key.suffix),
            Action::Cas { value, .. } => {
                let guarded = match call.expected_revision {
                    0 => commit.if_absent(key.suffix.clone()),
                    revision => commit.if_revision(key.suffix.clone(), revision),
                };
                guarded.put(key.suffix, value.encode(call.value_len))
            }
        };
        changed(call.action, self.records.commit(commit).await)
    }
}

/// The key of a register.
#[must_use]
pub fn key(register: &Register) -> Key {
    Key::new(&register.routing, register.suffix.clone().into_bytes())
}

fn changed(action: &Action, answer: Result<Committed, Error>) -> Outcome {
    match answer {
        Ok(committed) => Outcome::Ok(Seen {
            value: action.written(),
            revision: committed.revision,
            shard: committed.position.shard,
            index: committed.position.index,
            replayed: committed.replayed,
        }),
        // A refusal after an unanswered try says nothing of that try, which may still take effect.
        Err(error) if !error.is_definite() && error.is_conflict() => Outcome::Unknown {
            reason: REFUSED_AFTER_SILENCE.to_owned(),
        },
        Err(error) if !error.is_definite() => Outcome::Unknown { reason: error.reason },
        // Given up because others kept changing the record; that says nothing of the guard.
        Err(error) if error.reason == "CONTENDED" => Outcome::Failed { reason: error.reason },
        Err(error) if error.is_conflict() => Outcome::Rejected { reason: error.reason },
        Err(error) => Outcome::Failed { reason: error.reason },
    }
}
