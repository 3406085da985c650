//! When a replica's log is cut, and how far. Pure.

/// Entries behind the newest checkpoint, or kept beyond what must be kept, that are worth the work.
pub const PURGE_AFTER_ENTRIES: u64 = 16_384;

/// How far things have come in one group, as indexes of its log.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The state is durable up to here.
    pub durable: u64,
    /// Consensus knows of a snapshot up to here; after a restart that is the state it found.
    pub snapshot: u64,
    /// Everything up to here is gone.
    pub purged: u64,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing yet.
    Nothing,
    /// A new snapshot, behind which consensus purges by itself.
    Snapshot,
    /// A purge up to here, which the snapshot covers: nobody purges behind a snapshot that a restart has found.
    PurgeTo(u64),
}

/// Decides for a group that keeps `keep` entries behind its snapshot for followers that are a little late.
#[must_use]
pub fn wish(progress: Progress, keep: u64) -> Wish {
    let Progress {
        durable,
        snapshot,
        purged,
    } = progress;
    if durable > snapshot.max(purged).saturating_add(PURGE_AFTER_ENTRIES) {
        return Wish::Snapshot;
    }
    let upto = snapshot.saturating_sub(keep);
    if upto > purged.saturating_add(PURGE_AFTER_ENTRIES) {
        Wish::PurgeTo(upto)
    } else {
        Wish::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: u64 = 10_000;

    fn at(durable: u64, snapshot: u64, purged: u64) -> Wish {
        let progress = Progress {
            durable,
            snapshot,
            purged,
        };
        wish(progress, KEEP)
    }

    #[test]
    fn a_snapshot_is_wished_for_after_enough_entries() {
        assert_eq!(at(0, 0, 0), Wish::Nothing);
        assert_eq!(at(16_384, 0, 0), Wish::Nothing);
        assert_eq!(at(16_385, 0, 0), Wish::Snapshot);
        assert_eq!(at(50_000, 40_000, 30_000), Wish::Nothing);
    }

    /// A node that restarts again and again before enough entries have come since must still let its log go.
    #[test]
    fn what_a_restart_finds_is_purged_without_a_new_snapshot() {
        assert_eq!(at(400_000, 400_000, 6_000), Wish::PurgeTo(390_000));
        assert_eq!(at(400_000, 400_000, 390_000), Wish::Nothing);
        assert_eq!(at(KEEP, KEEP, 0), Wish::Nothing);
    }
}
