//! Chained streams: every append moves the stream's head, so that a missing or changed row shows.

use bytes::Bytes;

use crate::frame;
use crate::limits::APPEND_POSITION_BYTES;
use crate::store::{Key, Record};

/// Schema number of a head row; its value is the head.
pub const HEAD_SCHEMA: u32 = 1;
/// Bytes of a head.
pub const HEAD_BYTES: usize = 32;

/// The hash over everything appended so far.
pub type Head = [u8; HEAD_BYTES];

/// The head of a stream without rows.
pub const EMPTY: Head = [0; HEAD_BYTES];

/// Where a chained stream keeps its head: behind every row that the stream can have.
#[must_use]
pub fn head_key(stream: &[u8]) -> Key {
    [stream, &[0xff; APPEND_POSITION_BYTES]].concat().into()
}

/// The head after a row with this key and value frame: BLAKE3 of head, length of the key, key, frame.
#[must_use]
pub fn next(head: &Head, key: &[u8], frame: &[u8]) -> Head {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    hasher.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(key);
    hasher.update(frame);
    *hasher.finalize().as_bytes()
}

/// The head in a stream's head row.
#[must_use]
pub fn head_of(row: Option<&Record>) -> Head {
    let Some(row) = row else { return EMPTY };
    let head = frame::decode(&row.value)
        .ok()
        .and_then(|value| Head::try_from(value.as_ref()).ok());
    // Not a head: someone wrote over it. The chain goes on from there and can never verify again.
    head.unwrap_or_else(|| *blake3::hash(&row.value).as_bytes())
}

/// The value of a head row.
#[must_use]
pub(crate) fn head_value(head: &Head) -> Bytes {
    frame::encode(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_moves_the_head() {
        let head = next(&EMPTY, b"ab", b"c");
        assert_ne!(head, next(&EMPTY, b"a", b"bc"));
        assert_ne!(head, next(&head, b"ab", b"c"));
        assert_ne!(head, next(&EMPTY, b"ab", b"d"));
    }

    #[test]
    fn an_overwritten_head_is_no_head() {
        let row = |value: Bytes| Record {
            schema: HEAD_SCHEMA,
            revision: 1,
            value,
        };
        assert_eq!(head_of(None), EMPTY);
        assert_eq!(head_of(Some(&row(head_value(&[7; 32])))), [7; 32]);
        assert_ne!(head_of(Some(&row(frame::encode(b"short")))), EMPTY);
        assert_ne!(head_of(Some(&row(Bytes::new()))), EMPTY);
    }
}
