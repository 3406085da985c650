//! A keyed permutation of `0..size`: a counter goes in, an order nobody sees through comes out, nothing repeats.
//!
//! A balanced Feistel network over the next even number of bits, walked until it lands inside the domain: the network
//! is a bijection of the larger domain, so the walk is a bijection of the smaller one. Not for secrets.

/// Rounds of the network; four make every output bit depend on every input bit.
const ROUNDS: usize = 6;

/// A permutation of `0..size`, chosen by a key.
pub(super) struct Permutation {
    size: u64,
    half_bits: u32,
    round_keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..size` that `key` chooses. `size` is at least 1 and at most 2^62.
    pub(super) fn new(size: u64, key: u64) -> Self {
        let bits = (u64::BITS - size.saturating_sub(1).leading_zeros()).max(2);
        let mut state = key;
        let round_keys = [(); ROUNDS].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        });
        Self {
            size,
            half_bits: bits.div_ceil(2),
            round_keys,
        }
    }

    /// Where `index` goes; `index` is below the size.
    pub(super) fn at(&self, index: u64) -> u64 {
        let mut value = self.network(index);
        while value >= self.size {
            value = self.network(value);
        }
        value
    }

    fn network(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.round_keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::Permutation;

    #[test]
    fn small_domains_are_permuted() {
        for size in 1..300 {
            for key in [0, 1, 42, u64::MAX] {
                let permutation = Permutation::new(size, key);
                let mut seen: Vec<u64> = (0..size).map(|index| permutation.at(index)).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..size), "size {size}, key {key}");
            }
        }
    }

    #[test]
    fn keys_choose_different_orders() {
        let (one, two) = (Permutation::new(1_000, 1), Permutation::new(1_000, 2));
        let equal = (0..1_000).filter(|&index| one.at(index) == two.at(index)).count();
        assert!(equal < 20, "{equal} of 1,000 in the same place");
    }
}
