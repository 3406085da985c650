//! What clients notice of a fault: the longest call, over 64 closed-loop clients and one fault after another.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::support::{SHARDS, block_on};
use spine_client::etcd;

use crate::gap::{Fault, Gap, Rounds, elsewhere_limit_ms, etcd_rounds, spine_rounds};
use crate::processes::{Cluster, ClusterError, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

const CLIENTS: usize = 64;
const FAULTS: u32 = 100;
/// A planned stop of each kind.
const FAULTS_QUICK: u32 = 2;
/// Each shape once.
const SILENCES_QUICK: u32 = 3;
/// Kills of etcd take seconds each.
const ETCD_FAULTS: u32 = 20;
const ETCD_FAULTS_QUICK: u32 = 2;
const ETCD_START: Duration = Duration::from_secs(30);

/// A longer gap is no matter of the machine's speed: what the nodes wrote tells more.
const KEPT_ABOVE_MS: f64 = 1_000.0;

/// The share of a goal that is the gate of a time.
const GATE: f64 = 1.7;
/// What `gap-none` measured (docs/reliability.md). Calls for keys that other nodes lead are held against it.
const QUIET_P99_MS: f64 = 42.0;

pub(super) const NONE: Row = Row {
    id: "gap-none",
    issue: 3,
    claim: "what the same clients notice where nothing goes wrong: the machine's own share of every gap",
    target: "0 failed calls, 0 lost, no error logged",
    run: |context| run(context, Fault::None, None),
};

pub(super) const KILL: Row = Row {
    id: "gap-kill",
    issue: 3,
    claim: "kill -9 of a node: the longest call of 64 clients",
    target: "p99 <= 150 ms (gate 255), of keys led elsewhere <= 126 ms (gate 214), 0 failed calls, 0 lost, \
             no error logged",
    run: |context| run(context, Fault::Kill, Some(150.0)),
};

pub(super) const PAUSE: Row = Row {
    id: "gap-pause",
    issue: 3,
    claim: "a node freezes (SIGSTOP) with all connections open: the longest call of 64 clients",
    target: "p99 <= 500 ms (gate 850), of keys led elsewhere <= 126 ms (gate 214), 0 failed calls, 0 lost, \
             no error logged",
    run: |context| run(context, Fault::Pause, Some(500.0)),
};

pub(super) const ONE_WAY: Row = Row {
    id: "gap-one-way",
    issue: 3,
    claim: "a node loses what it sends to its peers, what they send to it, or both, in turns: the longest call of 64 clients",
    target: "p99 <= 500 ms (gate 850), of keys led elsewhere <= 126 ms (gate 214), 0 failed calls, 0 lost, \
             no error logged",
    run: |context| run(context, Fault::Silence, Some(500.0)),
};

pub(super) const DRAIN: Row = Row {
    id: "gap-drain",
    issue: 3,
    claim: "a planned stop, in turns SIGTERM with a restart and spinectl node drain: the longest call of 64 clients",
    target: "p99 <= 50 ms (gate 85), of keys led elsewhere <= 126 ms (gate 214), 0 failed calls, 0 lost, \
             no error logged",
    run: |context| run(context, Fault::Planned, Some(50.0)),
};

pub(super) const ETCD: Row = Row {
    id: "gap-etcd",
    issue: 3,
    claim: "for comparison: kill -9 of the leader of etcd (3 nodes, its defaults) under the same clients",
    target: "measured, 0 failed calls",
    run: run_etcd,
};

#[derive(Serialize)]
struct Measured {
    goal_ms: Option<f64>,
    #[serde(skip)]
    gate: f64,
    /// None where nothing goes wrong.
    elsewhere_limit_ms: Option<f64>,
    #[serde(flatten)]
    gap: Gap,
}

impl Measured {
    /// Only the keys that the hurt node led were touched.
    fn spares_others(&self) -> bool {
        self.elsewhere_limit_ms
            .is_none_or(|limit| self.gap.others.p99_ms <= limit)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gap.fmt(f)?;
        if !self.spares_others() {
            f.write_str("; keys led elsewhere were slower than they may be")?;
        }
        match self.goal_ms {
            Some(goal) if self.gap.summary.p99_ms > goal && self.met() => write!(f, " (gate met, goal not)"),
            _ => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let in_time = self
            .goal_ms
            .is_none_or(|goal| self.gap.summary.p99_ms <= goal * self.gate);
        let complete = self.gap.complete && self.gap.is_clean();
        in_time && complete && self.spares_others()
    }
}

fn run(context: &Context, fault: Fault, goal_ms: Option<f64>) -> Result<Finding, RowError> {
    let elsewhere_ms = elsewhere_limit_ms(QUIET_P99_MS);
    let rounds = Rounds {
        clients: CLIENTS,
        faults: match fault {
            Fault::Silence => context.rounds(FAULTS, SILENCES_QUICK),
            _ => context.rounds(FAULTS, FAULTS_QUICK),
        },
        fault,
        seed: 3,
        // A stall that explains a call for a key led elsewhere sets the fault aside, too.
        disk_limit: goal_ms.map(|goal_ms| context.disk_limit(goal_ms.min(elsewhere_ms))),
    };
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let mut cluster = match fault {
            Fault::Silence => Cluster::start_linked_with_defaults(&options, 3).await?,
            _ => Cluster::start_with_defaults(&options).await?,
        };
        cluster = cluster.noted_in(context.journal.clone());
        let gap = match spine_rounds(&mut cluster, rounds).await {
            Ok(gap) => gap,
            Err(error) => {
                cluster.keep_files();
                let kept = cluster.directory().display();
                return Err(RowError::because(format!(
                    "{error}; the nodes' files are kept in {kept}"
                )));
            }
        };
        if gap.summary.max_ms > KEPT_ABOVE_MS {
            cluster.keep_files();
            let kept = format!("the nodes' files are kept in {}", cluster.directory().display());
            context.journal.note(kept);
        }
        Finding::of(&Measured {
            goal_ms,
            gate: context.at_most(GATE),
            elsewhere_limit_ms: goal_ms.map(|_| context.at_most(GATE * elsewhere_ms)),
            gap,
        })
    })
}

#[derive(Serialize)]
struct Etcd {
    tries_of_1000_ms: Gap,
    tries_of_200_ms: Gap,
}

impl fmt::Display for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tries of 1 s: {}; tries of 200 ms: {}",
            self.tries_of_1000_ms, self.tries_of_200_ms
        )
    }
}

impl Measurement for Etcd {
    fn met(&self) -> bool {
        self.tries_of_1000_ms.failed == 0 && self.tries_of_200_ms.failed == 0
    }
}

fn run_etcd(context: &Context) -> Result<Finding, RowError> {
    let Some(program) = etcd::program() else {
        return Ok(Finding::Skipped {
            reason: "etcd is not on the PATH (Debian: apt-get install etcd-server)".to_owned(),
        });
    };
    let rounds = Rounds {
        clients: CLIENTS,
        faults: context.rounds(ETCD_FAULTS, ETCD_FAULTS_QUICK),
        fault: Fault::Kill,
        seed: 3,
        disk_limit: None,
    };
    block_on(async move {
        let mut cluster = etcd::EtcdCluster::start(program, ETCD_START)
            .await
            .map_err(ClusterError::from)?;
        Finding::of(&Etcd {
            tries_of_1000_ms: etcd_rounds(&mut cluster, rounds, Duration::from_secs(1)).await?,
            tries_of_200_ms: etcd_rounds(&mut cluster, rounds, Duration::from_millis(200)).await?,
        })
    })
}
