//! Draws whose results depend on the stream cipher alone, so that a new release of a random library changes nothing.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The random choices of one patient.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The choices of patient `index` in the population of `seed`.
    pub(super) fn new(seed: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut stream = ChaCha8Rng::from_seed(key);
        stream.set_stream(index);
        Self(stream)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        // Multiply and shift: the bias is below one in four billion times the bound.
        let product = u64::from(self.0.next_u32()) * u64::from(bound);
        u32::try_from(product >> 32).unwrap_or(0)
    }

    /// A number in `first..=last`.
    pub(super) fn between(&mut self, first: u32, last: u32) -> u32 {
        first + self.below(last - first + 1)
    }

    /// True in `per_mille` of 1,000 cases.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < per_mille
    }

    /// One item of a list that is not empty.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        let bound = u32::try_from(items.len()).unwrap_or(u32::MAX);
        items[usize::try_from(self.below(bound)).unwrap_or(0)]
    }

    /// The place in a table of weights that a draw over their sum lands in.
    pub(super) fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (at, &weight) in weights.iter().enumerate() {
            if left < weight {
                return at;
            }
            left -= weight;
        }
        0
    }
}
