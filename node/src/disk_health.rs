//! Judges the disk by what the log and the file system say. Pure: the caller brings the time and what it saw.

use std::time::Duration;

use crate::fitness::Trouble;

/// A batch of the log that takes longer than this means that the disk stalls. What is left of the second within
/// which leadership must be given up is for noticing it and for handing over on a busy machine.
pub const STALL_LIMIT: Duration = Duration::from_millis(700);
/// A disk that stalled counts as healthy again after batches faster than this ...
pub const HEALTHY_BATCH: Duration = Duration::from_millis(100);
/// ... and nothing slower for this long.
pub const HEALTHY_FOR: Duration = Duration::from_secs(2);

/// What was seen in one look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// For how long the log has been at one batch.
    pub busy: Duration,
    /// What the slowest batch since the last look took.
    pub slowest: Duration,
    /// A probe was answered since the last look.
    pub probed: bool,
    /// The log waits for room.
    pub log_waits: bool,
    /// Free space; `None` where the disk does not say.
    pub free_bytes: Option<u64>,
}

/// The verdict, and what it rests on.
#[derive(Clone, Debug)]
pub struct DiskHealth {
    watermark_bytes: u64,
    full: bool,
    /// Not even what consensus itself needs is written any more.
    exhausted: bool,
    stalled: bool,
    /// Since when nothing slow was seen of a disk that had stalled.
    calm_since: Option<Duration>,
    /// Probes answered since then.
    probed: bool,
}

impl DiskHealth {
    /// A healthy disk. Below `watermark_bytes` of free space it counts as full; 0 is never reached.
    #[must_use]
    pub fn new(watermark_bytes: u64) -> Self {
        Self {
            watermark_bytes,
            full: false,
            exhausted: false,
            stalled: false,
            calm_since: None,
            probed: false,
        }
    }

    /// Takes in a look at `now`, which counts from any fixed moment, and says what is wrong.
    pub fn look(&mut self, now: Duration, seen: &Seen) -> Option<Trouble> {
        self.look_for_room(seen);
        self.look_for_stalls(now, seen);
        match (self.full, self.stalled) {
            (true, _) => Some(Trouble::DiskFull),
            (false, true) => Some(Trouble::DiskStalled),
            (false, false) => None,
        }
    }

    /// What of a trouble keeps this node from leading and writing now. A disk that stalled and moves again is doubted for
    /// a while; where no other node is better, to wait for the end of that helps nobody.
    #[must_use]
    pub fn holds_back(
        trouble: Option<Trouble>,
        seen: &Seen,
        is_another_fit: impl FnOnce() -> bool,
    ) -> Option<Trouble> {
        let moves = seen.busy < STALL_LIMIT;
        trouble.filter(|trouble| *trouble != Trouble::DiskStalled || !moves || is_another_fit())
    }

    fn look_for_room(&mut self, seen: &Seen) {
        // A quarter more before it counts as room, or a node at the limit would come and go.
        let wanted = if self.full {
            self.watermark_bytes.saturating_add(self.watermark_bytes / 4)
        } else {
            self.watermark_bytes
        };
        let low = seen.free_bytes.map_or(self.full, |free| free < wanted);
        self.full = low || seen.log_waits;
        let reserve = self.watermark_bytes / 2;
        let used_up = seen.free_bytes.map_or(self.exhausted, |free| free < reserve);
        self.exhausted = used_up || seen.log_waits;
    }

    /// Whether the log takes no more entries of leaders elsewhere. The upper half of the room below the watermark is
    /// for entries under way and for the first ones of new leaders, without which nobody could read.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    fn look_for_stalls(&mut self, now: Duration, seen: &Seen) {
        // A writer that waits for room is not stalled.
        let busy = if seen.log_waits { Duration::ZERO } else { seen.busy };
        if busy >= STALL_LIMIT {
            self.stalled = true;
        }
        if !self.stalled {
            return;
        }
        if busy >= HEALTHY_BATCH || seen.slowest >= HEALTHY_BATCH {
            self.calm_since = None;
            self.probed = false;
            return;
        }
        self.probed |= seen.probed;
        let since = *self.calm_since.get_or_insert(now);
        if self.probed && now.saturating_sub(since) >= HEALTHY_FOR {
            self.stalled = false;
            self.calm_since = None;
            self.probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn busy(busy_ms: u64) -> Seen {
        Seen {
            busy: ms(busy_ms),
            free_bytes: Some(100 * MIB),
            ..Seen::default()
        }
    }

    fn free(bytes: u64) -> Seen {
        Seen {
            free_bytes: Some(bytes),
            ..Seen::default()
        }
    }

    #[test]
    fn a_slow_batch_is_no_stall_and_a_hanging_one_is() {
        let mut disk = DiskHealth::new(MIB);
        assert_eq!(disk.look(ms(0), &busy(699)), None);
        assert_eq!(disk.look(ms(50), &busy(700)), Some(Trouble::DiskStalled));
    }

    #[test]
    fn a_disk_that_stalled_is_trusted_after_two_quick_seconds_and_a_probe() {
        let mut disk = DiskHealth::new(MIB);
        disk.look(ms(0), &busy(1_000));
        let probed = Seen {
            probed: true,
            ..busy(0)
        };
        assert_eq!(disk.look(ms(100), &busy(0)), Some(Trouble::DiskStalled));
        let slow = Seen {
            slowest: ms(150),
            ..probed
        };
        assert_eq!(disk.look(ms(1_900), &slow), Some(Trouble::DiskStalled));
        for at in 2_000..4_000 {
            assert_eq!(disk.look(ms(at), &probed), Some(Trouble::DiskStalled), "at {at}");
        }
        assert_eq!(disk.look(ms(4_000), &probed), None);
    }

    #[test]
    fn silence_alone_does_not_heal_a_disk() {
        let mut disk = DiskHealth::new(MIB);
        disk.look(ms(0), &busy(1_000));
        for at in 1..100 {
            assert_eq!(disk.look(ms(at * 100), &busy(0)), Some(Trouble::DiskStalled));
        }
    }

    #[test]
    fn a_disk_that_moves_again_serves_where_no_other_node_is_better() {
        let held = |trouble, seen: &Seen, other: bool| DiskHealth::holds_back(Some(trouble), seen, || other);
        let stalled = Some(Trouble::DiskStalled);
        assert_eq!(held(Trouble::DiskStalled, &busy(0), true), stalled);
        assert_eq!(held(Trouble::DiskStalled, &busy(0), false), None);
        assert_eq!(held(Trouble::DiskStalled, &busy(700), false), stalled, "it hangs");
        assert_eq!(
            held(Trouble::DiskFull, &busy(0), false),
            Some(Trouble::DiskFull),
            "room does not come by trying"
        );
        assert_eq!(DiskHealth::holds_back(None, &busy(0), || false), None);
    }

    #[test]
    fn a_disk_is_full_below_the_watermark_until_a_quarter_more_is_free() {
        let mut disk = DiskHealth::new(100 * MIB);
        assert_eq!(disk.look(ms(0), &free(100 * MIB)), None);
        assert_eq!(disk.look(ms(1), &free(100 * MIB - 1)), Some(Trouble::DiskFull));
        assert!(!disk.is_exhausted());
        disk.look(ms(1), &free(50 * MIB - 1));
        assert!(disk.is_exhausted());
        assert_eq!(disk.look(ms(2), &free(110 * MIB)), Some(Trouble::DiskFull));
        assert!(!disk.is_exhausted());
        let unknown = Seen::default();
        assert_eq!(disk.look(ms(3), &unknown), Some(Trouble::DiskFull));
        assert_eq!(disk.look(ms(4), &free(125 * MIB)), None);
        assert_eq!(disk.look(ms(5), &unknown), None);
    }

    #[test]
    fn a_log_that_waits_for_room_is_full_and_not_stalled() {
        let mut disk = DiskHealth::new(0);
        let waits = Seen {
            log_waits: true,
            ..busy(5_000)
        };
        assert_eq!(disk.look(ms(0), &waits), Some(Trouble::DiskFull));
        assert_eq!(disk.look(ms(50), &busy(0)), None);
    }
}
