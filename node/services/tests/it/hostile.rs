//! Whatever a caller sends, the answer is a typed error that holds nothing of it, or a patient within the rules.

use proptest::prelude::*;
use serde_json::{Value, json};
use spine_proto::pds::v1::{RegisterRequest, RegisterResponse};
use spine_services::{SpineError, reason};

use super::harness::Shard;
use super::pds_rules::least;

fn register(body: Vec<u8>) -> Result<RegisterResponse, SpineError> {
    let request = RegisterRequest {
        fhir_json: body.into(),
        request_id: "r".to_owned(),
        session: None,
        return_minimal: false,
    };
    Shard::new().call("pds.register", &request)
}

#[test]
fn hostile_bodies_have_typed_errors() {
    let number = |text: &str| {
        let least = least().to_string();
        format!(
            "{},\"multipleBirthInteger\":{text}}}",
            least.trim_end_matches('}')
        )
        .into_bytes()
    };
    for (body, word) in [
        (Vec::new(), reason::MALFORMED_JSON),
        (b"\xff\xfe".to_vec(), reason::MALFORMED_JSON),
        (b"null".to_vec(), reason::INVALID_NHS_NUMBER),
        (vec![b'['; 2_000_000], reason::JSON_TOO_DEEP),
        (vec![b' '; 2_000_000], reason::MALFORMED_JSON),
        (vec![b'9'; 2_000_000], reason::NUMBER_TOO_LONG),
        (number("1e999999999"), reason::INVALID_VALUE),
        (number("-0"), reason::INVALID_VALUE),
        (number(&"1".repeat(1_000_000)), reason::NUMBER_TOO_LONG),
        (
            b"{\"id\":\"9990000018\",\"id\":\"9990000026\"}".to_vec(),
            reason::DUPLICATE_MEMBER,
        ),
    ] {
        assert_eq!(register(body).err().expect("should be refused").reason, word);
    }
}

#[test]
fn an_object_of_very_many_members_is_refused_quickly() {
    let members: Vec<String> = (0..120_000).map(|number| format!("\"m{number}\":0")).collect();
    let body = format!("{{{}}}", members.join(","));
    assert_eq!(
        register(body.into_bytes()).err().unwrap().reason,
        reason::INVALID_NHS_NUMBER
    );
}

/// Values that carry a mark which no error may show.
const MARK: &str = "Zebedee";

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(MARK)),
        Just(json!([MARK])),
        Just(
            json!([{ MARK: MARK, "use": MARK, "system": "https://fhir.nhs.uk/Id/nhs-number", "value": MARK }])
        ),
        Just(json!({ MARK: MARK })),
        any::<i64>().prop_map(|number| json!(number)),
        "[0-9]{10}".prop_map(Value::String),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{8}Z)?".prop_map(Value::String),
    ]
}

fn any_member() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "resourceType",
            "id",
            "identifier",
            "meta",
            "name",
            "gender",
            "birthDate",
            "multipleBirthInteger",
            "deceasedDateTime",
            "address",
            "telecom",
            "contact",
            "generalPractitioner",
            "managingOrganization",
            "extension",
            "text",
            MARK,
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(register(bytes).is_err());
    }

    #[test]
    fn no_error_shows_what_was_sent(changes in prop::collection::vec((any_member(), any_value()), 1..4)) {
        let mut patient = least();
        let members = patient.as_object_mut().unwrap();
        for (member, value) in changes {
            members.insert(member, value);
        }
        if let Err(error) = register(patient.to_string().into_bytes()) {
            let text = format!("{error} {error:?} {}", error.field);
            prop_assert!(!text.contains(MARK), "{}", text);
            prop_assert!(!text.contains("999000"), "{}", text);
            prop_assert!(reason::find(&error.reason).is_some_and(|reason| reason.kind == error.kind));
        }
    }

    #[test]
    fn what_is_accepted_comes_back_as_it_was_sent(
        line in any::<String>(),
        digits in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ) {
        let least = least().to_string();
        let extension = format!("[{{\"url\":{},\"valueDecimal\":{digits}}}]", json!(line));
        let body = format!("{},\"extension\":{extension}}}", least.trim_end_matches('}'));
        let stored = register(body.clone().into_bytes()).unwrap().patient.unwrap().fhir_json;
        let expected = body.replacen("\"name\"", "\"meta\":{\"versionId\":\"1\"},\"name\"", 1);
        prop_assert_eq!(std::str::from_utf8(&stored).unwrap(), expected);
    }
}
