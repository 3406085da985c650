//! What an application of the store relies on, tried through the client library while things go wrong: transfers
//! between practices conserve counts, an NHS Number is registered once, a new person gets one number, a patient's history
//! has no gap.

mod gapless;
mod newcomers;
mod transfer;
mod unique;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use spine_client::SpineClient;
use spine_client::population::Population;
use tokio::task::JoinHandle;

use crate::checkers::{Rule, Violation};

/// Pause between two calls of one task: these workloads check, the registers load.
const THINK: Duration = Duration::from_millis(15);
/// Between two tries to read what is left at the end.
const AGAIN: Duration = Duration::from_millis(100);
const TRIES_AT_THE_END: u32 = 50;

/// The workloads while they run.
pub struct Domain {
    shared: Shared,
    tasks: Vec<JoinHandle<()>>,
    unique: unique::Unique,
    newcomers: newcomers::Newcomers,
    gapless: gapless::Gapless,
    transfer: transfer::Transfer,
}

/// What all tasks of a run share.
#[derive(Clone)]
pub(crate) struct Shared {
    client: SpineClient,
    stop: Arc<AtomicBool>,
    violations: Arc<Mutex<Vec<Violation>>>,
    /// Keeps the keys and request ids of several runs against one cluster apart.
    run: u32,
    population: Arc<Population>,
}

impl Domain {
    /// Starts all tasks.
    #[must_use]
    pub fn start(client: &SpineClient, seed: u64, run: u32) -> Self {
        let shared = Shared {
            client: client.clone(),
            stop: Arc::default(),
            violations: Arc::default(),
            run,
            population: Arc::new(Population::new(seed)),
        };
        let mut tasks = Vec::new();
        let transfer = transfer::Transfer::start(&shared, seed, &mut tasks);
        let unique = unique::Unique::start(&shared, seed, &mut tasks);
        let newcomers = newcomers::Newcomers::start(&shared, &mut tasks);
        let gapless = gapless::Gapless::start(&shared, &mut tasks);
        Self {
            shared,
            tasks,
            unique,
            newcomers,
            gapless,
            transfer,
        }
    }

    /// Ends the tasks and looks at what is left. The cluster must serve.
    pub async fn stop(self) -> DomainReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            if task.await.is_err() {
                self.shared.found("", "a task of a domain workload panicked");
            }
        }
        let report = DomainReport {
            transfers: self.transfer.finish(&self.shared).await,
            claims: self.unique.finish(&self.shared).await,
            newcomers: self.newcomers.finish(&self.shared).await,
            updates: self.gapless.finish(&self.shared).await,
            violations: Vec::new(),
        };
        DomainReport {
            violations: std::mem::take(&mut *self.shared.violations.lock()),
            ..report
        }
    }
}

/// What the workloads did and found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct DomainReport {
    /// Acknowledged transfers of a registration.
    pub transfers: u64,
    /// Tries to register a number.
    pub claims: u64,
    /// New persons that have a number.
    pub newcomers: u64,
    /// Acknowledged updates of patients.
    pub updates: u64,
    pub violations: Vec<Violation>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn found(&self, what: &str, message: impl Into<String>) {
        let violation = Violation::new(Rule::Domain, what, &[], message.into());
        self.violations.lock().push(violation);
    }

    /// Asks until there is an answer. The faults are over by now.
    async fn at_the_end<T, F>(&self, what: &str, ask: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = spine_client::Result<T>>,
    {
        let mut last = String::new();
        for _ in 0..TRIES_AT_THE_END {
            match ask().await {
                Ok(answer) => return Some(answer),
                Err(error) if error.is_not_found() => return None,
                Err(error) => last = error.reason,
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.found(what, format!("cannot be read after the faults: {last}"));
        None
    }
}

/// The least that is a patient; `mark` stands where a family name does.
fn patient(nhs_number: &str, mark: &str) -> String {
    json!({
        "resourceType": "Patient",
        "id": nhs_number,
        "name": [{ "use": "usual", "family": mark }],
        "gender": "unknown",
        "birthDate": "1980-05-17",
    })
    .to_string()
}

/// The mark of a stored patient.
fn mark_of(fhir_json: &[u8]) -> String {
    let patient: serde_json::Value = serde_json::from_slice(fhir_json).unwrap_or_default();
    patient["name"][0]["family"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back() {
        assert_eq!(mark_of(patient("9990000018", "Mark-7").as_bytes()), "Mark-7");
        assert_eq!(mark_of(b"nothing"), "");
    }
}
