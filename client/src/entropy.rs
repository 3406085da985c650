//! The client's randomness: request ids and jitter, all from one seed.

use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// Bytes of randomness in a request id: two clients never choose the same.
const REQUEST_ID_RANDOM_BYTES: usize = 16;

/// Seeded randomness shared by all calls of one client.
pub(crate) struct Entropy {
    rng: Mutex<ChaCha12Rng>,
}

impl Entropy {
    /// The same seed gives the same ids again: for simulations only.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self {
            rng: Mutex::new(ChaCha12Rng::seed_from_u64(seed)),
        }
    }

    pub(crate) fn from_system() -> Self {
        Self {
            rng: Mutex::new(rand::make_rng()),
        }
    }

    /// 32 hexadecimal digits.
    pub(crate) fn request_id(&self) -> String {
        let mut bytes = [0_u8; REQUEST_ID_RANDOM_BYTES];
        self.rng.lock().fill_bytes(&mut bytes);
        bytes.iter().fold(
            String::with_capacity(2 * REQUEST_ID_RANDOM_BYTES),
            |mut id, byte| {
                let _ = write!(id, "{byte:02x}");
                id
            },
        )
    }

    /// Uniform between `low` and `high`, both included.
    pub(crate) fn between(&self, low: Duration, high: Duration) -> Duration {
        let low_us = u64::try_from(low.as_micros()).unwrap_or(u64::MAX);
        let high_us = u64::try_from(high.as_micros()).unwrap_or(u64::MAX);
        if low_us >= high_us {
            return low;
        }
        Duration::from_micros(self.rng.lock().random_range(low_us..=high_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b, c) = (
            Entropy::from_seed(7),
            Entropy::from_seed(7),
            Entropy::from_seed(8),
        );
        let first = a.request_id();
        assert_eq!(first.len(), 32);
        assert_eq!(first, b.request_id());
        assert_ne!(first, a.request_id());
        assert_ne!(first, c.request_id());
        assert_ne!(
            Entropy::from_system().request_id(),
            Entropy::from_system().request_id()
        );
    }
}
