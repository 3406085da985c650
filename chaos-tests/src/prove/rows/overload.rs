//! More callers than there is room for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::patients::{Bench, bench, bench_gently, cluster, endpoints};
use super::support::{block_on, resident_mib};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "overload",
    issue: 4,
    claim: "ten times as many callers as the nodes admit are refused by name, and nothing else suffers",
    target: "60 s: typed refusals only, <= 1,536 MiB resident, 0 elections; normal p99 within 10 s after (<= 2 x before)",
    run,
};

const SECONDS: &str = "60";
const SECONDS_QUICK: &str = "8";
/// A node admits 8,192 calls; these are ten times as many. They get what the nodes leave of the processors, as if
/// they had a machine of their own.
const PROGRAMS: usize = 5;
const CALLERS_EACH: &str = "16384";
/// A client has 4,096 calls under way, so each program has four of them.
const CONNECTIONS_EACH: &str = "4";
const NORMAL: [&str; 6] = ["--mix", "put", "--clients", "64", "--seconds", "5"];
const RESIDENT_MIB_MAX: u64 = 1_536;
const RATIO_MAX: f64 = 2.0;
const RATIO_MAX_QUICK: f64 = 6.0;
/// Leaders are where they belong by then, on any machine.
const SPREADS: Duration = Duration::from_secs(60);
/// How long the cluster has to be as before.
const RECOVERY: Duration = Duration::from_secs(10);
/// A refusal that tells a caller what to do; anything else is a failure.
const REFUSALS: [&str; 8] = [
    "TOO_MANY_REQUESTS",
    "QUEUE_FULL",
    "BUSY",
    "NO_NODE_REACHED",
    "NO_LEADER",
    "CLIENT_BUSY",
    "DEADLINE_EXCEEDED",
    "OUTCOME_UNKNOWN",
];

#[derive(Serialize)]
struct Measured {
    served_per_second: f64,
    refused: u64,
    reasons: BTreeMap<String, u64>,
    peak_mib: u64,
    elections: u64,
    #[serde(skip)]
    ratio_max: f64,
    before_p99_ms: f64,
    after_p99_ms: f64,
    after_errors: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} calls/s served, {} refused {:?}, at most {} MiB resident, {} elections, p99 before {:.1} ms, \
             10 s after {:.1} ms with {} errors",
            self.served_per_second,
            self.refused,
            self.reasons,
            self.peak_mib,
            self.elections,
            self.before_p99_ms,
            self.after_p99_ms,
            self.after_errors
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let typed = self
            .reasons
            .keys()
            .all(|reason| REFUSALS.contains(&reason.as_str()));
        typed
            && self.served_per_second > 0.0
            && self.peak_mib <= RESIDENT_MIB_MAX
            && self.elections == 0
            && self.after_errors == 0
            && self.after_p99_ms <= self.before_p99_ms * self.ratio_max
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let seconds = context.rounds(SECONDS, SECONDS_QUICK);
    block_on(async move {
        let cluster = cluster(context).await?;
        // A leader that goes where it belongs has a term of its own, too.
        cluster.wait_leaders_spread(SPREADS).await?;
        let before = normal(context, &cluster)?;
        let terms = terms(&cluster).await?;
        let (storm, peak_mib) = storm(context, &cluster, seconds).await?;
        sleep(RECOVERY).await;
        let after = normal(context, &cluster)?;
        let mut reasons = BTreeMap::new();
        for (reason, count) in storm.iter().flat_map(|bench| &bench.reasons) {
            *reasons.entry(reason.clone()).or_insert(0) += count;
        }
        Finding::of(&Measured {
            served_per_second: storm.iter().map(|bench| bench.per_second).sum(),
            refused: storm.iter().map(|bench| bench.errors).sum(),
            reasons,
            peak_mib,
            elections: self::terms(&cluster).await? - terms,
            ratio_max: context.rounds(RATIO_MAX, RATIO_MAX_QUICK),
            before_p99_ms: before.p99_ms,
            after_p99_ms: after.p99_ms,
            after_errors: after.errors,
        })
    })
}

fn normal(context: &Context, cluster: &Cluster) -> Result<Bench, RowError> {
    tokio::task::block_in_place(|| bench(context, &endpoints(cluster), &NORMAL))
}

async fn terms(cluster: &Cluster) -> Result<u64, RowError> {
    let status = cluster.status(0).await?;
    Ok(status.shards.iter().map(|shard| shard.term).sum())
}

/// All programs at once, and the most memory a node had meanwhile.
async fn storm(context: &Context, cluster: &Cluster, seconds: &str) -> Result<(Vec<Bench>, u64), RowError> {
    let mut programs = tokio::task::JoinSet::new();
    for seed in 0..PROGRAMS {
        let (context, endpoints, seconds) = (context.clone(), endpoints(cluster), seconds.to_owned());
        programs.spawn_blocking(move || {
            let seed = seed.to_string();
            let fixed = [
                "--mix",
                "put",
                "--clients",
                CALLERS_EACH,
                "--connections",
                CONNECTIONS_EACH,
            ];
            let varying = ["--timeout", "2s", "--seconds", &seconds, "--seed", &seed];
            bench_gently(&context, &endpoints, &[&fixed[..], &varying].concat())
        });
    }
    let (mut done, mut peak_mib) = (Vec::new(), 0);
    while !programs.is_empty() {
        tokio::select! {
            Some(ended) = programs.join_next() => {
                done.push(ended.map_err(|error| RowError::because(error.to_string()))??);
            }
            () = sleep(Duration::from_millis(500)) => {}
        }
        peak_mib = resident_mib(cluster)?.into_iter().fold(peak_mib, u64::max);
    }
    Ok((done, peak_mib))
}
