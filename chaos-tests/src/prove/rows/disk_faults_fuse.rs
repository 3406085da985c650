//! Disks of real nodes that fail syncs, that are slow, and that give back other bytes than were written.

mod reads;
mod slow;
mod syncs;

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use self::reads::Reads;
use self::slow::Slows;
use self::syncs::Syncs;
use super::support::{Checked, block_on, faulty_cluster, no_fuse};
use crate::history::Operation;
use crate::processes::{Calls, FaultyCluster, RunOptions, first_failures, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::{Registers, seeded};

pub(super) const ROW: Row = Row {
    id: "disk-faults-fuse",
    issue: 3,
    claim: "a real node whose syncs fail ends and acknowledges nothing more, one whose disk is slow holds \
            nobody up, and one that reads flipped bits finds them, shows none and mends itself",
    target: "10 rounds each: ends within 2,000 ms, nothing acknowledged on one disk of three; longest call \
             beside a slow disk <= 2,000 ms; no flipped bit shown; 0 failed calls, 0 violations",
    run,
};

const ROUNDS: u32 = 10;
const ROUNDS_QUICK: u32 = 1;
const SLOW_CALL_MS_GATE: u64 = 2_000;
/// Calls before each trouble.
const CALLS_BETWEEN: usize = 300;
const SETTLE: Duration = Duration::from_secs(60);
const GIVEN_UP_LIMIT: Duration = Duration::from_secs(10);
/// Longer than two nodes are ever away at once.
const DEADLINE: Duration = Duration::from_secs(60);
/// Large ones fill the log quickly ...
const VALUE_BYTES: usize = 4_096;
/// ... and the disks are held in memory.
const LOG_SETTING: &str = "raft.log_keep_entries=512";
const THINK: Duration = Duration::from_millis(10);

/// What one kind of trouble did, and what became of the calls meanwhile.
#[derive(Serialize)]
struct Part<T> {
    #[serde(flatten)]
    trouble: T,
    failures: String,
    #[serde(flatten)]
    checked: Checked,
}

impl<T> Part<T> {
    async fn of(trouble: T, faulty: &mut FaultyCluster, operations: &[Operation]) -> Result<Self, RowError> {
        let report = settle_and_check(faulty.cluster_mut(), operations, SETTLE).await?;
        Ok(Self {
            trouble,
            failures: first_failures(operations),
            checked: Checked::new(Calls::of(operations), &report),
        })
    }

    fn is_sound(&self) -> bool {
        let Checked {
            calls,
            acknowledged,
            violations,
            ..
        } = &self.checked;
        calls.failed == 0 && *acknowledged > 0 && violations.is_empty()
    }
}

impl<T: fmt::Display> fmt::Display for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calls {
            failed, longest_ms, ..
        } = self.checked.calls;
        write!(
            f,
            "{}, longest call {longest_ms} ms, {failed} failed",
            self.trouble
        )?;
        if !self.failures.is_empty() {
            write!(f, " ({})", self.failures)?;
        }
        write!(f, ", {}", self.checked.text())
    }
}

#[derive(Serialize)]
struct Measured {
    syncs: Part<Syncs>,
    slow: Part<Slows>,
    reads: Part<Reads>,
    #[serde(skip)]
    slow_call_ms_gate: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed syncs: {}", self.syncs)?;
        write!(f, "; slow disk: {}", self.slow)?;
        write!(f, "; flipped bits: {}", self.reads)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let Self {
            syncs, slow, reads, ..
        } = self;
        let in_time = slow.checked.calls.longest_ms <= self.slow_call_ms_gate;
        let sound = syncs.is_sound() && slow.is_sound() && reads.is_sound();
        sound && in_time && syncs.trouble.is_met() && slow.trouble.is_met() && reads.trouble.is_met()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    if let Some(skipped) = no_fuse() {
        return Ok(skipped);
    }
    block_on(async move {
        let mut faulty = faulty_cluster(context, &[LOG_SETTING.to_owned()]).await?;
        match measure(context, &mut faulty).await {
            Ok(measured) => Finding::of(&measured),
            Err(error) => {
                faulty.cluster_mut().keep_files();
                let kept = faulty.cluster().directory().display();
                Err(RowError::because(format!(
                    "{error}; what the nodes said is kept in {kept}"
                )))
            }
        }
    })
}

async fn measure(context: &Context, faulty: &mut FaultyCluster) -> Result<Measured, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    let mut random = seeded(3, "disk-faults-fuse");
    Ok(Measured {
        syncs: syncs::run(context, faulty, rounds, &mut random).await?,
        slow: slow::run(context, faulty, rounds, &mut random).await?,
        reads: reads::run(faulty, rounds, &mut random).await?,
        slow_call_ms_gate: context.rounds(SLOW_CALL_MS_GATE, 3 * SLOW_CALL_MS_GATE),
    })
}

/// Registers of their own for each kind, so that each history is checked by itself.
fn load_of(kind: u32) -> RunOptions {
    let usual = RunOptions::default();
    RunOptions {
        registers: Registers {
            run: kind,
            ..usual.registers
        },
        think: THINK,
        deadline: DEADLINE,
        value_len: VALUE_BYTES,
        ..usual
    }
}

fn any_node(faulty: &FaultyCluster, random: &mut ChaCha8Rng) -> usize {
    random.random_range(0..faulty.cluster().nodes())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
