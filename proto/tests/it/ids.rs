use nhs_number::NHSNumber;
use proptest::prelude::*;
use spine_proto::ids::{IdError, NhsNumber, OdsCode, ReplicaId, RequestId, RoutingKey, SLOTS, Slot};

/// Frozen: a changed value would look for every record in the wrong shard.
const SLOT_VECTORS: [(&str, u16); 8] = [
    ("9990000000", 3_598),
    ("9990000018", 10_359),
    ("9449306621", 14_834),
    ("X26HC001", 9_030),
    ("RJ1", 5_274),
    ("a", 13_847),
    ("~", 2_195),
    ("!23456789012345", 1_947),
];

#[test]
fn slots_are_frozen() {
    let actual = SLOT_VECTORS.map(|(text, _)| (text, RoutingKey::parse(text).unwrap().slot().get()));
    assert_eq!(actual, SLOT_VECTORS);
}

#[test]
fn a_slot_is_the_first_eight_bytes_of_blake3_modulo_the_slots() {
    for i in 0..500 {
        let text = format!("key-{i}");
        let hash = blake3::hash(text.as_bytes());
        let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
        let slot = RoutingKey::parse(&text).unwrap().slot();
        assert_eq!(u64::from(slot.get()), number % u64::from(SLOTS));
    }
    assert_eq!(Slot::new(SLOTS), Err(IdError::Slot));
}

#[test]
fn slots_spread_evenly() {
    let mut counts = [0_u32; 8];
    for i in 0..80_000 {
        let slot = RoutingKey::parse(&format!("{i}")).unwrap().slot().get();
        counts[usize::from(slot / (SLOTS / 8))] += 1;
    }
    assert!(
        counts.iter().all(|count| (9_500..10_500).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn identifying_types_redact_themselves() {
    let number = NhsNumber::parse("9990000018").unwrap();
    let texts = [
        format!("{number}"),
        format!("{number:?}"),
        format!("{:?}", number.routing_key()),
        format!("{:?}", NhsNumber::parse("9990000000")),
    ];
    for text in texts {
        assert!(!text.contains(|c: char| c.is_ascii_digit()), "{text}");
    }
    assert_eq!(format!("{number}"), "NhsNumber(•••)");
}

#[test]
fn malformed_identifiers_are_refused() {
    for text in [
        "",
        "944930662",
        "94493066211",
        "9449306622",
        "944 930 6621",
        "９449306621",
        "94493o6621",
    ] {
        assert_eq!(NhsNumber::parse(text), Err(IdError::NhsNumber));
    }
    for text in ["", "has space", "1234567890123456", "tab\t", "é", "\u{7f}"] {
        assert_eq!(RoutingKey::parse(text), Err(IdError::RoutingKey));
    }
    assert_eq!(RequestId::parse(""), Err(IdError::RequestId));
    assert_eq!(RequestId::parse(&"x".repeat(65)), Err(IdError::RequestId));
    assert!(RequestId::parse(&"x".repeat(64)).is_ok());
    for text in ["", "RJ", "rj1", "RJ1-", "ABCDEFGHIJKLM"] {
        assert_eq!(OdsCode::parse(text), Err(IdError::OdsCode));
    }
    assert_eq!(OdsCode::parse("X26").unwrap().as_str(), "X26");
}

#[test]
fn replica_ids_hold_incarnation_and_counter() {
    let id = ReplicaId::new(3, 7).unwrap();
    assert_eq!((id.0, id.incarnation(), id.counter()), (3 << 48 | 7, 3, 7));
    assert_eq!(ReplicaId::new(0, 1 << 48), Err(IdError::ReplicaId));
    assert!(ReplicaId::new(4, 0).unwrap() > ReplicaId::new(3, (1 << 48) - 1).unwrap());
}

proptest! {
    /// Against another implementation.
    #[test]
    fn check_digits_agree_with_the_crate(number in 0_u64..10_000_000_000) {
        let text = format!("{number:010}");
        let other = text.parse::<NHSNumber>().unwrap();
        // The crate maps the check digit that does not exist to itself, 10, which no digit equals.
        prop_assert_eq!(NhsNumber::parse(&text).is_ok(), other.validate_check_digit());
    }

    #[test]
    fn numbers_from_stems_parse_to_themselves(stem in 0_u64..1_000_000_000) {
        if let Some(number) = NhsNumber::from_stem(stem) {
            prop_assert_eq!(NhsNumber::parse(&number.expose()), Ok(number));
            prop_assert_eq!(number.to_u64() / 10, stem);
            let routing_key = number.routing_key();
            prop_assert_eq!(routing_key.expose(), number.expose());
        }
    }

    #[test]
    fn parsing_never_panics(text in ".*") {
        let _ = (NhsNumber::parse(&text), RoutingKey::parse(&text), OdsCode::parse(&text));
    }
}
