use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Call, Caller, Client, Mix, Pace, Registers};
use crate::checkers::digest::Digests;
use crate::checkers::linearizability::Limits;
use crate::checkers::{Rule, check};
use crate::history::{Action, Outcome, Recorder, Seen, Value};

/// A store in memory, correct unless told otherwise.
#[derive(Default)]
struct Model {
    inner: Mutex<Inner>,
    forget_requests: bool,
    stale_every: u64,
}

#[derive(Default)]
struct Inner {
    index: u64,
    reads: u64,
    records: BTreeMap<String, (Value, u64)>,
    older: BTreeMap<String, (Value, u64)>,
    requests: BTreeMap<String, Seen>,
}

#[async_trait]
impl Caller for Model {
    async fn call(&self, call: Call<'_>) -> Outcome {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut inner = self.inner.lock();
        let name = call.register.name();
        let held = inner.records.get(&name).copied();
        if call.action.is_read() {
            inner.reads += 1;
            let stale = self.stale_every > 0 && inner.reads.is_multiple_of(self.stale_every);
            let held = if stale {
                inner.older.get(&name).copied().or(held)
            } else {
                held
            };
            let (value, revision) = held.map_or((None, 0), |(value, revision)| (Some(value), revision));
            let index = inner.index;
            return Outcome::Ok(Seen {
                value,
                revision,
                shard: 1,
                index,
                replayed: false,
            });
        }
        if let Some(seen) = inner
            .requests
            .get(call.request_id)
            .filter(|_| !self.forget_requests)
        {
            return Outcome::Ok(Seen {
                replayed: true,
                ..*seen
            });
        }
        if let Action::Cas { .. } = call.action
            && held.map_or(0, |(_, revision)| revision) != call.expected_revision
        {
            return Outcome::Rejected {
                reason: "REVISION_MISMATCH".to_owned(),
            };
        }
        inner.index += 1;
        let revision = inner.index;
        let value = call.action.written();
        if let Some(held) = held {
            inner.older.insert(name.clone(), held);
        }
        match value {
            Some(value) => inner.records.insert(name, (value, revision)),
            None => inner.records.remove(&name),
        };
        let seen = Seen {
            value,
            revision,
            shard: 1,
            index: revision,
            replayed: false,
        };
        inner.requests.insert(call.request_id.to_owned(), seen);
        Outcome::Ok(seen)
    }
}

fn rules(model: Model) -> Vec<Rule> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let recorder = Recorder::new(Arc::new(|| 0));
    let caller: Arc<dyn Caller> = Arc::new(model);
    let stop = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..6 {
            let client = Client::new(
                7,
                recorder.clone(),
                caller.clone(),
                Mix::default(),
                Registers { count: 5, run: 0 },
            );
            let pace = Pace {
                think: Duration::from_millis(2),
                stop: stop.clone(),
                value_len: 32,
            };
            clients.push(tokio::spawn(client.run(pace)));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
    });
    let operations = recorder.operations();
    assert!(operations.len() > 1_000, "{}", operations.len());
    let report = check(&operations, None, &Digests::default(), Limits::default());
    let mut rules: Vec<Rule> = report.violations.iter().map(|violation| violation.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn a_correct_store_passes_all_checkers() {
    assert_eq!(rules(Model::default()), []);
}

#[test]
fn a_store_that_sometimes_reads_stale_is_caught() {
    let found = rules(Model {
        stale_every: 50,
        ..Model::default()
    });
    assert!(
        found.contains(&Rule::StaleRead) && found.contains(&Rule::NotLinearizable),
        "{found:?}"
    );
}

#[test]
fn a_store_that_forgets_request_ids_is_caught() {
    let found = rules(Model {
        forget_requests: true,
        ..Model::default()
    });
    assert!(
        found.contains(&Rule::AppliedTwice) || found.contains(&Rule::ReplayDiffers),
        "{found:?}"
    );
}
