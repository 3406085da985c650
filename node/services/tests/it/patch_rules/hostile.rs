//! Patches that want to break something: refused, in little time, without a word of theirs.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use spine_proto::pds::v1::{PatchFormat, PatchResponse};
use spine_services::{ErrorKind, SpineError};

use super::{patient, request, shard, with};

/// Nothing here takes longer, even in a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(10);
const FORMATS: [PatchFormat; 3] = [PatchFormat::Pds, PatchFormat::Json, PatchFormat::Merge];

fn send(format: PatchFormat, body: impl Into<bytes::Bytes>) -> Result<PatchResponse, SpineError> {
    shard().call("pds.patch", &request(format, body))
}

#[test]
fn what_is_no_patch_is_refused() {
    let deep = "[".repeat(1_000_000);
    let twice = r#"{"patches":[],"patches":[]}"#;
    let number = format!("[{}]", "9".repeat(1_000_000));
    for format in FORMATS {
        for (body, reason) in [
            (deep.as_bytes(), "JSON_TOO_DEEP"),
            (twice.as_bytes(), "DUPLICATE_MEMBER"),
            (number.as_bytes(), "NUMBER_TOO_LONG"),
            (b"\"\xff\"", "MALFORMED_JSON"),
            (b"{", "MALFORMED_JSON"),
            (b"", "MALFORMED_JSON"),
        ] {
            let error = send(format, body.to_vec()).err().unwrap();
            assert_eq!(
                (&*error.reason, error.kind),
                (reason, ErrorKind::Invalid),
                "{}",
                format.as_str_name()
            );
        }
        for body in ["null", "1", "\"x\"", "[1]", "[[]]"] {
            assert_eq!(
                send(format, body).err().unwrap().kind,
                ErrorKind::Invalid,
                "{} {body}",
                format.as_str_name()
            );
        }
    }
}

#[test]
fn thousands_of_patches_are_refused_and_hundreds_on_a_large_record_are_not_slow() {
    let started = Instant::now();
    let one = r#"{"op":"test","path":"/gender","value":"female"}"#;
    let many = format!("[{}]", vec![one; 20_000].join(","));
    assert_eq!(&*send(PatchFormat::Json, many).err().unwrap().rule, "PDS-18");

    let mut large = patient();
    let members: Map<String, Value> = (0..60_000).map(|n| (format!("m{n}"), json!(n))).collect();
    large["extension"] = json!([{ "url": "urn:large", "v": members }]);
    let patches: Vec<Value> = (0..256)
        .map(|n| json!({ "op": "replace", "path": format!("/extension/0/v/m{}", 59_999 - n), "value": 0 }))
        .collect();
    let mut shard = with(&large);
    let body = json!(patches).to_string();
    let _: PatchResponse = shard
        .call("pds.patch", &request(PatchFormat::Json, body))
        .unwrap();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn very_many_members_or_items_are_not_slow() {
    let started = Instant::now();
    let members: Map<String, Value> = (0..100_000).map(|n| (format!("m{n}"), json!(0))).collect();
    let merge = Value::Object(members).to_string();
    assert_eq!(&*send(PatchFormat::Merge, merge).err().unwrap().rule, "PDS-9");
    // Items that nothing tells apart, and another one before them all.
    let mut large = patient();
    large["extension"] = json!(vec![json!({}); 100_000]);
    let first = json!([{ "op": "add", "path": "/extension/0", "value": { "url": "urn:new" } }]);
    let _: PatchResponse = with(&large)
        .call("pds.patch", &request(PatchFormat::Json, first.to_string()))
        .unwrap();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn a_record_cannot_be_made_deep_or_large() {
    // Each patch goes deeper into what the ones before have made.
    let mut path = "/extension".to_owned();
    let mut patches = Vec::new();
    for _ in 0..39 {
        path.push_str("/0");
        patches.push(json!({ "op": "add", "path": path, "value": [] }));
    }
    let error = send(PatchFormat::Json, json!(patches).to_string()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let beyond = json!([{ "op": "add", "path": "/a".repeat(1_000), "value": 1 }]).to_string();
    assert_eq!(&*send(PatchFormat::Json, beyond).err().unwrap().rule, "PDS-18");
    let large = json!({ "extension": [{ "url": "urn:x", "v": "x".repeat(2 << 20) }] }).to_string();
    assert_eq!(
        &*send(PatchFormat::Merge, large).err().unwrap().reason,
        "RECORD_TOO_LARGE"
    );
}

#[test]
fn wrong_types_are_refused_wherever_they_stand() {
    for list in [
        "name",
        "address",
        "telecom",
        "contact",
        "generalPractitioner",
        "extension",
    ] {
        for value in [
            json!(null),
            json!(1),
            json!("x"),
            json!([]),
            json!([[]]),
            json!({ "id": 7, "url": {}, "period": [], "line": {}, "telecom": 1 }),
        ] {
            for patches in [
                json!([{ "op": "add", "path": format!("/{list}/-"), "value": value }]),
                json!([{ "op": "replace", "path": format!("/{list}/0/id"), "value": value }]),
                json!([{ "op": "test", "path": format!("/{list}/0"), "value": value }, { "op": "remove", "path": format!("/{list}/0") }]),
            ] {
                let error = send(PatchFormat::Pds, json!({ "patches": patches }).to_string());
                let error = error.err().unwrap_or_else(|| panic!("{patches} is accepted"));
                assert!(
                    matches!(error.kind, ErrorKind::Invalid | ErrorKind::Forbidden),
                    "{patches}"
                );
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9-]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(id|url|use|period|value|system|line|start)", inner, 0..4)
                .prop_map(|members| json!(members)),
        ]
    })
}

fn any_patch() -> impl Strategy<Value = Value> {
    let list = prop_oneof![
        Just("name"),
        Just("address"),
        Just("telecom"),
        Just("contact"),
        Just("extension"),
        Just("gender"),
        Just("meta")
    ];
    let rest = "(/[0-2-](/(id|use|period|line|given|value)(/[0-2-])?)?)?";
    let op = prop_oneof![Just("add"), Just("replace"), Just("remove"), Just("test")];
    (op, list, rest, any_json()).prop_map(
        |(op, list, rest, value)| json!({ "op": op, "path": format!("/{list}{rest}"), "value": value }),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_patches_make_it_panic_or_leave_what_is_no_patient(patches in prop::collection::vec(any_patch(), 0..5)) {
        for format in [PatchFormat::Pds, PatchFormat::Json] {
            let body = match format {
                PatchFormat::Pds => json!({ "patches": patches }),
                _ => json!(patches),
            };
            if let Ok(answer) = send(format, body.to_string()) {
                let now: Value = serde_json::from_slice(&answer.patient.unwrap().fhir_json).unwrap();
                prop_assert_eq!(&now["id"], &patient()["id"]);
                prop_assert_eq!(&now["meta"]["versionId"], "2");
            }
        }
    }
}
