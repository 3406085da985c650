//! On whose behalf a caller acts.

use prost::Message;
use serde_json::{Value, json};
use spine_proto::pds::v1::{
    HistoryRequest, PatchFormat, PatchResponse, RegisterRequest, RetrieveRequest, UpdateRequest,
};
use spine_services::ErrorKind;
use spine_services::pds::access::Mode;

use super::{NHS_NUMBER, Shard, add, patched_in, patient, pharmacy, request, shard, whole};

fn acting(mode: Mode, id: &str) -> Shard {
    let mut shard = shard();
    id.clone_into(&mut shard.principal.id);
    shard
        .principal
        .permissions
        .extend(mode.permission().map(str::to_owned));
    shard
}

fn refusal(shard: &mut Shard, operation: &str, message: &impl Message) -> Option<(String, String)> {
    let answer = shard.call_bytes(operation, &message.encode_to_vec().into());
    answer.err().map(|error| (error.rule.to_string(), error.message))
}

fn retrieve() -> RetrieveRequest {
    RetrieveRequest {
        nhs_number: NHS_NUMBER.to_owned(),
    }
}

#[test]
fn pds_16_a_patient_reaches_only_their_own_record() {
    let no = Some((
        "PDS-16".to_owned(),
        "Patient cannot perform this action".to_owned(),
    ));
    let mut own = acting(Mode::Patient, NHS_NUMBER);
    let mut other = acting(Mode::Patient, "9990000026");
    let history = HistoryRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        ..HistoryRequest::default()
    };
    let patch = request(PatchFormat::Merge, json!({ "gender": "male" }).to_string());
    assert_eq!(refusal(&mut own, "pds.retrieve", &retrieve()), None);
    assert_eq!(refusal(&mut own, "pds.history", &history), None);
    assert_eq!(refusal(&mut other, "pds.retrieve", &retrieve()), no);
    assert_eq!(refusal(&mut other, "pds.history", &history), no);
    assert_eq!(refusal(&mut other, "pds.patch", &patch), no);
    // Nor does anybody write a whole record of their own.
    let update = UpdateRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        version_id: 1,
        fhir_json: patient().to_string().into(),
        request_id: "u".to_owned(),
        ..UpdateRequest::default()
    };
    assert_eq!(refusal(&mut own, "pds.update", &update), no);
    let register = RegisterRequest {
        fhir_json: patient().to_string().into(),
        request_id: "r2".to_owned(),
        ..RegisterRequest::default()
    };
    assert_eq!(refusal(&mut own, "pds.register", &register), no);
}

#[test]
fn pds_17_an_application_alone_changes_nothing() {
    let mut alone = acting(Mode::Application, "app");
    assert_eq!(refusal(&mut alone, "pds.retrieve", &retrieve()), None);
    let gender = json!([{ "op": "replace", "path": "/gender", "value": "male" }]);
    let error = patched_in(&mut alone, &gender).unwrap_err();
    assert_eq!(
        (&*error.rule, &*error.reason, error.kind),
        ("PDS-17", "INVALID_METHOD", ErrorKind::Forbidden)
    );
    assert!(patched_in(&mut acting(Mode::PrivilegedApplication, "app"), &gender).is_ok());
    assert!(patched_in(&mut acting(Mode::HealthcareWorker, "nurse"), &gender).is_ok());
}

#[test]
fn pds_46_a_patient_changes_parts_of_their_record() {
    let own = |patches: &Value| patched_in(&mut acting(Mode::Patient, NHS_NUMBER), patches);
    for good in [
        whole("address", 0, |address| {
            address["line"] = json!(["2 High Street", "Leeds"]);
        }),
        whole("telecom", 0, |point| point["value"] = json!("07700900009")),
        json!([{ "op": "replace", "path": "/extension/0", "value": pharmacy("Y34567") }]),
    ] {
        assert!(own(&good).is_ok(), "{good}");
    }
    for bad in [
        json!([{ "op": "replace", "path": "/gender", "value": "male" }]),
        whole("name", 0, |name| name["family"] = json!("Jones")),
        whole("generalPractitioner", 0, |practice| {
            practice["identifier"]["value"] = json!("A20047");
        }),
        add("extension", &json!({ "url": "urn:mine" })),
        json!([
            { "op": "test", "path": "/extension/1/url", "value": "urn:other" },
            { "op": "remove", "path": "/extension/1" },
        ]),
    ] {
        let error = own(&bad).expect_err("refused");
        assert_eq!(
            (&*error.rule, &*error.reason),
            ("PDS-46", "FORBIDDEN_UPDATE"),
            "{bad}"
        );
    }
}

#[test]
fn a_plain_patch_of_a_patient_keeps_to_the_same_parts() {
    let mut own = acting(Mode::Patient, NHS_NUMBER);
    let gender = request(PatchFormat::Merge, json!({ "gender": "male" }).to_string());
    let error = own.call::<PatchResponse>("pds.patch", &gender).err().unwrap();
    assert_eq!(&*error.rule, "PDS-46");
}
