//! Seeds, split so that one part's draws do not move another's.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A generator of its own for each part of a run.
#[must_use]
pub fn seeded(seed: u64, part: &str) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(part.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
