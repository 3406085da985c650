//! One test for each rule, named after it: what keeps the rule passes, what breaks it is refused by that very rule.

use serde_json::{Value, json};
use spine_proto::pds::v1::{RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse};
use spine_services::pds::patient::{JSON_DEPTH_MAX, PATIENT_BYTES_MAX};
use spine_services::pds::rules::{
    PDS_1, PDS_2, PDS_3, PDS_4, PDS_5, PDS_6, PDS_7, PDS_8, PDS_9, PDS_10, PDS_11, PDS_12, PDS_13, PDS_14,
    PDS_15,
};
use spine_services::pds::rules::{RULES, Rule};
use spine_services::{SpineError, reason};

use super::harness::Shard;

const NUMBER: &str = "9990000018";
const OTHER_NUMBER: &str = "9990000026";

/// The least that is a patient.
pub(crate) fn least() -> Value {
    json!({
        "resourceType": "Patient",
        "id": NUMBER,
        "name": [{ "use": "usual", "family": "Example" }],
        "gender": "female",
        "birthDate": "1980-05-17",
    })
}

fn register_bytes(body: Vec<u8>) -> Result<RegisterResponse, SpineError> {
    let request = RegisterRequest {
        fhir_json: body.into(),
        request_id: "r".to_owned(),
        session: None,
        return_minimal: false,
    };
    Shard::new().call("pds.register", &request)
}

/// Registers the least patient with one member changed; `Null` removes it.
fn with(member: &str, value: Value) -> Result<RegisterResponse, SpineError> {
    let mut patient = least();
    let members = patient.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.to_owned(), value);
    }
    register_bytes(patient.to_string().into_bytes())
}

#[track_caller]
fn refuses<T>(rule: Rule, result: Result<T, SpineError>) {
    let error = result.err().expect("the rule should refuse this");
    assert_eq!(&*error.rule, rule.id, "{error}");
    assert_eq!(error.reason, rule.reason, "{error}");
    assert_eq!(error.kind, rule.kind, "{error}");
}

#[track_caller]
fn accepts<T>(result: Result<T, SpineError>) {
    if let Err(error) = result {
        panic!("should be accepted: {error}");
    }
}

#[test]
fn every_rule_has_its_reason_and_its_test() {
    let source = [
        include_str!("pds_rules.rs"),
        include_str!("patch_rules/access.rs"),
        include_str!("patch_rules/contacts.rs"),
        include_str!("patch_rules/fields.rs"),
        include_str!("patch_rules/people.rs"),
        include_str!("patch_rules/plain.rs"),
        include_str!("patch_rules/structure.rs"),
        include_str!("people/death.rs"),
        include_str!("people/marks.rs"),
        include_str!("people/new_patients.rs"),
        include_str!("people/related.rs"),
        include_str!("search.rs"),
    ]
    .concat();
    let listed = include_str!("../../src/pds/mod.rs");
    for (rule, number) in RULES.iter().zip(1..) {
        assert_eq!(rule.id, format!("PDS-{number}"));
        let line = format!("//! | {} | {} | `{}` |", rule.id, rule.text, rule.reason);
        assert!(listed.contains(&line), "pds/mod.rs lacks: {line}");
        assert_eq!(reason::find(rule.reason).unwrap().kind, rule.kind, "{}", rule.id);
        assert!(
            source.contains(&format!("fn pds_{number}_")),
            "{} has no test",
            rule.id
        );
    }
}

#[test]
fn pds_1_the_resource_is_a_patient() {
    accepts(with("resourceType", json!("Patient")));
    for other in [json!("Person"), json!("patient"), json!(1), Value::Null] {
        refuses(PDS_1, with("resourceType", other));
    }
}

#[test]
fn pds_2_the_id_is_an_nhs_number() {
    accepts(with("id", json!(OTHER_NUMBER)));
    for other in [
        json!("9990000019"),
        json!("999000001"),
        json!("999 000 0018"),
        json!(9_990_000_018_u64),
        json!(""),
    ] {
        refuses(PDS_2, with("id", other));
    }
    refuses(PDS_2, with("id", Value::Null));
    refuses(PDS_2, register_bytes(b"[1]".to_vec()));
}

#[test]
fn pds_3_an_identifier_equals_the_id() {
    let identifier =
        |value: Value| json!([{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": value }]);
    accepts(with("identifier", identifier(json!(NUMBER))));
    accepts(with(
        "identifier",
        json!([{ "system": "https://example.org/local", "value": "17" }]),
    ));
    accepts(with("identifier", json!([])));
    for other in [json!(OTHER_NUMBER), json!("x"), Value::Null] {
        refuses(PDS_3, with("identifier", identifier(other)));
    }
}

#[test]
fn pds_4_the_resource_is_not_too_large() {
    let padded = |bytes: usize| {
        let least = least().to_string();
        let mut body = least.trim_end_matches('}').to_owned();
        body.push_str(",\"extension\":[{\"url\":\"");
        body.extend(std::iter::repeat_n('x', bytes - body.len() - 4));
        body.push_str("\"}]}");
        assert_eq!(body.len(), bytes);
        register_bytes(body.into_bytes())
    };
    // The version id that Spine adds counts as well.
    accepts(padded(PATIENT_BYTES_MAX - 64));
    refuses(PDS_4, padded(PATIENT_BYTES_MAX));
    refuses(PDS_4, padded(PATIENT_BYTES_MAX + 1));
    refuses(PDS_4, padded(3 * 1024 * 1024));
}

#[test]
fn pds_5_nesting_is_bounded() {
    let nested = |depth: usize| {
        // The resource, the list and the extension are three levels.
        let value = format!("{}{}", "[".repeat(depth - 3), "]".repeat(depth - 3));
        let least = least().to_string();
        let body = format!(
            "{},\"extension\":[{{\"x\":{value}}}]}}",
            least.trim_end_matches('}')
        );
        register_bytes(body.into_bytes())
    };
    accepts(nested(JSON_DEPTH_MAX));
    refuses(PDS_5, nested(JSON_DEPTH_MAX + 1));
    refuses(PDS_5, nested(100_000));
}

#[test]
fn pds_6_a_name_is_the_usual_one() {
    accepts(with(
        "name",
        json!([{ "use": "old", "family": "A" }, { "use": "usual", "given": ["B"] }]),
    ));
    accepts(with("name", json!([{ "use": "usual", "text": "A B" }])));
    for other in [
        Value::Null,
        json!([]),
        json!([{ "use": "old", "family": "A" }]),
        json!([{ "family": "A" }]),
        json!([{ "use": "usual" }]),
        json!([{ "use": "usual", "family": " " }]),
    ] {
        refuses(PDS_6, with("name", other));
    }
}

#[test]
fn pds_7_the_birth_date_is_a_date_not_in_the_future() {
    for date in ["1980-05-17", "1980-05", "1980", "2000-02-29", "2026-01-01"] {
        accepts(with("birthDate", json!(date)));
    }
    for date in [
        "17/05/1980",
        "1980-13-01",
        "1900-02-29",
        "2026-01-02",
        "2027",
        "",
        "1980-05-17T00:00:00Z",
    ] {
        refuses(PDS_7, with("birthDate", json!(date)));
    }
    refuses(PDS_7, with("birthDate", json!(1980)));
    refuses(PDS_7, with("birthDate", Value::Null));
}

#[test]
fn pds_8_the_gender_is_one_of_four() {
    for gender in ["male", "female", "other", "unknown"] {
        accepts(with("gender", json!(gender)));
    }
    for other in [json!("Male"), json!("m"), json!(1), Value::Null] {
        refuses(PDS_8, with("gender", other));
    }
}

#[test]
fn pds_9_there_are_no_members_but_those_of_pds() {
    let organisation = json!({ "type": "Organization", "identifier": { "value": "Y90001" } });
    for (member, value) in [
        ("meta", json!({ "security": [] })),
        ("multipleBirthInteger", json!(2)),
        ("address", json!([{ "use": "home", "line": ["1 Road"] }])),
        ("telecom", json!([{ "system": "phone", "value": "01632960001" }])),
        ("contact", json!([{ "relationship": [] }])),
        ("generalPractitioner", json!([organisation.clone()])),
        ("managingOrganization", organisation),
        ("extension", json!([{ "url": "x" }])),
    ] {
        accepts(with(member, value));
    }
    for member in [
        "text",
        "active",
        "communication",
        "link",
        "_birthDate",
        "Name",
        "",
        "Mary Example of 1 Road",
    ] {
        let result = with(member, json!("x"));
        let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(
            !message.contains("Mary"),
            "a name of the caller's choice is in the message"
        );
        refuses(PDS_9, result);
    }
}

#[test]
fn pds_10_death_is_a_time_after_birth_and_not_in_the_future() {
    for time in [
        "1980-05-17",
        "2020-01-01T10:00:00+00:00",
        "2020-01-01T10:00:00",
        "2020",
        "1980-05-16T23:30:00+00:00",
    ] {
        accepts(with("deceasedDateTime", json!(time)));
    }
    for time in [
        "1980-05-16",
        "1979",
        "2026-02-01",
        "yesterday",
        "2020-01-01T25:00:00Z",
        "",
    ] {
        refuses(PDS_10, with("deceasedDateTime", json!(time)));
    }
    refuses(PDS_10, with("deceasedDateTime", json!(true)));
}

fn register(shard: &mut Shard, request_id: &str) -> Result<RegisterResponse, SpineError> {
    let fhir_json = least().to_string().into();
    shard.call(
        "pds.register",
        &RegisterRequest {
            fhir_json,
            request_id: request_id.to_owned(),
            session: None,
            return_minimal: false,
        },
    )
}

fn update(shard: &mut Shard, version_id: u32, body: &Value) -> Result<UpdateResponse, SpineError> {
    let request = UpdateRequest {
        nhs_number: NUMBER.to_owned(),
        version_id,
        fhir_json: body.to_string().into(),
        request_id: format!("update-{version_id}"),
        session: None,
        return_minimal: false,
        ..UpdateRequest::default()
    };
    shard.call("pds.update", &request)
}

#[test]
fn pds_11_a_number_is_registered_once() {
    let mut shard = Shard::new();
    accepts(register(&mut shard, "one"));
    refuses(PDS_11, register(&mut shard, "two"));
}

#[test]
fn pds_12_an_update_names_the_current_version() {
    let mut shard = Shard::new();
    accepts(register(&mut shard, "one"));
    refuses(PDS_12, update(&mut shard, 2, &least()));
    accepts(update(&mut shard, 1, &least()));
    let mut other = least();
    other["gender"] = json!("male");
    accepts(update(&mut shard, 2, &other));
    refuses(PDS_12, update(&mut shard, 5, &other));
}

#[test]
fn pds_13_an_update_keeps_the_id() {
    let mut shard = Shard::new();
    accepts(register(&mut shard, "one"));
    let mut other = least();
    other["id"] = json!(OTHER_NUMBER);
    refuses(PDS_13, update(&mut shard, 1, &other));
}

#[test]
fn pds_14_members_have_their_json_types() {
    for list in [
        "identifier",
        "name",
        "address",
        "telecom",
        "contact",
        "generalPractitioner",
        "extension",
    ] {
        for other in [json!("x"), json!({}), json!(["x"]), json!([{}, null]), json!(7)] {
            refuses(PDS_14, with(list, other));
        }
    }
    for other in [json!("1"), json!([]), json!(true)] {
        refuses(PDS_14, with("meta", other.clone()));
        refuses(PDS_14, with("managingOrganization", other));
    }
    for other in [json!("1"), json!(0), json!(10), json!(1.5)] {
        refuses(PDS_14, with("multipleBirthInteger", other));
    }
}

#[test]
fn pds_15_no_object_is_ambiguous() {
    let twice = format!(
        "{},\"gender\":\"male\"}}",
        least().to_string().trim_end_matches('}')
    );
    refuses(PDS_15, register_bytes(twice.into_bytes()));
    let inside = format!(
        "{},\"extension\":[{{\"url\":1,\"\\u0075rl\":2}}]}}",
        least().to_string().trim_end_matches('}')
    );
    refuses(PDS_15, register_bytes(inside.into_bytes()));
}

#[test]
fn a_null_version_of_ours_is_never_taken_from_the_sender() {
    let answer = with("meta", json!({ "lastUpdated": "2001-01-01", "versionId": "9" }))
        .unwrap()
        .patient
        .unwrap();
    let stored: Value = serde_json::from_slice(&answer.fhir_json).unwrap();
    assert_eq!(
        stored["meta"],
        json!({ "lastUpdated": "2001-01-01", "versionId": "1" })
    );
    assert_eq!(answer.version_id, 1);
}
