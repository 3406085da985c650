//! Labels. Their values come from fixed lists in the code or are numbers of shards and nodes.

use prometheus_client::encoding::EncodeLabelSet;

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// From the catalogue of operations, for example `pds.update`; `unknown` for a name that is not in it.
    pub operation: &'static str,
    /// `ok`, `rejected`, or the error kind.
    pub outcome: &'static str,
}

/// Labels of an answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpAnswer {
    /// `plain` or `pds`.
    pub dialect: &'static str,
    /// For example 200.
    pub status: u16,
}

/// Label of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    pub operation: &'static str,
}

/// Label of a shard; 0 is the meta group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Shard {
    pub shard: u32,
}

/// Label of what is wrong with the disk: `disk_stalled` or `disk_full`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DiskTrouble {
    pub trouble: &'static str,
}

/// Label of a try to run a stopped replica again: `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Repair {
    pub outcome: &'static str,
}

/// Label of a reading of a replica's whole state: `sound`, `damaged`, or `interrupted` by a checkpoint or snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Scrub {
    pub outcome: &'static str,
}

/// Label of what became of a digest that was not another replica's: `noticed`, then `convicted`, `acquitted` or
/// `no_majority`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Divergence {
    pub verdict: &'static str,
}

/// Label of an election or transfer that this node began: `dead_leader`, `no_leader` or
/// `preferred_leader`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Election {
    pub reason: &'static str,
}

/// Labels of a change of leadership: `took-over` or `handed-over`, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeaderChange {
    pub change: &'static str,
    pub reason: &'static str,
}

/// Label of another node: its node id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Peer {
    pub peer: u64,
}

/// Labels of what runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) release: &'static str,
    pub(super) commit: &'static str,
}
