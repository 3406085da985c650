//! Plain patches and merge patches; versions, repeats, and what comes back as it was sent.

use serde_json::{Value, json};
use spine_proto::pds::v1::{PatchFormat, PatchRequest, PatchResponse, RetrieveRequest, RetrieveResponse};
use spine_services::ErrorKind;

use super::{NHS_NUMBER, patient, request, shard, with};

fn body_of(answer: PatchResponse) -> String {
    String::from_utf8(answer.patient.unwrap().fhir_json.to_vec()).unwrap()
}

#[test]
fn a_plain_list_needs_no_names_and_a_merge_patch_no_list() {
    let list = json!([{ "op": "replace", "path": "/address/0/line/0", "value": "2 High Street" }]);
    let answer: PatchResponse = shard()
        .call("pds.patch", &request(PatchFormat::Json, list.to_string()))
        .unwrap();
    assert!(body_of(answer).contains("2 High Street"));
    let merge = json!({ "gender": "unknown", "telecom": null });
    let answer: PatchResponse = shard()
        .call("pds.patch", &request(PatchFormat::Merge, merge.to_string()))
        .unwrap();
    let merged: Value = serde_json::from_str(&body_of(answer)).unwrap();
    assert_eq!(
        (&merged["gender"], merged.get("telecom")),
        (&json!("unknown"), None)
    );
    // What comes out is a patient like any other.
    let broken = request(PatchFormat::Merge, json!({ "birthDate": null }).to_string());
    let error = shard().call::<PatchResponse>("pds.patch", &broken).err().unwrap();
    assert_eq!(&*error.rule, "PDS-7");
    let other = request(PatchFormat::Merge, json!({ "id": "9990000026" }).to_string());
    let error = shard().call::<PatchResponse>("pds.patch", &other).err().unwrap();
    assert_eq!(
        (&*error.reason, error.kind),
        ("IDENTIFIER_MISMATCH", ErrorKind::Invalid)
    );
}

#[test]
fn what_is_not_touched_stays_as_it_was_written() {
    let text = format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"{NHS_NUMBER}\",\"meta\":{{\"versionId\":\"1\"}},\
         \"extension\":[{{\"z\":1.50,\"a\":-0.0,\"url\":\"urn:x\"}}],\"gender\":\"female\",\
         \"name\":[{{\"use\":\"usual\",\"family\":\"Ä\\\"\"}}],\"birthDate\":\"1980-02-03\"}}"
    );
    let mut shard = Shard::of(&text);
    let list = r#"[{"op":"add","path":"/extension/-","value":{"url":"urn:y","n":1E+2}}]"#;
    let answer: PatchResponse = shard
        .0
        .call("pds.patch", &request(PatchFormat::Json, list))
        .unwrap();
    let expected = text
        .replace("\"versionId\":\"1\"", "\"versionId\":\"2\"")
        .replace(
            "\"url\":\"urn:x\"}]",
            "\"url\":\"urn:x\"},{\"url\":\"urn:y\",\"n\":1E+2}]",
        );
    assert_eq!(body_of(answer), expected);
}

/// The patient with an empty list of identifiers, after a patch.
fn emptied(format: PatchFormat, patch: &Value) -> Value {
    let mut stored = patient();
    stored["identifier"] = json!([]);
    let answer: PatchResponse = with(&stored)
        .call("pds.patch", &request(format, patch.to_string()))
        .unwrap();
    serde_json::from_str(&body_of(answer)).unwrap()
}

#[test]
fn a_list_whose_last_item_goes_is_gone_and_one_that_nobody_touched_stays() {
    let address = json!({ "op": "remove", "path": "/address/0" });
    let prefix = json!({ "op": "remove", "path": "/name/0/prefix/0" });
    let listed = emptied(PatchFormat::Json, &json!([address, prefix]));
    let test = json!({ "op": "test", "path": "/address/0/id", "value": "a1" });
    let named = json!({ "op": "test", "path": "/name/0/id", "value": "n1" });
    let patches = json!({ "patches": [test, address, named, prefix] });
    let national = emptied(PatchFormat::Pds, &patches);
    for patient in [listed, national] {
        assert_eq!(patient.get("address"), None);
        assert_eq!(patient["name"][0].get("prefix"), None);
        assert_eq!(patient["identifier"], json!([]), "it came so");
    }
    let merged = emptied(PatchFormat::Merge, &json!({ "telecom": [], "gender": "male" }));
    assert_eq!((merged.get("telecom"), &merged["gender"]), (None, &json!("male")));
    // What is added again behind the last one is there.
    let again = json!([
        address,
        { "op": "add", "path": "/address/-", "value": patient()["address"][0] },
    ]);
    assert_eq!(
        emptied(PatchFormat::Json, &again)["address"],
        patient()["address"]
    );
}

struct Shard(super::Shard);

impl Shard {
    fn of(text: &str) -> Self {
        let mut shard = super::Shard::new();
        let register = spine_proto::pds::v1::RegisterRequest {
            fhir_json: text.to_owned().into(),
            request_id: "r".to_owned(),
            ..Default::default()
        };
        let _: spine_proto::pds::v1::RegisterResponse = shard.call("pds.register", &register).unwrap();
        Self(shard)
    }
}

#[test]
fn a_patch_names_the_current_version() {
    let patch = json!({ "gender": "male" }).to_string();
    let stale = PatchRequest {
        version_id: 7,
        ..request(PatchFormat::Merge, patch.clone())
    };
    let error = shard().call::<PatchResponse>("pds.patch", &stale).err().unwrap();
    assert_eq!((&*error.rule, &*error.reason), ("PDS-12", "VERSION_MISMATCH"));
    let any = PatchRequest {
        version_id: 0,
        ..request(PatchFormat::Merge, patch.clone())
    };
    let answer: PatchResponse = shard().call("pds.patch", &any).unwrap();
    assert_eq!(answer.patient.unwrap().version_id, 2);
    let national = PatchRequest {
        version_id: 0,
        ..request(PatchFormat::Pds, patch)
    };
    let error = shard()
        .call::<PatchResponse>("pds.patch", &national)
        .err()
        .unwrap();
    assert_eq!(&*error.rule, "PDS-12");
}

#[test]
fn a_repeated_patch_takes_effect_once_and_is_answered_as_the_first_time() {
    let mut shard = shard();
    let name = json!([{ "op": "add", "path": "/name/-", "value": { "use": "old", "family": "Jones" } }]);
    let body = json!({ "patches": name }).to_string();
    let first: PatchResponse = shard
        .call("pds.patch", &request(PatchFormat::Pds, body.clone()))
        .unwrap();
    let other = PatchRequest {
        request_id: "p2".to_owned(),
        version_id: 2,
        ..request(PatchFormat::Merge, json!({ "gender": "male" }).to_string())
    };
    let _: PatchResponse = shard.call("pds.patch", &other).unwrap();
    let again: PatchResponse = shard.call("pds.patch", &request(PatchFormat::Pds, body)).unwrap();
    assert!(again.replayed && !first.replayed);
    assert!(again.patient == first.patient, "with the id it was given then");
    let retrieve = RetrieveRequest {
        nhs_number: NHS_NUMBER.to_owned(),
    };
    let now: RetrieveResponse = shard.call("pds.retrieve", &retrieve).unwrap();
    assert_eq!(now.patient.unwrap().version_id, 3);
    let reused = request(PatchFormat::Merge, json!({}).to_string());
    let error = shard.call::<PatchResponse>("pds.patch", &reused).err().unwrap();
    assert_eq!(error.kind, ErrorKind::RequestIdReused);
}

#[test]
fn a_patch_of_nobody_is_not_found_before_it_is_looked_at() {
    let absent = PatchRequest {
        nhs_number: "9990000026".to_owned(),
        ..request(PatchFormat::Pds, "{")
    };
    let error = with(&patient())
        .call::<PatchResponse>("pds.patch", &absent)
        .err()
        .unwrap();
    assert_eq!(&*error.reason, "PATIENT_NOT_FOUND");
}
