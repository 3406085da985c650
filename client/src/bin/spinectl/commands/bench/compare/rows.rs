//! What is compared, and what is claimed of it.

use super::super::work::Kind;
use crate::args::{Load, Mix, Target};

/// Where calls go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the leader: ours learns the leader of each shard, etcd's callers begin at its leader.
    Leader,
    /// To any node, as behind a load balancer.
    Any,
}

/// Which figure the ratio is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// More operations per second.
    Throughput,
    /// A smaller median latency.
    Latency,
}

pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) mix: Mix,
    pub(super) value_bytes: usize,
    pub(super) clients: usize,
    pub(super) route: Route,
    pub(super) better: Better,
    /// How many times better than etcd; `None`: published, not claimed.
    pub(super) target: Option<f64>,
}

impl Row {
    const fn of(id: &'static str, mix: Mix, value_bytes: usize, clients: usize, target: f64) -> Self {
        Self {
            id,
            mix,
            value_bytes,
            clients,
            route: Route::Leader,
            better: Better::Throughput,
            target: Some(target),
        }
    }

    const fn any(id: &'static str, mix: Mix) -> Self {
        Self {
            route: Route::Any,
            target: None,
            ..Self::of(id, mix, 256, 64, 0.0)
        }
    }

    /// As a measurement of its own.
    pub(super) fn load(&self, keys: u32, seconds: u64, seed: u64, target: Target) -> Load {
        Load {
            clients: self.clients,
            seconds,
            warm_up: 1,
            rate: None,
            value_bytes: self.value_bytes,
            mix: self.mix,
            keys,
            filled: false,
            connections: connections(target),
            seed,
            target,
        }
    }

    /// The kind of its operations.
    pub(super) fn work(&self) -> &'static str {
        super::super::work::kinds(self.mix)
            .first()
            .map_or("", |kind| Kind::name(*kind))
    }
}

/// Each store as it does best here.
const fn connections(target: Target) -> usize {
    match target {
        Target::Spine => 1,
        Target::Etcd => 12,
    }
}

pub(super) const ROWS: &[Row] = &[
    Row::of("put-256B-c64", Mix::Put, 256, 64, 5.0),
    Row::of("put-256B-c256", Mix::Put, 256, 256, 5.0),
    Row::of("put-2KiB-c64", Mix::Put, 2_048, 64, 5.0),
    Row::of("put-2KiB-c256", Mix::Put, 2_048, 256, 5.0),
    Row::of("cas-256B-c64", Mix::Cas, 256, 64, 8.0),
    Row {
        better: Better::Latency,
        // At most 0.6 of its latency.
        ..Row::of("put-256B-c1", Mix::Put, 256, 1, 1.0 / 0.6)
    },
    Row::of("get-256B-c64", Mix::Get, 256, 64, 5.0),
    Row::of("get-256B-c256", Mix::Get, 256, 256, 5.0),
    Row::any("put-any-256B-c64", Mix::Put),
    Row::any("get-any-256B-c64", Mix::Get),
];
