//! Carries out a plan, step by step, and heals everything at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::desired::Desired;
use crate::processes::{Cluster, ClusterError, Run, Storm};
use crate::proxy::{Direction, Way};
use crate::report::Ongoing;
use crate::scenario::{Fault, Step};

/// What goes on now.
struct Active {
    faults: BTreeMap<usize, Fault>,
    notes: BTreeMap<usize, Ongoing>,
    storms: BTreeMap<usize, Storm>,
    paused: BTreeSet<usize>,
    down: BTreeSet<usize>,
    /// Their clocks were moved since they started.
    wrong_clocks: BTreeSet<usize>,
}

/// Does every step at its time, of those that [`super::supports`] takes. All of it is undone when this returns; a node
/// that was down is started, not waited for.
///
/// # Errors
/// A cluster without proxies, a process that cannot be signalled, or a node that ended by itself.
pub async fn execute(cluster: &mut Cluster, steps: &[Step], load: &Run) -> Result<(), ClusterError> {
    let mut active = Active {
        faults: BTreeMap::new(),
        notes: BTreeMap::new(),
        storms: BTreeMap::new(),
        paused: BTreeSet::new(),
        down: BTreeSet::new(),
        wrong_clocks: BTreeSet::new(),
    };
    let began = Instant::now();
    for (at, begins, number) in events(steps) {
        sleep_until(began + at).await;
        cluster.check_alive()?;
        if begins {
            active.begin(cluster, number, &steps[number].fault, load).await?;
        } else {
            active.end(cluster, number, load).await;
        }
        active.reconcile(cluster)?;
    }
    if let Some(mesh) = cluster.mesh() {
        mesh.heal();
    }
    Ok(())
}

/// Begins and ends in the order of their time.
fn events(steps: &[Step]) -> Vec<(Duration, bool, usize)> {
    let mut events: Vec<_> = (0..)
        .zip(steps)
        .flat_map(|(number, step)| [(step.at, true, number), (step.at + step.lasts, false, number)])
        .collect();
    events.sort_by_key(|(at, begins, number)| (*at, !begins, *number));
    events
}

impl Active {
    async fn begin(
        &mut self,
        cluster: &mut Cluster,
        number: usize,
        fault: &Fault,
        load: &Run,
    ) -> Result<(), ClusterError> {
        self.notes
            .insert(number, cluster.journal().begin(fault.to_string()));
        self.faults.insert(number, fault.clone());
        if let Fault::ClientStorm(clients) = fault {
            self.storms.insert(number, load.storm(cluster, *clients)?);
        }
        if let Fault::ClockJump(node, by_ms) = fault
            && let Ok(by_ms) = u64::try_from(*by_ms)
            && !self.down.contains(node)
            && !self.paused.contains(node)
        {
            // Perhaps the node cannot be asked now; perhaps only its answer is lost.
            self.wrong_clocks.insert(*node);
            let _ = cluster
                .admin(*node)?
                .advance_time(Duration::from_millis(by_ms))
                .await;
        }
        let mesh = cluster.mesh().ok_or(ClusterError::NoProxies)?;
        let edge = |from, to| mesh.edge(from, to).into_iter();
        match fault {
            Fault::Reset(a, b) => edge(*a, *b).chain(edge(*b, *a)).for_each(|link| link.reset()),
            Fault::HalfClose(from, to) => {
                edge(*from, *to).for_each(|link| link.half_close(Direction::Forward));
            }
            Fault::Truncate(from, to) => edge(*from, *to).for_each(|link| link.truncate(Direction::Forward)),
            Fault::Forge(node) => {
                let others = (0..mesh.nodes()).filter(|other| other != node);
                others
                    .flat_map(|other| edge(other, *node).chain(edge(*node, other)))
                    .for_each(|link| link.reset());
            }
            _ => {}
        }
        Ok(())
    }

    async fn end(&mut self, cluster: &Cluster, number: usize, load: &Run) {
        if let Some(Fault::PurgeWhileDown(down)) = self.faults.remove(&number) {
            self.purge(cluster, down).await;
        }
        if let Some(storm) = self.storms.remove(&number) {
            load.calm(storm);
        }
        if let Some(note) = self.notes.remove(&number) {
            cluster.journal().end(note);
        }
    }

    /// The replicas that are up write a checkpoint and purge their logs.
    async fn purge(&self, cluster: &Cluster, down: usize) {
        let away = |node: &usize| *node == down || self.down.contains(node) || self.paused.contains(node);
        for node in (0..cluster.nodes()).filter(|node| !away(node)) {
            let Ok(admin) = cluster.admin(node) else { continue };
            for shard in admin.list_shards().await.unwrap_or_default() {
                let _ = admin.compact_replica(shard.shard).await;
            }
        }
    }

    /// Makes the cluster what it must be now.
    fn reconcile(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let nodes = cluster.nodes();
        let desired = Desired::of(self.faults.values(), nodes);
        for node in 0..nodes {
            let (down, pause) = (desired.down.contains(&node), desired.paused.contains(&node));
            if !pause && self.paused.remove(&node) {
                cluster.resume(node)?;
            }
            if down && self.down.insert(node) {
                cluster.kill(node)?;
            }
            // A process begins with the machine's clock: whoever sees one apart mends it and starts the node again.
            let mends = !down && !pause && !desired.apart.contains(&node);
            if mends && self.wrong_clocks.remove(&node) && self.down.insert(node) {
                cluster.kill(node)?;
            }
            if !down && self.down.remove(&node) {
                cluster.restart(node)?;
                self.wrong_clocks.remove(&node);
            }
            if pause && self.paused.insert(node) {
                cluster.pause(node)?;
            }
        }
        let mesh = cluster.mesh().ok_or(ClusterError::NoProxies)?;
        for ((from, to), way) in &desired.ways {
            mesh.change_way(*from, *to, |now| set(now, way));
        }
        for (node, asks) in &desired.asks {
            let answers = &desired.answers[node];
            let listening = !desired.down.contains(node) && !desired.refusing.contains(node);
            mesh.set_listening(*node, listening);
            mesh.front(*node).change(|rules| {
                set(&mut rules.forward, asks);
                set(&mut rules.backward, answers);
            });
        }
        Ok(())
    }
}

/// What happened once stays counted.
fn set(now: &mut Way, to: &Way) {
    *now = Way {
        half_closes: now.half_closes,
        truncations: now.truncations,
        ..*to
    };
}
