//! Waits between attempts: they double, and a seed spreads them.

use std::time::Duration;

/// Waits of one connection that is to be made.
pub(crate) struct Backoff {
    state: u64,
    failures: u32,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(seed: u64, min: Duration, max: Duration) -> Self {
        Self {
            state: seed,
            failures: 0,
            min,
            max,
        }
    }

    /// The next wait, between half and the whole of a time that doubles up to the maximum.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = self.min.saturating_mul(1u32 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.max);
        let half = whole / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(self.random() % micros.max(1))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_maximum_and_follow_the_seed() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(1));
        let waits = |seed| {
            let mut backoff = Backoff::new(seed, min, max);
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        for (n, wait) in waits(3).into_iter().enumerate() {
            let whole = (min * (1 << n)).min(max);
            assert!(wait >= whole / 2 && wait <= whole, "{n}: {wait:?}");
        }
    }
}
