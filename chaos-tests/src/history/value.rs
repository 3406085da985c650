//! Unique values as bytes that show damage.

use serde::{Deserialize, Serialize};

/// Length of the smallest encoded value, bytes.
pub const VALUE_BYTES_MIN: usize = 16;
const MAGIC: &[u8; 4] = b"spv1";

/// The number of one written value; unique in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub u64);

impl Value {
    /// What a read of bytes that no client ever wrote is recorded as: no such value is ever written, so
    /// every checker calls it a phantom.
    pub const FOREIGN: Self = Self(u64::MAX);

    /// The bytes to store: magic, number, checksum, then filler up to `len` bytes.
    #[must_use]
    pub fn encode(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(VALUE_BYTES_MIN));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.0.to_be_bytes());
        let filler = fillers(self.0).take(len.saturating_sub(VALUE_BYTES_MIN));
        let filler: Vec<u8> = filler.collect();
        bytes.extend_from_slice(&checksum(self.0, &filler));
        bytes.extend_from_slice(&filler);
        bytes
    }

    /// The value in stored bytes; [`Value::FOREIGN`] if they are not exactly what was written.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self::parse(bytes).unwrap_or(Self::FOREIGN)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (sum, filler) = rest.split_first_chunk::<4>()?;
        let number = u64::from_be_bytes(*number);
        (*sum == checksum(number, filler)).then_some(Self(number))
    }
}

fn checksum(number: u64, filler: &[u8]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(filler);
    let hash = hasher.finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Bytes that compress badly, so that sizes on disk are what they seem.
fn fillers(number: u64) -> impl Iterator<Item = u8> {
    let mut state = number ^ 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_damage_shows() {
        for len in [0, 16, 17, 256] {
            let bytes = Value(42).encode(len);
            assert_eq!(bytes.len(), len.max(VALUE_BYTES_MIN));
            assert_eq!(Value::decode(&bytes), Value(42));
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert_eq!(Value::decode(&bad), Value::FOREIGN, "byte {at} of {len}");
            }
        }
        assert_eq!(Value::decode(&Value(7).encode(64)[..40]), Value::FOREIGN);
        assert_eq!(Value::decode(b""), Value::FOREIGN);
    }
}
