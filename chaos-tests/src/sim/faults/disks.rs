//! What faults do to disks, and nodes that end because of theirs.

use turmoil::Sim;

use super::{Faults, Targets, step};
use crate::scenario::Node;
use crate::sim::damage::damage;

impl Faults {
    pub(super) fn stall(&mut self, node: Node, more: bool) {
        let stalled = step(&mut self.stalled[node], more) > 0;
        self.targets.disks[node].stall(stalled);
    }

    /// What is there stays, and nothing more has room.
    pub(super) fn fill(&mut self, sim: &mut Sim<'_>, node: Node, more: bool) {
        let count = step(&mut self.full[node], more);
        let disk = &self.targets.disks[node];
        match (count, more) {
            (1, true) => disk.fill(Some(disk.used_bytes())),
            (0, false) => disk.fill(None),
            _ => {}
        }
        self.rise(sim, node);
    }

    pub(super) fn fail_sync(&mut self, sim: &mut Sim<'_>, node: Node, more: bool) {
        let count = step(&mut self.failing[node], more);
        match (count, more) {
            (_, true) => self.targets.disks[node].fail_next_sync(None),
            (0, false) => self.targets.disks[node].cancel_failing_sync(),
            _ => {}
        }
        self.rise(sim, node);
    }

    /// A node's host has ended. With a troubled disk it may, as a process that cannot go on does.
    ///
    /// # Errors
    /// It had no reason to.
    pub(in crate::sim) fn take_fallen(&mut self, sim: &mut Sim<'_>) -> Result<(), String> {
        let fallen = std::mem::take(&mut *self.targets.fallen.borrow_mut());
        for (node, reason) in fallen {
            if self.full[node] + self.failing[node] == 0 {
                return Err(format!("n{} ended: {reason}", node + 1));
            }
            if !self.fell[node] {
                self.fell[node] = true;
                self.take_down(sim, &[node], false);
            }
        }
        Ok(())
    }

    /// A node that ended by itself is started once its disk is whole.
    pub(super) fn rise(&mut self, sim: &mut Sim<'_>, node: Node) {
        if self.fell[node] && self.full[node] + self.failing[node] == 0 {
            self.fell[node] = false;
            self.bring_up(sim, &[node], false);
        }
    }

    /// The disk of a node that is down decays.
    pub(super) fn corrupt(&mut self, node: Node) {
        let Targets { disks, random, .. } = &mut self.targets;
        match damage(&disks[node], random) {
            Ok(Some(file)) => tracing::debug!(node, file = %file.display(), "damaged"),
            Ok(None) => tracing::debug!(node, "nothing to damage yet"),
            Err(error) => tracing::warn!(node, %error, "damage state"),
        }
    }
}
