//! Keys: family 1, slot 2 (big endian), subject 16, kind 1, suffix. Byte order is tuple order.
//!
//! The subject is the routing key under a keyed permutation of one AES block, so that no NHS Number stands in keys,
//! logs or snapshots, and two routing keys never meet.

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use bytes::{BufMut as _, Bytes, BytesMut};
use spine_proto::ids::{RoutingKey, Slot};

/// Bytes before the suffix.
pub const PREFIX_BYTES: usize = 1 + 2 + SUBJECT_BYTES + 1;
/// Bytes of a subject.
pub const SUBJECT_BYTES: usize = 16;

/// What a key belongs to. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Rows of the shard itself.
    System = 0x01,
    /// Rows of the meta group.
    Meta = 0x02,
    /// Request ids.
    Request = 0x03,
    /// The generic records API.
    Records = 0x10,
    /// Personal Demographics Service.
    Pds = 0x11,
    /// Append streams and their heads.
    Stream = 0x20,
}

impl Family {
    /// The family of an encoded key.
    #[must_use]
    pub fn of(key: &[u8]) -> Option<Self> {
        match key.first()? {
            0x01 => Some(Self::System),
            0x02 => Some(Self::Meta),
            0x03 => Some(Self::Request),
            0x10 => Some(Self::Records),
            0x11 => Some(Self::Pds),
            0x20 => Some(Self::Stream),
            _ => None,
        }
    }

    /// Whether keys of this family carry a slot that the shard must own.
    #[must_use]
    pub fn is_slotted(self) -> bool {
        matches!(self, Self::Records | Self::Pds | Self::Stream)
    }
}

/// The cluster's key for subjects.
#[derive(Clone)]
pub struct SubjectKey(Aes128);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(•••)")
    }
}

impl SubjectKey {
    /// From 16 bytes.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self(Aes128::new(&key.into()))
    }

    /// The subject of a routing key: injective, and meaningless without the key.
    #[must_use]
    pub fn subject(&self, routing_key: &RoutingKey) -> [u8; SUBJECT_BYTES] {
        let text = routing_key.expose().as_bytes();
        let mut block = [0; SUBJECT_BYTES];
        block[0] = u8::try_from(text.len()).expect("a routing key has at most 15 bytes");
        block[1..=text.len()].copy_from_slice(text);
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }
}

/// The key of one record of a routing key.
#[must_use]
pub fn encode(
    family: Family,
    subject_key: &SubjectKey,
    routing_key: &RoutingKey,
    kind: u8,
    suffix: &[u8],
) -> Bytes {
    let mut key = BytesMut::with_capacity(PREFIX_BYTES + suffix.len());
    key.put_u8(family as u8);
    key.put_u16(routing_key.slot().get());
    key.put_slice(&subject_key.subject(routing_key));
    key.put_u8(kind);
    key.put_slice(suffix);
    key.freeze()
}

/// The slot inside a slotted key.
#[must_use]
pub fn slot_of(key: &[u8]) -> Option<Slot> {
    let bytes: [u8; 2] = key.get(1..3)?.try_into().ok()?;
    Slot::new(u16::from_be_bytes(bytes)).ok()
}

/// The part of a slotted key behind its prefix.
#[must_use]
pub fn suffix_of(key: &Bytes) -> Option<Bytes> {
    (key.len() >= PREFIX_BYTES).then(|| key.slice(PREFIX_BYTES..))
}

/// The smallest key above every key that begins with `prefix`; empty where there is none.
#[must_use]
pub fn successor(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end.into()
}

/// The smallest key above `key`.
#[must_use]
pub fn just_after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// A row of the shard itself.
#[must_use]
pub fn system(name: &[u8]) -> Bytes {
    [&[Family::System as u8], name].concat().into()
}

/// A row of the meta group.
#[must_use]
pub fn meta(name: &[u8]) -> Bytes {
    [&[Family::Meta as u8], name].concat().into()
}

/// The row that says which slots a shard owns.
#[must_use]
pub fn slots_owned() -> Bytes {
    system(b"slots")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn subjects_are_injective_and_hide_the_key() {
        let subject_key = SubjectKey::new([7; 16]);
        let mut seen = BTreeSet::new();
        for i in 0..2_000 {
            let key = RoutingKey::parse(&format!("k{i}")).unwrap();
            let subject = subject_key.subject(&key);
            assert!(seen.insert(subject));
            let encoded = encode(Family::Records, &subject_key, &key, 1, b"s");
            assert!(
                !encoded
                    .windows(key.expose().len())
                    .any(|part| part == key.expose().as_bytes())
            );
            assert_eq!(slot_of(&encoded), Some(key.slot()));
            assert_eq!(suffix_of(&encoded).unwrap(), b"s"[..]);
        }
    }

    #[test]
    fn another_cluster_key_gives_other_subjects() {
        let key = RoutingKey::parse("abc").unwrap();
        assert_ne!(
            SubjectKey::new([1; 16]).subject(&key),
            SubjectKey::new([2; 16]).subject(&key)
        );
    }

    #[test]
    fn successor_ends_a_prefix() {
        assert_eq!(successor(b"ab"), b"ac"[..]);
        assert_eq!(successor(&[1, 0xff]), [2][..]);
        assert_eq!(successor(&[0xff, 0xff]), b""[..]);
        assert!(just_after(b"a") > b"a"[..] && just_after(b"a") < b"a\x01"[..]);
    }
}
