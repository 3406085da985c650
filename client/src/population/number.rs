//! NHS Numbers that are valid and never issued to people: a permutation of a counter, so that none repeats.
//!
//! The first [`FROM_TEST_BLOCK`] come from the 999 block, the others from 900 to 998 without 9000000xxx, which other
//! test systems use. Numbers are ranked among the *valid* ones only, so no draw is ever thrown away.

use super::permutation::Permutation;

/// How many patients get a number of the 999 block, which holds 909,091 valid ones.
pub(super) const FROM_TEST_BLOCK: u64 = 900_000;
/// Digits before the check digit.
const DIGITS: usize = 9;
/// No check digit exists where the weighted sum leaves this remainder.
const REMAINDER_WITHOUT_CHECK_DIGIT: usize = 1;
/// Modulus of the check.
const MODULUS: usize = 11;

/// Gives the n-th synthetic patient its NHS Number.
pub(super) struct NumberSequence {
    ranks: Ranks,
    test_block: Permutation,
    other_blocks: Permutation,
    /// Rank of the first number after 9000000xxx among all that begin with 9.
    first_other: u64,
    capacity: u64,
}

impl NumberSequence {
    /// The order of numbers that `seed` chooses.
    pub(super) fn new(seed: u64) -> Self {
        let ranks = Ranks::new();
        let test_count = ranks.count(&[9, 9, 9]);
        let first_other = ranks.count(&[9, 0, 0, 0, 0, 0, 0]);
        let other_count = ranks.count(&[9]) - test_count - first_other;
        Self {
            ranks,
            test_block: Permutation::new(test_count, seed),
            other_blocks: Permutation::new(other_count, !seed),
            first_other,
            capacity: FROM_TEST_BLOCK + other_count,
        }
    }

    /// How many numbers there are.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The number of patient `index`, which is below the capacity.
    pub(super) fn at(&self, index: u64) -> [u8; 10] {
        if index < FROM_TEST_BLOCK {
            self.ranks.number(&[9, 9, 9], self.test_block.at(index))
        } else {
            let rank = self.other_blocks.at(index - FROM_TEST_BLOCK);
            self.ranks.number(&[9], self.first_other + rank)
        }
    }
}

/// Ranks valid numbers: how many ways there are to finish a beginning.
struct Ranks {
    /// `[digits already there][remainder of their weighted sum]` to the count of valid endings.
    endings: [[u64; MODULUS]; DIGITS + 1],
}

impl Ranks {
    fn new() -> Self {
        let mut endings = [[0; MODULUS]; DIGITS + 1];
        for (remainder, count) in endings[DIGITS].iter_mut().enumerate() {
            *count = u64::from(remainder != REMAINDER_WITHOUT_CHECK_DIGIT);
        }
        for position in (0..DIGITS).rev() {
            for remainder in 0..MODULUS {
                endings[position][remainder] = (0..10)
                    .map(|digit| endings[position + 1][step(remainder, position, digit)])
                    .sum();
            }
        }
        Self { endings }
    }

    fn count(&self, beginning: &[u8]) -> u64 {
        self.endings[beginning.len()][remainder(beginning)]
    }

    /// The valid number of this rank among those with this beginning, in ascending order.
    fn number(&self, beginning: &[u8], mut rank: u64) -> [u8; 10] {
        let mut digits = [0; 10];
        digits[..beginning.len()].copy_from_slice(beginning);
        let mut sum = remainder(beginning);
        for (position, place) in digits.iter_mut().enumerate().take(DIGITS).skip(beginning.len()) {
            for digit in 0..10 {
                let next = step(sum, position, digit);
                let count = self.endings[position + 1][next];
                if rank < count {
                    *place = digit;
                    sum = next;
                    break;
                }
                rank -= count;
            }
        }
        digits[DIGITS] = check_digit(sum);
        digits
    }
}

fn remainder(digits: &[u8]) -> usize {
    digits
        .iter()
        .enumerate()
        .fold(0, |sum, (position, &digit)| step(sum, position, digit))
}

/// Adds one digit to a weighted sum; weights fall from 10 to 2.
fn step(sum: usize, position: usize, digit: u8) -> usize {
    (sum + (10 - position) * usize::from(digit)) % MODULUS
}

fn check_digit(sum: usize) -> u8 {
    // A remainder of 1 is never ranked, so the digit is 0 to 9.
    u8::try_from((MODULUS - sum) % MODULUS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FROM_TEST_BLOCK, NumberSequence, Ranks};

    /// The rule as the data dictionary words it, apart from the code above.
    fn is_valid(digits: &[u8; 10]) -> bool {
        let sum: u32 = (0..9)
            .map(|at| (10 - u32::try_from(at).unwrap()) * u32::from(digits[at]))
            .sum();
        let check = match 11 - sum % 11 {
            11 => 0,
            check => check,
        };
        check == u32::from(digits[9])
    }

    fn value(digits: &[u8; 10]) -> u64 {
        digits
            .iter()
            .fold(0, |value, &digit| value * 10 + u64::from(digit))
    }

    #[test]
    fn the_test_block_holds_as_many_as_the_data_dictionary_says() {
        assert_eq!(Ranks::new().count(&[9, 9, 9]), 909_091);
    }

    #[test]
    fn ranks_ascend_without_gaps() {
        let ranks = Ranks::new();
        let beginning = [9, 9, 9, 1, 2];
        let numbers: Vec<u64> = (0..ranks.count(&beginning))
            .map(|rank| value(&ranks.number(&beginning, rank)))
            .collect();
        let expected: Vec<u64> = (9_991_200_000_u64..9_991_300_000)
            .filter(|number| {
                let text = number.to_string();
                let digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
                is_valid(&digits.try_into().unwrap())
            })
            .collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn every_number_is_valid_and_never_issued() {
        for seed in [0, 7] {
            let sequence = NumberSequence::new(seed);
            let mut seen = BTreeSet::new();
            let starts = [
                0,
                FROM_TEST_BLOCK - 2_000,
                FROM_TEST_BLOCK,
                9_998_000,
                sequence.capacity() - 2_000,
            ];
            for index in starts.into_iter().flat_map(|start| start..start + 2_000) {
                let digits = sequence.at(index);
                assert!(is_valid(&digits));
                assert_eq!(digits[0], 9);
                assert_eq!(digits[..3] == [9, 9, 9], index < FROM_TEST_BLOCK);
                assert_ne!(digits[..7], [9, 0, 0, 0, 0, 0, 0]);
                assert!(seen.insert(digits));
            }
        }
    }

    #[test]
    #[ignore = "ten million numbers: cargo test --release -p spine-client --lib -- --ignored ten_million"]
    fn ten_million_numbers_never_repeat() {
        let sequence = NumberSequence::new(1);
        let mut seen = vec![0_u64; 1_000_000_000 / 64 + 1];
        for index in 0..10_000_000 {
            let digits = sequence.at(index);
            assert!(is_valid(&digits));
            let at = usize::try_from(value(&digits) - 9_000_000_000).unwrap();
            let (word, bit) = (at / 64, 1_u64 << (at % 64));
            assert_eq!(seen[word] & bit, 0, "patient {index} repeats a number");
            seen[word] |= bit;
        }
    }
}
