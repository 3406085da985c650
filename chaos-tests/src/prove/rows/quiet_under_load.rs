//! A machine at its limit is no reason to elect anybody.

use std::fmt;
use std::fs;
use std::process::{Child, Command, Stdio};

use serde::Serialize;

use super::support::{SHARDS, block_on};
use crate::gap::{Fault, Gap, Rounds, spine_rounds};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "quiet-under-load",
    issue: 3,
    claim: "no leader is replaced while the machine is at its limit for ten minutes",
    target: "0 elections, 0 failed calls, 0 lost, processors >= 95 % busy",
    run,
};

const CLIENTS: usize = 64;
/// A round without a fault takes about two and a half seconds.
const ROUNDS: u32 = 265;
/// What the claim is about.
const SECONDS: u64 = 600;
const ROUNDS_QUICK: u32 = 5;
const BUSY_MIN_PERCENT: u64 = 95;

#[derive(Serialize)]
struct Measured {
    busy_percent: u64,
    seconds: u64,
    #[serde(skip)]
    seconds_min: u64,
    #[serde(flatten)]
    gap: Gap,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} elections in {} s, processors {} % busy, {} calls, {} failed, {} lost, longest call {} ms",
            self.gap.elections,
            self.seconds,
            self.busy_percent,
            self.gap.calls,
            self.gap.failed,
            self.gap.lost,
            self.gap.summary.max_ms
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let Gap {
            elections,
            failed,
            lost,
            ..
        } = self.gap;
        elections == 0
            && failed == 0
            && lost == 0
            && self.busy_percent >= BUSY_MIN_PERCENT
            && self.seconds >= self.seconds_min
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = Rounds {
        clients: CLIENTS,
        faults: context.rounds(ROUNDS, ROUNDS_QUICK),
        fault: Fault::None,
        seed: 5,
        disk_limit: None,
    };
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let cluster = Cluster::start_with_defaults(&options).await?;
        let mut cluster = cluster.noted_in(context.journal.clone());
        let processors = std::thread::available_parallelism()?.get();
        let burners: Vec<Burner> = (0..processors)
            .map(|_| Burner::start())
            .collect::<Result<_, _>>()?;
        let (before, began) = (Processors::now()?, std::time::Instant::now());
        let gap = spine_rounds(&mut cluster, rounds).await?;
        let busy_percent = Processors::now()?.busy_percent_since(&before);
        drop(burners);
        Finding::of(&Measured {
            busy_percent,
            seconds: began.elapsed().as_secs(),
            seconds_min: context.rounds(SECONDS, 0),
            gap,
        })
    })
}

/// A process that does nothing as fast as it can.
struct Burner(Child);

impl Burner {
    fn start() -> std::io::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ticks of all processors since the machine started.
struct Processors {
    all: u64,
    idle: u64,
}

impl Processors {
    fn now() -> std::io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/stat")?))
    }

    fn parse(stat: &str) -> Self {
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guests are counted in user and nice.
        Self {
            all: ticks.iter().take(8).sum(),
            idle: ticks.iter().skip(3).take(2).sum(),
        }
    }

    fn busy_percent_since(&self, before: &Self) -> u64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let idle = self.idle.saturating_sub(before.idle);
        all.saturating_sub(idle) * 100 / all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let before = Processors::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n");
        let after = Processors::parse("cpu  190 0 100 805 5 0 0 0 0 0\n");
        assert_eq!(after.busy_percent_since(&before), 90);
    }
}
