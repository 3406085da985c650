//! Readers of the known records while a damaged node starts again: a caller of the cluster, and somebody who
//! asks the node's own replicas.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use spine_client::{Admin, SpineClient};
use tokio::task::JoinSet;

use super::{RECORDS, key, value};

/// Between two reads of one reader: the node is to have the machine for its start.
const PAUSE: Duration = Duration::from_millis(2);

/// What readers saw.
#[derive(Default)]
struct Seen {
    by_callers: AtomicU64,
    on_node: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    first_failure: OnceLock<String>,
    stop: AtomicBool,
}

/// What readers saw in the end.
pub(super) struct Reads {
    /// Linearizable ones that were answered.
    pub(super) by_callers: u64,
    /// Those that a replica of the node answered with a value.
    pub(super) on_node: u64,
    /// Any other value than the one known; from a caller's side also none.
    pub(super) wrong: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

/// See the module.
pub(super) struct Readers {
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

impl Readers {
    pub(super) fn start(client: &SpineClient, node: Admin) -> Self {
        let seen = Arc::<Seen>::default();
        let mut tasks = JoinSet::new();
        let (client, mine) = (client.clone(), Arc::clone(&seen));
        tasks.spawn(async move {
            for number in mine.numbers() {
                mine.ask_cluster(&client, number).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        let mine = Arc::clone(&seen);
        tasks.spawn(async move {
            for number in mine.numbers() {
                mine.ask_node(&node, number).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, tasks }
    }

    pub(super) async fn stop(mut self) -> Reads {
        self.seen.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.seen.fail(error.to_string());
            }
        }
        let count = |seen: &AtomicU64| seen.load(Ordering::Relaxed);
        Reads {
            by_callers: count(&self.seen.by_callers),
            on_node: count(&self.seen.on_node),
            wrong: count(&self.seen.wrong),
            failed: count(&self.seen.failed),
            first_failure: self.seen.first_failure.get().cloned(),
        }
    }
}

impl Seen {
    fn fail(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.first_failure.get_or_init(|| why);
    }

    /// All records, again and again.
    fn numbers(&self) -> impl Iterator<Item = usize> {
        let numbers = (0..RECORDS).cycle();
        numbers.take_while(|_| !self.stop.load(Ordering::Relaxed))
    }

    async fn ask_cluster(&self, client: &SpineClient, number: usize) {
        let found = match client.records().get(&key(number)).await {
            Ok(found) => found,
            Err(error) => return self.fail(error.to_string()),
        };
        let right = found
            .record
            .is_some_and(|record| record.value[..] == value(number)[..]);
        self.by_callers.fetch_add(1, Ordering::Relaxed);
        self.wrong.fetch_add(u64::from(!right), Ordering::Relaxed);
    }

    /// A node that does not answer yet, or whose replica is being built anew, shows nothing, and nothing
    /// wrong.
    async fn ask_node(&self, node: &Admin, number: usize) {
        if let Ok(held) = node.read_replica(&key(number)).await
            && let Some((_, found)) = held.found
        {
            self.on_node.fetch_add(1, Ordering::Relaxed);
            let wrong = found[..] != value(number)[..];
            self.wrong.fetch_add(u64::from(wrong), Ordering::Relaxed);
        }
    }
}
