//! What can be done to real processes and their links, and which faults of a plan that can carry out.

use std::fmt;
use std::time::Duration;

use crate::sim::plan::{Fault, Node, Step};

/// One thing that is done for a while.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// SIGKILL; started again at the end.
    Kill(Vec<Node>),
    /// SIGSTOP; SIGCONT at the end.
    Pause(Vec<Node>),
    /// Bytes between these nodes and the others are lost, both ways.
    Isolate(Vec<Node>),
    /// Bytes from the first to the second are lost; the other way works.
    OneWay(Node, Node),
    /// No byte between these two is carried; each still reaches the third.
    Bridge(Node, Node),
    /// Bytes between these nodes and the others wait.
    Hold(Vec<Node>),
    /// All connections of two nodes are reset at once; both live. Forged evidence of a death, half of it.
    Reset(Node, Node),
    /// Connects to this node are refused and its connections reset, though it lives: forged evidence, all of it.
    ForgeDeath(Node),
    /// Connections from the first to the second end one way only.
    HalfClose(Node, Node),
    /// A message between the two arrives half.
    Truncate(Node, Node),
    /// Clients cannot reach this node; its peers can.
    HideFromClients(Node),
    /// Every message, also of clients, takes this long and up to as long again.
    Slow(Duration),
    /// Links of this node carry so many bytes per second.
    Narrow(Node, u64),
    /// So many further clients appear at once and go again.
    ClientStorm(u32),
    /// Down, and the others checkpoint and purge meanwhile, so that it needs snapshots.
    PurgeWhileDown(Node),
    /// The node's wall clock jumps forward. It stays there.
    ClockJump(Node, Duration),
}

/// A deed with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct DeedStep {
    /// Since faults began.
    pub at: Duration,
    pub lasts: Duration,
    pub deed: Deed,
}

impl fmt::Display for DeedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_millis(), self.lasts.as_millis());
        write!(f, "+{at} ms for {lasts} ms: {}", self.deed)
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |node: &Node| format!("n{}", node + 1);
        let some = |nodes: &[Node]| nodes.iter().map(one).collect::<Vec<_>>().join(" ");
        match self {
            Self::Kill(nodes) => write!(f, "kill {}", some(nodes)),
            Self::Pause(nodes) => write!(f, "pause {}", some(nodes)),
            Self::Isolate(nodes) => write!(f, "isolate {}", some(nodes)),
            Self::OneWay(from, to) => write!(f, "lose bytes {} to {}", one(from), one(to)),
            Self::Bridge(a, b) => write!(f, "cut {} from {}", one(a), one(b)),
            Self::Hold(nodes) => write!(f, "hold bytes of {}", some(nodes)),
            Self::Reset(a, b) => write!(f, "reset {} and {}", one(a), one(b)),
            Self::ForgeDeath(node) => write!(f, "forge the death of {}", one(node)),
            Self::HalfClose(from, to) => write!(f, "half-close {} to {}", one(from), one(to)),
            Self::Truncate(from, to) => write!(f, "truncate {} to {}", one(from), one(to)),
            Self::HideFromClients(node) => write!(f, "hide {} from clients", one(node)),
            Self::Slow(by) => write!(f, "all links late by {} ms", by.as_millis()),
            Self::Narrow(node, rate) => write!(f, "{} bytes/s at {}", rate, one(node)),
            Self::ClientStorm(clients) => write!(f, "{clients} more clients"),
            Self::PurgeWhileDown(node) => write!(f, "purge while {} is down", one(node)),
            Self::ClockJump(node, by) => write!(f, "clock of {} ahead by {} s", one(node), by.as_secs()),
        }
    }
}

/// How a step of a plan is carried out on processes; none = it cannot be, and the caller must say so.
#[must_use]
pub fn supports(step: &Step) -> Option<DeedStep> {
    let deed = match &step.fault {
        Fault::Kill(nodes) => Deed::Kill(nodes.clone()),
        Fault::Isolate(nodes) => Deed::Isolate(nodes.clone()),
        Fault::OneWay(from, to) => Deed::OneWay(*from, *to),
        Fault::Hold(nodes) => Deed::Hold(nodes.clone()),
        Fault::Reset(a, b) => Deed::Reset(*a, *b),
        Fault::HideFromClients(node) => Deed::HideFromClients(*node),
        Fault::Slow(by) => Deed::Slow(*by),
        Fault::PurgeWhileDown { down } => Deed::PurgeWhileDown(*down),
        Fault::Forge(node) => Deed::ForgeDeath(*node),
        Fault::Bridge(node) => Deed::Bridge((*node + 1) % 3, (*node + 2) % 3),
        // A process's clock moves forward only, and stays there.
        Fault::ClockJump { .. } => return None,
        // They need a disk that forgets or waits, and links that lose what belongs to one connection only.
        Fault::PowerCut(_) | Fault::DiskStall(_) | Fault::LostReplies(_) => return None,
    };
    Some(DeedStep {
        at: step.at,
        lasts: step.lasts,
        deed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::{Focus, Plan};

    #[test]
    fn plans_are_carried_out_but_for_power_cuts() {
        for seed in 0..50 {
            for step in Plan::of(seed, 3, Duration::from_secs(10), Focus::All).steps {
                let power = matches!(step.fault, Fault::PowerCut(_));
                assert_eq!(supports(&step).is_none(), power, "{step}");
            }
        }
    }
}
