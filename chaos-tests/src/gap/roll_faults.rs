//! Rolls with something else going wrong meanwhile. The tool may wait, go back or stop; callers must not notice, and
//! begun again it must end.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_client::upgrade::{Failure, Progress};
use tokio::time::sleep;

use super::load::Load;
use super::rolls::{RollError, Shared, cluster_id, roll, two_programs};
use super::spine;
use crate::processes::{Cluster, ClusterError, signals};
use crate::workload::seeded;

/// Two nodes of three may be away at the same time, one for as long as its fault lasts.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// A fault comes at a moment of the first node's restart or of a later one.
const AFTER_MS: std::ops::Range<u64> = 0..12_000;
/// How long it lasts.
const LASTS: Duration = Duration::from_millis(1_500);
/// The cluster is whole again within this.
const SETTLE: Duration = Duration::from_secs(60);
/// The tool is begun again at most so often.
const TRIES: u32 = 5;

/// What goes wrong during a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollFault {
    /// SIGKILL, then a restart.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// A node and its peers do not hear each other. Needs a cluster with proxies.
    Silence,
}

/// Each of them.
pub const ROLL_FAULTS: [RollFault; 3] = [RollFault::Kill, RollFault::Pause, RollFault::Silence];

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RolledThrough {
    pub rolls: u32,
    /// Runs of the tool that ended with all nodes where they had been.
    pub rolled_back: u32,
    /// Runs that began with a cluster that was not sound and did nothing.
    pub refused: u32,
    /// Runs that stopped on their way.
    pub stopped: u32,
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
}

impl std::fmt::Display for RolledThrough {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rolls, the tool went back {}, refused {} and stopped {} times, {} calls, {} failed",
            self.rolls, self.rolled_back, self.refused, self.stopped, self.calls, self.failed
        )?;
        if let Some(first) = &self.first_failure {
            write!(f, " (first: {first})")?;
        }
        write!(f, ", {} lost", self.lost)
    }
}

/// One roll for each fault of each round, there and back in turns.
///
/// # Errors
/// A roll that does not end within some tries, or a cluster that does not become healthy.
pub async fn rolls_with_faults(
    shared: &Shared,
    clients: usize,
    rounds: u32,
    faults: &[RollFault],
    seed: u64,
) -> Result<RolledThrough, RollError> {
    let mut random = seeded(seed, "roll-faults");
    let [mut now, mut next] = two_programs(shared).await?;
    let clients = spine::clients(&*shared.lock().await, clients, CALL_DEADLINE)?;
    let load = Load::start(clients);
    let mut seen = RolledThrough::default();
    for _ in 0..rounds {
        for fault in faults.iter().copied() {
            seen.rolls += 1;
            // What it cost no one is asked for here: 0 failed is.
            load.forget();
            let id = cluster_id(shared).await?;
            let mut progress = Progress::new(id.clone(), Some(now.clone()), next.clone());
            // The fault is always undone, also where the tool has ended before.
            let mut silent = |_| {};
            let (ended, hurt) = tokio::join!(
                roll(shared, &mut progress, &mut silent),
                hurt(shared, fault, &mut random)
            );
            hurt?;
            let mut ended = ended?;
            let mut tries = 1;
            while let Err(failure) = ended {
                match failure {
                    Failure::RolledBack(_) => seen.rolled_back += 1,
                    Failure::Refused(_) => seen.refused += 1,
                    Failure::Stopped(_) | Failure::Note(_) => seen.stopped += 1,
                }
                if tries == TRIES {
                    return Err(RollError::Roll(seen.rolls, format!("{fault:?}: {failure}")));
                }
                tries += 1;
                shared.lock().await.wait_healthy(SETTLE).await?;
                if progress.has_ended() {
                    progress = Progress::new(id.clone(), Some(now.clone()), next.clone());
                }
                ended = roll(shared, &mut progress, &mut |_| {}).await?;
            }
            std::mem::swap(&mut now, &mut next);
        }
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

/// Waits a while, hurts a node for a while, and undoes it.
async fn hurt(shared: &Shared, fault: RollFault, random: &mut ChaCha8Rng) -> Result<(), ClusterError> {
    sleep(Duration::from_millis(random.random_range(AFTER_MS))).await;
    let node = random.random_range(0..shared.lock().await.nodes());
    match fault {
        RollFault::Kill => {
            // One that is being restarted may be down already.
            shared.lock().await.kill(node)?;
            sleep(LASTS).await;
            shared.lock().await.restart(node)
        }
        RollFault::Pause => {
            let pid = shared.lock().await.pid(node);
            let Some(pid) = pid.filter(|pid| signals::is_running(*pid)) else {
                return Ok(());
            };
            signals::pause(pid)?;
            sleep(LASTS).await;
            // The tool may have restarted it: another process then, which was not paused.
            let _ = signals::resume(pid);
            Ok(())
        }
        RollFault::Silence => {
            silence(&*shared.lock().await, node);
            sleep(LASTS).await;
            if let Some(mesh) = shared.lock().await.mesh() {
                mesh.heal();
            }
            Ok(())
        }
    }
}

fn silence(cluster: &Cluster, node: usize) {
    let Some(mesh) = cluster.mesh() else { return };
    for peer in (0..cluster.nodes()).filter(|peer| *peer != node) {
        mesh.change_way(node, peer, |way| way.swallows = true);
        mesh.change_way(peer, node, |way| way.swallows = true);
    }
}
