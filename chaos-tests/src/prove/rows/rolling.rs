//! What the rows about rolls of all nodes share.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::support::SHARDS;
use crate::gap::{RollError, Shared};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, RowError};

/// Callers of a cluster that is rolled.
pub(super) const CLIENTS: usize = 64;
/// The goal of the longest call of a restart, ms, and the share of it that is the gate.
pub(super) const LONGEST_MS: f64 = 50.0;
pub(super) const GATE: f64 = 1.7;

/// Three nodes.
pub(super) fn options(context: &Context) -> Options {
    Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    }
}

/// For whoever rolls it and whoever hurts it.
pub(super) fn shared(cluster: Cluster, context: &Context) -> Shared {
    Arc::new(Mutex::new(cluster.noted_in(context.journal.clone())))
}

/// Why the rolls ended early, and where the nodes' files are kept.
pub(super) async fn kept(cluster: &Shared, error: &RollError) -> RowError {
    let mut cluster = cluster.lock().await;
    cluster.keep_files();
    let kept = cluster.directory().display();
    RowError::because(format!("{error}; the nodes' files are kept in {kept}"))
}
