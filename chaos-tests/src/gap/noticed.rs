//! What clients noticed of each event, and which events say something of the cluster: those beside which the machine's
//! own disk was slow are set aside, and told apart. Nothing is taken off a time.

use std::time::Duration;

use super::summary::Summary;

/// What clients noticed of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noticed {
    /// The longest call.
    pub(super) gap: Duration,
    /// When it ended, after the event.
    pub(super) ended: Duration,
    /// The longest call to a shard that the event should not touch.
    pub(super) other: Duration,
    /// The slowest sync of the machine's disk meanwhile.
    pub(super) disk: Duration,
}

impl Noticed {
    /// Whether it says something of the cluster.
    pub(super) fn is_sound(&self, disk_limit: Option<Duration>) -> bool {
        disk_limit.is_none_or(|limit| self.disk <= limit)
    }

    /// Gap, end and sync, ms.
    pub(super) fn in_ms(&self) -> (u64, u64, u64) {
        (ms(self.gap), ms(self.ended), ms(self.disk))
    }
}

/// Gaps of events beside a sound disk, and of the others.
pub(super) fn summaries(all: &[Noticed], disk_limit: Option<Duration>) -> (Summary, Summary) {
    let (sound, aside): (Vec<_>, Vec<_>) = all
        .iter()
        .copied()
        .partition(|noticed| noticed.is_sound(disk_limit));
    (
        of(&sound, |noticed| noticed.gap),
        of(&aside, |noticed| noticed.gap),
    )
}

pub(super) fn of(all: &[Noticed], what: impl Fn(&Noticed) -> Duration) -> Summary {
    Summary::of(&all.iter().map(what).collect::<Vec<_>>())
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_disk_sets_an_event_aside() {
        let event = |gap, disk| Noticed {
            gap: Duration::from_millis(gap),
            disk: Duration::from_millis(disk),
            ..Noticed::default()
        };
        let all = [event(30, 2), event(900, 25), event(40, 26)];
        let (sound, aside) = summaries(&all, Some(Duration::from_millis(25)));
        assert_eq!(
            (sound.faults, sound.max_ms),
            (2, 900.0),
            "a long gap alone counts"
        );
        assert_eq!((aside.faults, aside.max_ms), (1, 40.0));
        let (sound, aside) = summaries(&all, None);
        assert_eq!((sound.faults, aside.faults), (3, 0));
    }
}
