//! Callers with keys of their own who write and read what they wrote, while somebody does something to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spine_client::{Key, SpineClient};
use tokio::task::JoinSet;

const CALLERS: usize = 8;

/// See the module.
pub(super) struct Callers {
    tasks: JoinSet<Option<String>>,
    calls: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Callers {
    pub(super) fn start(client: &SpineClient) -> Self {
        let mut callers = Self {
            tasks: JoinSet::new(),
            calls: Arc::default(),
            stop: Arc::default(),
        };
        for number in 0..CALLERS {
            let (client, calls, stop) = (
                client.clone(),
                Arc::clone(&callers.calls),
                Arc::clone(&callers.stop),
            );
            callers.tasks.spawn(async move {
                let key = Key::new(format!("caller-{number}"), "");
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = write_and_read(&client, &key).await {
                        return Some(error);
                    }
                    calls.fetch_add(2, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                None
            });
        }
        callers
    }

    /// Calls, callers that failed, and why the first of them did.
    pub(super) async fn stop(mut self) -> (u64, u64, Option<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            failed.extend(ended.unwrap_or_else(|error| Some(error.to_string())));
        }
        let count = u64::try_from(failed.len()).unwrap_or(u64::MAX);
        (
            self.calls.load(Ordering::Relaxed),
            count,
            failed.into_iter().next(),
        )
    }
}

async fn write_and_read(client: &SpineClient, key: &Key) -> Result<(), String> {
    let written = client.records().put(key, "here").await;
    let revision = written.map_err(|error| error.to_string())?.revision;
    let found = client
        .records()
        .get(key)
        .await
        .map_err(|error| error.to_string())?;
    match found.record {
        Some(record) if record.revision >= revision => Ok(()),
        _ => Err("a write that was acknowledged is not there".to_owned()),
    }
}
