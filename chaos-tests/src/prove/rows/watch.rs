//! A watch of every shard, while nodes are killed and come back.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use spine_client::{Advice, Key, SpineClient, WatchEvent, WatchFrom};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::{Checked, SHARDS, block_on, cluster};
use crate::checkers::watch::{Shown, check};
use crate::history::Value;
use crate::processes::{Calls, Cluster, Run, RunOptions, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::Register;

pub(super) const ROW: Row = Row {
    id: "watch",
    issue: 2,
    claim: "a watch shows every acknowledged change once and in order, while nodes are killed and come back",
    target: "30 rounds, a watch for each shard, 0 violations",
    run,
};

const ROUNDS: u32 = 30;
const ROUNDS_QUICK: u32 = 4;
/// Calls before each kill, and while the node is away.
const CALLS: usize = 150;
const SETTLE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(5);
/// Registers of the row itself begin so; the history knows nothing of them.
const MARK: &str = "mark-";
/// Names tried until every shard has one.
const MARKS_MAX: u32 = 1_000;

#[derive(Serialize)]
struct Measured {
    rounds: u32,
    entries_shown: usize,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rounds, shown) = (self.rounds, self.entries_shown);
        write!(
            f,
            "{rounds} rounds, {shown} log entries shown by {SHARDS} watches, {}",
            self.checked.text()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.checked.violations.is_empty() && self.checked.acknowledged > 0
    }
}

/// A register in one shard, and a watch of all of that shard behind its first value.
struct Watched {
    mark: Key,
    end: tokio::sync::watch::Sender<u64>,
    watching: JoinHandle<Result<Vec<Shown>, RowError>>,
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let client = cluster.client(DEADLINE)?;
        let watches = watch_every_shard(&client).await?;
        let load = Run::start(&cluster, &RunOptions::default())?;
        for round in 0..rounds {
            let victim = usize::try_from(round).unwrap_or(0) % cluster.nodes();
            load.wait_operations(CALLS).await?;
            cluster.kill(victim)?;
            load.wait_operations(CALLS).await?;
            cluster.restart(victim)?;
            cluster.wait_healthy(SETTLE).await?;
        }
        let operations = load.stop().await;
        let shown = end(&client, watches).await?;
        let report = settle_and_check(&mut cluster, &operations, SETTLE).await?;
        let mut checked = Checked::new(Calls::of(&operations), &report);
        let wrong = check(&operations, &shown);
        checked.violations.extend(wrong.iter().map(ToString::to_string));
        keep_if_wrong(&mut cluster, &checked);
        Finding::of(&Measured {
            rounds,
            entries_shown: shown.iter().map(Vec::len).sum(),
            checked,
        })
    })
}

fn keep_if_wrong(cluster: &mut Cluster, checked: &Checked) {
    if !checked.violations.is_empty() {
        cluster.keep_files();
    }
}

async fn watch_every_shard(client: &SpineClient) -> Result<Vec<Watched>, RowError> {
    let mut watches: Vec<Option<Watched>> = (0..SHARDS).map(|_| None).collect();
    for number in 0..MARKS_MAX {
        let mark = Key::new(format!("{MARK}{number}"), "");
        let begun = client.records().put(&mark, "begin").await?;
        let shard = usize::try_from(begun.position.shard).unwrap_or(0);
        let Some(place @ None) = shard.checked_sub(1).and_then(|at| watches.get_mut(at)) else {
            continue;
        };
        let (end, ends_at) = tokio::sync::watch::channel(u64::MAX);
        let watching = tokio::spawn(watch(client.clone(), mark.clone(), begun.revision + 1, ends_at));
        *place = Some(Watched { mark, end, watching });
        if watches.iter().all(Option::is_some) {
            return Ok(watches.into_iter().flatten().collect());
        }
    }
    Err(RowError::because("a shard has no register"))
}

/// Watches until an index that is known only later.
async fn watch(
    client: SpineClient,
    mark: Key,
    from: u64,
    mut ends_at: tokio::sync::watch::Receiver<u64>,
) -> Result<Vec<Shown>, RowError> {
    let from = WatchFrom::Index(from);
    let mut watch = client
        .records()
        .watch(&mark.routing_key, from)
        .await?
        .whole_shard();
    let mut shown: Vec<Shown> = Vec::new();
    loop {
        let last = shown.last().map_or(0, |shown| shown.index);
        if last >= *ends_at.borrow_and_update() {
            return Ok(shown);
        }
        tokio::select! {
            event = watch.next() => match event {
                Ok(event) => shown.push(shown_by(event)),
                Err(error) if error.advice == Advice::RetrySameId => {}
                Err(error) => return Err(error.into()),
            },
            _ = ends_at.changed() => {}
        }
    }
}

fn shown_by(event: WatchEvent) -> Shown {
    let changes = event.changes.into_iter().map(|change| {
        let register = Register {
            suffix: String::from_utf8_lossy(&change.key.suffix).into_owned(),
            routing: change.key.routing_key,
        };
        (
            register.name(),
            change.record.map(|record| Value::decode(&record.value)),
        )
    });
    Shown {
        index: event.index,
        changes: changes
            .filter(|(register, _)| !register.starts_with(MARK))
            .collect(),
    }
}

/// Writes a last change into every shard, and lets every watch run up to it.
async fn end(client: &SpineClient, watches: Vec<Watched>) -> Result<Vec<Vec<Shown>>, RowError> {
    let mut shown = Vec::new();
    for watched in watches {
        let last = client.records().put(&watched.mark, "end").await?;
        watched.end.send_replace(last.revision);
        let watching = timeout(SETTLE, watched.watching).await;
        let watching = watching.map_err(|_| RowError::because("a watch did not reach the end"))?;
        shown.push(watching.map_err(|error| RowError::because(error.to_string()))??);
    }
    Ok(shown)
}
