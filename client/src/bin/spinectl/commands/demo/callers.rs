//! Callers who write and read while a node dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use spine_client::{Error, Key, SpineClient};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::exit::Failure;

/// Between two calls of one caller: enough load to catch every moment, little enough to read every
/// write back afterwards.
const PACE: Duration = Duration::from_millis(5);
/// Routing keys of one caller, so that all shards are written to.
const ROUTING_KEYS: u64 = 16;
/// Errors kept as text.
const ERRORS_KEPT: usize = 10;

/// One acknowledged write.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) value: Bytes,
    pub(super) revision: u64,
}

/// What one or all callers saw.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) writes: Vec<Write>,
    pub(super) reads: u64,
    /// Reads that did not give the acknowledged value.
    pub(super) stale_reads: u64,
    pub(super) failed: u64,
    /// The longest time between asking and being answered.
    pub(super) longest: Duration,
    pub(super) errors: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.reads += other.reads;
        self.stale_reads += other.stale_reads;
        self.failed += other.failed;
        self.longest = self.longest.max(other.longest);
        self.errors.extend(other.errors);
        self.errors.truncate(ERRORS_KEPT);
    }

    fn fail(&mut self, error: &Error) {
        self.failed += 1;
        if self.errors.len() < ERRORS_KEPT {
            self.errors
                .push(format!("{error} (after {} tries)", error.attempts));
        }
    }
}

/// Running callers. Dropping it ends them.
pub(super) struct Load {
    callers: JoinSet<Tally>,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
}

impl Load {
    pub(super) fn start(client: &SpineClient, callers: usize) -> Self {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut set = JoinSet::new();
        for number in 0..callers {
            let (client, stop, writes) = (client.clone(), Arc::clone(&stop), Arc::clone(&writes));
            set.spawn(async move { call(&client, number, &stop, &writes).await });
        }
        Self {
            callers: set,
            stop,
            writes,
        }
    }

    /// Acknowledged so far.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Lets the calls under way end.
    pub(super) async fn stop(mut self) -> Result<Tally, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(tally) = self.callers.join_next().await {
            all.add(tally.map_err(|error| Failure::generic(error.to_string()))?);
        }
        Ok(all)
    }
}

/// Writes a new record, then reads an older one, in turns.
async fn call(client: &SpineClient, number: usize, stop: &AtomicBool, writes: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut turn = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let key = Key::new(
            format!("demo{number:03}-{:02}", turn % ROUTING_KEYS),
            turn.to_be_bytes().to_vec(),
        );
        let value = Bytes::from(format!("written by caller {number} in turn {turn}"));
        let begun = Instant::now();
        match client.records().put(&key, value.clone()).await {
            Ok(done) => {
                tally.writes.push(Write {
                    key,
                    value,
                    revision: done.revision,
                });
                writes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tally.fail(&error),
        }
        tally.longest = tally.longest.max(begun.elapsed());
        read(client, &mut tally, turn).await;
        turn += 1;
        sleep(PACE).await;
    }
    tally
}

/// Reads the newest and older writes in turns.
async fn read(client: &SpineClient, tally: &mut Tally, turn: u64) {
    let back = usize::try_from(turn % 7)
        .unwrap_or(0)
        .min(tally.writes.len().saturating_sub(1));
    let Some(expected) = tally.writes.iter().nth_back(back).cloned() else {
        return;
    };
    let begun = Instant::now();
    match client.records().get(&expected.key).await {
        Ok(found) => {
            tally.reads += 1;
            let same = found
                .record
                .is_some_and(|r| r.value == expected.value && r.revision == expected.revision);
            tally.stale_reads += u64::from(!same);
        }
        Err(error) => tally.fail(&error),
    }
    tally.longest = tally.longest.max(begun.elapsed());
}
