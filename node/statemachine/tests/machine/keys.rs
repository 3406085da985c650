use bytes::Bytes;
use proptest::prelude::*;
use spine_proto::ids::{RoutingKey, Slot};
use spine_statemachine::frame;
use spine_statemachine::key::{self, Parts, SubjectKey};

prop_compose! {
    fn parts()(
        family in prop_oneof![Just(3_u8), 0x10_u8..=0x12, Just(0xfe)],
        slot in prop_oneof![0_u16..3, Just(16_383)],
        subject in prop_oneof![Just([0_u8; 16]), Just([0xff; 16]), any::<[u8; 16]>()],
        kind in prop_oneof![0_u8..3, Just(0xff)],
        suffix in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..8),
    ) -> (u8, u16, [u8; 16], u8, Vec<u8>) {
        (family, slot, subject, kind, suffix)
    }
}

fn encode((family, slot, subject, kind, suffix): &(u8, u16, [u8; 16], u8, Vec<u8>)) -> Bytes {
    key::from_parts(&Parts {
        family: *family,
        slot: Slot::new(*slot).unwrap(),
        subject: *subject,
        kind: *kind,
        suffix,
    })
}

proptest! {
    #[test]
    fn byte_order_is_tuple_order(one in parts(), other in parts()) {
        prop_assert_eq!(encode(&one).cmp(&encode(&other)), one.cmp(&other));
    }

    #[test]
    fn keys_round_trip(one in parts()) {
        let encoded = encode(&one);
        let back = key::parse(&encoded).unwrap();
        let back = (back.family, back.slot.get(), back.subject, back.kind, back.suffix.to_vec());
        prop_assert_eq!(back, one);
    }

    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some(parts) = key::parse(&bytes) {
            prop_assert_eq!(&key::from_parts(&parts)[..], &bytes[..]);
        }
        let _ = frame::decode(&Bytes::from(bytes));
    }

    #[test]
    fn a_prefix_and_its_successor_enclose_exactly_what_begins_with_it(
        prefix in proptest::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 1..6),
        key in proptest::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..8),
    ) {
        prop_assume!(prefix.iter().any(|byte| *byte != 0xff));
        let inside = key[..] >= prefix[..] && key[..] < key::successor(&prefix)[..];
        prop_assert_eq!(inside, key.starts_with(&prefix));
    }

    #[test]
    fn subjects_come_back_under_their_key_only(text in "[!-~]{1,15}", secret in any::<[u8; 16]>()) {
        let routing_key = RoutingKey::parse(&text).unwrap();
        let subject = SubjectKey::new(secret).subject(&routing_key);
        let back = SubjectKey::new(secret).routing_key(&subject);
        prop_assert_eq!(back.as_ref(), Some(&routing_key));
        let mut other = secret;
        other[0] ^= 1;
        prop_assert_ne!(SubjectKey::new(other).routing_key(&subject), Some(routing_key));
    }
}

/// Frozen: another result would look for every record under another key.
#[test]
fn a_key_is_frozen() {
    let routing_key = RoutingKey::parse("X26HC001").unwrap();
    let key = key::encode(
        key::Family::Pds,
        &SubjectKey::new([7; 16]),
        &routing_key,
        2,
        &[0, 0, 0, 3],
    );
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "1123469d65e44ba5bce7f6e093116bd7c1f6390200000003");
}

#[test]
fn the_value_frame_is_frozen() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../proto/testdata/frozen/v0001/value_frame.bin"
    );
    let rewrite = std::env::var_os("REWRITE_FROZEN").is_some_and(|value| value == "1");
    if rewrite && !std::path::Path::new(path).exists() {
        std::fs::write(path, frame::encode(b"{\"resourceType\":\"Patient\"}")).unwrap();
    }
    let frozen = Bytes::from(std::fs::read(path).unwrap());
    let value = frame::decode(&frozen).unwrap();
    assert_eq!(value, b"{\"resourceType\":\"Patient\"}"[..]);
    assert_eq!(frame::encode(&value), frozen);
}
