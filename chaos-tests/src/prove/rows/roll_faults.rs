//! Rolling upgrades while something else goes wrong.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_faultdisk::{Availability, availability};

use super::rolling::{CLIENTS, kept, options, shared};
use super::support::block_on;
use crate::gap::{Lasts, RollFault, RolledThrough, Target, Thrown, rolls_with_faults};
use crate::processes::{Cluster, Disks};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::seeded;

pub(super) const ROW: Row = Row {
    id: "roll-faults",
    issue: 5,
    claim: "a node killed, frozen, cut off both ways or one way, its connections reset or its disk stalled, \
            for a moment or for longer than the tool waits, while all nodes are rolled: callers do not \
            notice, and the tool ends when begun again",
    target: "0 failed calls, 0 lost, every roll done within 5 runs of the tool, which gives up and says why",
    run,
};

/// On disks that a program holds in memory.
const CLIENTS_ON_DISKS: usize = 16;
/// Rolls with each fault for a moment, and with each for longer than the tool waits.
const MOMENTS: usize = 3;
const TOO_LONG: usize = 1;
/// Of a full run.
const SEED: u64 = 5;
/// The seed of a run that is to be made once more; a quick one draws from the clock what goes wrong.
const SEED_VARIABLE: &str = "SPINE_ROLL_SEED";

#[derive(Serialize)]
struct Measured {
    seed: u64,
    /// Why no disk was stalled.
    no_disks: Option<&'static str>,
    #[serde(flatten)]
    rolled: RolledThrough,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {SEED_VARIABLE}={}", self.rolled, self.seed)?;
        match self.no_disks {
            Some(why) => write!(f, "; SKIPPED the disk that stalls: {why}"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let rolled = &self.rolled;
        // Where the tool never gave up, no fault was longer than it waits.
        let outlasted = rolled.outlasting == 0 || rolled.gave_up > 0;
        rolled.rolls > 0 && rolled.failed == 0 && rolled.lost == 0 && outlasted
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let no_disks = match availability() {
        Availability::Ready => None,
        Availability::Missing(why) => Some(why),
    };
    let seed = seed(context)?;
    let mut kinds = RollFault::ALL.to_vec();
    kinds.retain(|kind| no_disks.is_none() || *kind != RollFault::Stall);
    let plan = if context.quick {
        vec![any(&kinds, &mut seeded(seed, "roll-faults-quick"))]
    } else {
        all(&kinds)
    };
    let (on_disks, on_links): (Vec<_>, Vec<_>) = plan
        .into_iter()
        .partition(|thrown| thrown.fault == RollFault::Stall);
    block_on(async move {
        let mut rolled = RolledThrough::default();
        if !on_links.is_empty() {
            let cluster = Cluster::start_linked_with_defaults(&options(context), seed).await?;
            let target = Target::new(shared(cluster, context), None);
            rolled.include(throw(&target, CLIENTS, &on_links, seed).await?);
        }
        if !on_disks.is_empty() {
            let (cluster, disks) = Disks::with_cluster(&options(context), &[]).await?;
            let target = Target::new(shared(cluster, context), Some(disks));
            rolled.include(throw(&target, CLIENTS_ON_DISKS, &on_disks, seed).await?);
        }
        Finding::of(&Measured {
            seed,
            no_disks,
            rolled,
        })
    })
}

async fn throw(
    target: &Target,
    clients: usize,
    plan: &[Thrown],
    seed: u64,
) -> Result<RolledThrough, RowError> {
    match rolls_with_faults(target, clients, plan, seed).await {
        Ok(rolled) => Ok(rolled),
        Err(error) => {
            let error = kept(target.cluster(), &error).await;
            Err(RowError::because(format!("{error}; {SEED_VARIABLE}={seed}")))
        }
    }
}

/// Each fault in turns.
fn all(kinds: &[RollFault]) -> Vec<Thrown> {
    let mut plan = Vec::new();
    for (lasts, times) in [(Lasts::Moment, MOMENTS), (Lasts::TooLong, TOO_LONG)] {
        for _ in 0..times {
            plan.extend(kinds.iter().copied().map(|fault| Thrown { fault, lasts }));
        }
    }
    plan
}

/// One of them, for a moment.
fn any(kinds: &[RollFault], random: &mut ChaCha8Rng) -> Thrown {
    Thrown {
        fault: kinds[random.random_range(0..kinds.len())],
        lasts: Lasts::Moment,
    }
}

fn seed(context: &Context) -> Result<u64, RowError> {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => text
            .parse()
            .map_err(|_| RowError::because(format!("{SEED_VARIABLE} is no number"))),
        Err(_) if context.quick => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(since.as_secs())
        }
        Err(_) => Ok(SEED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_run_throws_each_fault_for_a_moment_and_for_too_long() {
        let plan = all(&RollFault::ALL);
        assert!(plan.len() >= 20);
        for fault in RollFault::ALL {
            let times = |lasts| {
                let thrown = Thrown { fault, lasts };
                plan.iter().filter(|planned| **planned == thrown).count()
            };
            assert_eq!(times(Lasts::Moment), MOMENTS, "{fault:?}");
            assert_eq!(times(Lasts::TooLong), TOO_LONG, "{fault:?}");
        }
    }

    #[test]
    fn a_quick_run_draws_any_of_them() {
        let drawn = |seed| any(&RollFault::ALL, &mut seeded(seed, "roll-faults-quick")).fault;
        for fault in RollFault::ALL {
            assert!((0..200).any(|seed| drawn(seed) == fault), "{fault:?}");
        }
        assert_eq!(drawn(7), drawn(7));
    }
}
