//! Keys: family 1, slot 2 (big endian), subject 16, kind 1, suffix. Byte order is tuple order.
//!
//! The subject is the routing key under a keyed permutation of one AES block, so that no NHS Number stands in keys,
//! logs or snapshots, and two routing keys never meet.

use std::fmt;
use std::ops::RangeInclusive;

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
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
    /// Search tokens of the Personal Demographics Service.
    PdsToken = 0x12,
    /// Who is being created, by birth date.
    PdsClaim = 0x14,
    /// Organisations, the same in every shard.
    Organisation = 0x13,
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
            0x12 => Some(Self::PdsToken),
            0x14 => Some(Self::PdsClaim),
            0x13 => Some(Self::Organisation),
            0x20 => Some(Self::Stream),
            _ => None,
        }
    }
}

/// First byte of the families that callers own; the last, 0xff, is no family.
const SLOTTED: RangeInclusive<u8> = 0x10..=0xfe;

/// Kind of the keys of [`Family::Pds`] under which the current versions of patients stand.
pub const PATIENT_KIND: u8 = 1;

/// Whether a key is that of a patient's current version.
#[must_use]
pub fn is_patient(key: &[u8]) -> bool {
    key.first() == Some(&(Family::Pds as u8)) && key.get(PREFIX_BYTES - 1) == Some(&PATIENT_KIND)
}

/// Whether a key carries a slot that its shard must own. Families that this release has no name for do too, so that
/// a new service needs no new apply.
#[must_use]
pub fn is_slotted(key: &[u8]) -> bool {
    key.first().is_some_and(|family| SLOTTED.contains(family))
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

    /// A proof that somebody with this key saw these 16 bytes, which must be a hash: nobody chooses them, so none
    /// is ever a routing key's block.
    #[must_use]
    pub fn seal(&self, hash: &[u8; SUBJECT_BYTES]) -> [u8; SUBJECT_BYTES] {
        let mut block = (*hash).into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// The routing key of a subject; `None` where it was made under another key.
    #[must_use]
    pub fn routing_key(&self, subject: &[u8; SUBJECT_BYTES]) -> Option<RoutingKey> {
        let mut block = (*subject).into();
        self.0.decrypt_block(&mut block);
        let block: [u8; SUBJECT_BYTES] = block.into();
        let text = block.get(1..=usize::from(block[0]))?;
        let rest = &block[1 + text.len()..];
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        RoutingKey::parse(std::str::from_utf8(text).ok()?).ok()
    }
}

/// The parts of a slotted key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts<'a> {
    /// First byte.
    pub family: u8,
    /// What the shard must own.
    pub slot: Slot,
    /// The routing key, permuted.
    pub subject: [u8; SUBJECT_BYTES],
    /// Kind of record within the family.
    pub kind: u8,
    /// The rest.
    pub suffix: &'a [u8],
}

/// Takes a key of a slotted family, or of a request row, apart; `None` for any other bytes.
#[must_use]
pub fn parse(key: &[u8]) -> Option<Parts<'_>> {
    let family = *key.first()?;
    if !is_slotted(key) && family != Family::Request as u8 {
        return None;
    }
    Some(Parts {
        family,
        slot: slot_of(key)?,
        subject: key.get(3..3 + SUBJECT_BYTES)?.try_into().ok()?,
        kind: *key.get(PREFIX_BYTES - 1)?,
        suffix: key.get(PREFIX_BYTES..)?,
    })
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
    from_parts(&Parts {
        family: family as u8,
        slot: routing_key.slot(),
        subject: subject_key.subject(routing_key),
        kind,
        suffix,
    })
}

/// The key with these parts.
#[must_use]
pub fn from_parts(parts: &Parts<'_>) -> Bytes {
    let mut key = BytesMut::with_capacity(PREFIX_BYTES + parts.suffix.len());
    key.put_u8(parts.family);
    key.put_u16(parts.slot.get());
    key.put_slice(&parts.subject);
    key.put_u8(parts.kind);
    key.put_slice(parts.suffix);
    key.freeze()
}

/// What all keys of one routing key in one family begin with.
#[must_use]
pub fn subject_prefix(family: Family, subject_key: &SubjectKey, routing_key: &RoutingKey) -> Bytes {
    encode(family, subject_key, routing_key, 0, &[]).slice(..PREFIX_BYTES - 1)
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

/// The row with the level in force, see [`crate::levels::Rule::LEVEL_IN_A_ROW`].
#[must_use]
pub fn level() -> Bytes {
    system(b"level")
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
            assert_eq!(subject_key.routing_key(&subject), Some(key));
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
