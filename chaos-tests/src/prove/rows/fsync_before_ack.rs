//! Acknowledged means on disk on a majority.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use spine_client::Key;

use super::support::{block_on, cluster};
use crate::processes::strace::{self, ATTACH_TIME, Strace, Sync};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "fsync-before-ack",
    issue: 2,
    claim: "a put is acknowledged only after a majority of nodes finished an fdatasync that began after the call",
    target: "every put of one client: >= 2 of 3 nodes synced inside the call, seen by strace",
    run,
};

const PUTS: u32 = 300;
const PUTS_QUICK: u32 = 60;
const MAJORITY: usize = 2;

#[derive(Serialize)]
struct Measured {
    puts: u32,
    proven: u32,
    syncs: usize,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} puts, {} syncs on 3 nodes",
            self.proven, self.puts, self.syncs
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.puts > 0 && self.proven == self.puts
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    if !strace::is_available() {
        return Ok(Finding::Skipped {
            reason: "strace cannot be run on this machine".to_owned(),
        });
    }
    let puts = context.rounds(PUTS, PUTS_QUICK);
    block_on(async move {
        let cluster = cluster(context).await?;
        let client = cluster.client(Duration::from_secs(10))?;
        let records = client.records();
        let mut traces = Vec::new();
        for node in 0..cluster.nodes() {
            let prefix = cluster.directory().join(format!("strace-{node}"));
            let pid = cluster
                .pid(node)
                .ok_or_else(|| RowError::because("a node is not running"))?;
            traces.push((Strace::attach(pid, &prefix)?, prefix));
        }
        tokio::time::sleep(ATTACH_TIME).await;
        let mut calls = Vec::new();
        for number in 0..puts {
            let key = Key::new(format!("sync-{}", number % 16), "");
            let invoked = now_ns();
            records.put(&key, format!("{number}")).await?;
            calls.push((invoked, now_ns()));
            // One call's syncs must not be taken for the next one's.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut nodes: Vec<Vec<Sync>> = Vec::new();
        for (trace, prefix) in traces {
            trace.detach()?;
            nodes.push(strace::read(&prefix)?);
        }
        let synced =
            |(invoked, returned): &&(u64, u64)| strace::nodes_synced(&nodes, *invoked, *returned) >= MAJORITY;
        let proven = u32::try_from(calls.iter().filter(synced).count()).unwrap_or(0);
        Finding::of(&Measured {
            puts,
            proven,
            syncs: nodes.iter().map(Vec::len).sum(),
        })
    })
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
