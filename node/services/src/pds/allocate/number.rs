//! Draws NHS Numbers that are never given to people: those that begin with 9, without 9000000xxx, which test systems use.

use spine_proto::ids::NhsNumber;

/// The first nine digits: from, and how many.
const FIRST_STEM: u64 = 900_000_100;
const STEMS: u64 = 1_000_000_000 - FIRST_STEM;

/// A number, as random as the entropy.
pub(super) fn draw(entropy: &[u8; 32]) -> NhsNumber {
    let [a, b, c, d, e, f, g, h, ..] = *entropy;
    let mut stem = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % STEMS;
    loop {
        // One stem in eleven has no check digit; two neighbours never lack it both, as the weight of the last is 2.
        if let Some(number) = NhsNumber::from_stem(FIRST_STEM + stem) {
            return number;
        }
        stem = (stem + 1) % STEMS;
    }
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn drawn_numbers_are_valid_and_of_nobody() {
        for seed in 0..2_000_u64 {
            let mut entropy = [0; 32];
            entropy[..8].copy_from_slice(&(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
            let number = draw(&entropy).expose();
            assert!(
                number.starts_with('9') && !number.starts_with("9000000"),
                "{number}"
            );
        }
        let last = 899_999_899_u64.to_le_bytes();
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&last);
        assert!(draw(&entropy).expose().starts_with('9'));
    }
}
