//! Randomness with one source per node, so that a simulator can fix it.

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// The node's random numbers. Not for keys or tokens.
pub struct Entropy(Mutex<SmallRng>);

impl Entropy {
    /// Repeats itself for one seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// 32 fresh bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0.lock().random()
    }

    /// From 0 to 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.0.lock().random()
    }

    /// A fresh number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.lock().random()
    }
}
