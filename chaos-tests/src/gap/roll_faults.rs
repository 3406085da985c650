//! Rolls with something else going wrong meanwhile. The tool may wait, go back or stop; callers must not
//! notice, and begun again it must end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_client::upgrade::{Failure, Progress};
use tokio::sync::mpsc::unbounded_channel;

use super::load::Load;
use super::rolls::{RollError, cluster_id, roll, roll_within, two_programs};
use super::spine;
use super::thrown::{Lasts, Target, Thrown};
use crate::workload::seeded;

/// Two nodes of three may be away at the same time, one for as long as its fault lasts.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// The cluster is whole again within this.
const SETTLE: Duration = Duration::from_secs(60);
/// The tool is begun again at most so often.
const TRIES: u32 = 5;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RolledThrough {
    pub rolls: u32,
    /// Rolls by what befell a node.
    pub faults: BTreeMap<&'static str, u32>,
    /// Rolls with a fault that lasted longer than the tool waits.
    pub outlasting: u32,
    /// Of these, how often the tool ended by itself and said why.
    pub gave_up: u32,
    /// What it said first.
    pub first_reason: Option<String>,
    /// Runs of the tool that ended with all nodes where they had been.
    pub rolled_back: u32,
    /// Runs that began with a cluster that was not sound and did nothing.
    pub refused: u32,
    /// Runs that stopped on their way.
    pub stopped: u32,
    /// Faults that were to come with a step which the tool never took.
    pub not_thrown: u32,
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
}

impl fmt::Display for RolledThrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |(fault, rolls): (&&str, &u32)| format!("{fault} {rolls}");
        let faults: Vec<String> = self.faults.iter().map(told).collect();
        let faults = faults.join(", ");
        write!(
            f,
            "{} rolls ({faults}), the tool went back {}, refused {} and stopped {} times",
            self.rolls, self.rolled_back, self.refused, self.stopped
        )?;
        if self.outlasting > 0 {
            write!(
                f,
                ", gave up in {} of {} faults that outlasted its patience",
                self.gave_up, self.outlasting
            )?;
        }
        if let Some(first) = &self.first_reason {
            write!(f, " (first: {first})")?;
        }
        if self.not_thrown > 0 {
            write!(f, ", {} faults were not thrown", self.not_thrown)?;
        }
        write!(f, ", {} calls, {} failed", self.calls, self.failed)?;
        if let Some(first) = &self.first_failure {
            write!(f, " (first: {first})")?;
        }
        write!(f, ", {} lost", self.lost)
    }
}

/// One roll for each fault of the plan, there and back in turns.
///
/// # Errors
/// A roll that does not end within some tries, or a cluster that does not become healthy.
pub async fn rolls_with_faults(
    target: &Target,
    clients: usize,
    plan: &[Thrown],
    seed: u64,
) -> Result<RolledThrough, RollError> {
    let shared = target.cluster();
    let mut random = seeded(seed, "roll-faults");
    let [mut now, mut next] = two_programs(shared).await?;
    let clients = spine::clients(&*shared.lock().await, clients, CALL_DEADLINE)?;
    let load = Load::start(clients);
    let mut seen = RolledThrough::default();
    for thrown in plan {
        // What it cost no one is asked for here: 0 failed is.
        load.forget();
        seen.roll_through(target, *thrown, [&now, &next], &mut random)
            .await?;
        std::mem::swap(&mut now, &mut next);
    }
    let tally = load.stop().await;
    Ok(RolledThrough {
        calls: tally.calls,
        failed: tally.failed,
        first_failure: tally.first_failure,
        lost: tally.lost,
        ..seen
    })
}

impl RolledThrough {
    /// What came of further rolls, on another cluster.
    pub fn include(&mut self, other: Self) {
        self.rolls += other.rolls;
        for (fault, rolls) in other.faults {
            *self.faults.entry(fault).or_default() += rolls;
        }
        self.outlasting += other.outlasting;
        self.gave_up += other.gave_up;
        self.first_reason = self.first_reason.take().or(other.first_reason);
        self.rolled_back += other.rolled_back;
        self.refused += other.refused;
        self.stopped += other.stopped;
        self.not_thrown += other.not_thrown;
        self.calls += other.calls;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.lost += other.lost;
    }

    /// One roll with its fault, begun again until all nodes run the next program.
    async fn roll_through(
        &mut self,
        target: &Target,
        thrown: Thrown,
        [now, next]: [&Path; 2],
        random: &mut ChaCha8Rng,
    ) -> Result<(), RollError> {
        self.rolls += 1;
        *self.faults.entry(thrown.fault.name()).or_default() += 1;
        let shared = target.cluster();
        let id = cluster_id(shared).await?;
        let begun = || Progress::new(id.clone(), Some(now.to_path_buf()), next.to_path_buf());
        let mut progress = begun();
        let (told, mut steps) = unbounded_channel();
        let rolling = async {
            // Ends with the tool, so that nobody waits for a step that does not come.
            let told = told;
            let mut tell = |node, step| {
                // Nobody listens where the fault comes at any moment.
                let _ = told.send((node, step));
            };
            roll_within(thrown.lasts.patience(), shared, &mut progress, &mut tell).await
        };
        // The fault is always undone, also where the tool has ended before.
        let (ended, hurt) = tokio::join!(rolling, target.hurt(thrown, &mut steps, random));
        self.not_thrown += u32::from(!hurt?);
        let mut ended = ended?;
        self.note(thrown.lasts, &ended);
        let mut tries = 1;
        loop {
            shared.lock().await.wait_healthy(SETTLE).await?;
            let Err(failure) = ended else { return Ok(()) };
            self.count(&failure);
            if tries == TRIES {
                let fault = thrown.fault.name();
                return Err(RollError::Roll(self.rolls, format!("{fault}: {failure}")));
            }
            tries += 1;
            if progress.has_ended() {
                progress = begun();
            }
            ended = roll(shared, &mut progress, &mut |_, _| {}).await?;
        }
    }

    /// How the tool met a fault that lasted longer than it waits.
    fn note(&mut self, lasts: Lasts, ended: &Result<(), Failure>) {
        if lasts == Lasts::Moment {
            return;
        }
        self.outlasting += 1;
        if let Err(failure) = ended {
            self.gave_up += 1;
            self.first_reason.get_or_insert_with(|| failure.to_string());
        }
    }

    fn count(&mut self, failure: &Failure) {
        match failure {
            Failure::RolledBack(_) => self.rolled_back += 1,
            Failure::Refused(_) => self.refused += 1,
            Failure::Stopped(_) | Failure::Note(_) => self.stopped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_of_two_clusters_are_told_as_one() {
        let mut seen = RolledThrough {
            rolls: 2,
            faults: BTreeMap::from([("frozen", 2)]),
            calls: 10,
            ..RolledThrough::default()
        };
        seen.include(RolledThrough {
            rolls: 1,
            faults: BTreeMap::from([("disk stalled", 1)]),
            outlasting: 1,
            gave_up: 1,
            first_reason: Some("why".to_owned()),
            rolled_back: 1,
            calls: 5,
            ..RolledThrough::default()
        });
        assert_eq!(
            seen.to_string(),
            "3 rolls (disk stalled 1, frozen 2), the tool went back 1, refused 0 and stopped 0 times, \
             gave up in 1 of 1 faults that outlasted its patience (first: why), 15 calls, 0 failed, 0 lost"
        );
    }
}
