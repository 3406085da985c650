//! Every kind of fault that some runner can carry out.

use std::time::Duration;

/// A node of the run, from 0; `n1` in text is 0 here.
pub type Node = usize;

/// One thing that goes wrong and then stops going wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The process dies; what it wrote stays. Started again at the end.
    Kill(Vec<Node>),
    /// The process stands still: no byte comes or goes, and its disk does nothing for it. None is lost.
    Pause(Vec<Node>),
    /// The power fails: what was not synced is gone.
    PowerCut(Vec<Node>),
    /// These nodes hear the others no more, nor are heard. Bytes are lost, connections break when it ends.
    Isolate(Vec<Node>),
    /// Bytes from the first to the second are lost; the other way works.
    OneWay(Node, Node),
    /// All others hear this node and it them, but not each other.
    Bridge(Node),
    /// Bytes between these nodes and the others are late until it ends, and none is lost.
    Hold(Vec<Node>),
    /// All connections of two nodes break at once; both live. Forged evidence of a death, half of it.
    Reset(Node, Node),
    /// All connections of a node break and connects to it are refused, as if its process had ended; it lives: forged
    /// evidence, all of it.
    Forge(Node),
    /// Connections from the first to the second end one way only.
    HalfClose(Node, Node),
    /// A message from the first to the second arrives half, and the connection breaks.
    Truncate(Node, Node),
    /// Clients cannot reach this node; its peers can.
    HideFromClients(Node),
    /// What a node answers to clients is lost; what they ask arrives.
    LostReplies(Node),
    /// What a node answers to clients is late by this long; what they ask is in time.
    LateReplies(Node, Duration),
    /// Every message, also of clients, takes up to this long.
    Slow(Duration),
    /// Links of this node carry so many bytes per second.
    Narrow(Node, u64),
    /// A node's disk answers no sync until it ends.
    DiskStall(Node),
    /// A node's disk has no room for more until it ends.
    DiskFull(Node),
    /// The next sync of a node's disk fails, and what it should have made durable is gone.
    FsyncFails(Node),
    /// A node is down, and a bit of the state of one of its replicas is another one when it comes back.
    CorruptState(Node),
    /// So many further clients appear at once and go again.
    ClientStorm(u32),
    /// A node is down, and the others checkpoint and purge meanwhile, so that it needs snapshots.
    PurgeWhileDown(Node),
    /// A node's wall clock jumps by so many milliseconds.
    ClockJump(Node, i64),
}

/// A fault with its time. Both times are whole milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since faults began.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    pub fault: Fault,
}

impl Step {
    /// A step by its milliseconds.
    #[must_use]
    pub fn of(at_ms: u64, lasts_ms: u64, fault: Fault) -> Self {
        Self {
            at: Duration::from_millis(at_ms),
            lasts: Duration::from_millis(lasts_ms),
            fault,
        }
    }
}
