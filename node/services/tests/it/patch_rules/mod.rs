//! The rules of patches, each with a test named after it: what is refused and in which words, and what is not.

mod access;
mod contacts;
mod copies;
mod engine;
mod examples;
mod fields;
mod hostile;
mod people;
mod plain;
mod structure;

use serde_json::{Value, json};
use spine_proto::pds::v1::{PatchFormat, PatchRequest, PatchResponse, RegisterRequest, RegisterResponse};
use spine_services::SpineError;

use super::harness::Shard;

/// An unusable number: its check digit is right and its range is that of tests.
const NHS_NUMBER: &str = "9990000018";
const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-";

/// A patient with something of everything.
fn patient() -> Value {
    serde_json::from_str(include_str!("../../../testdata/patient.json")).unwrap()
}

fn pharmacy(code: &str) -> Value {
    json!({
        "url": format!("{UK_CORE}NominatedPharmacy"),
        "valueReference": { "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": code } },
    })
}

/// A shard with that patient.
fn shard() -> Shard {
    with(&patient())
}

fn with(patient: &Value) -> Shard {
    let mut shard = Shard::new();
    let request = RegisterRequest {
        fhir_json: patient.to_string().into(),
        request_id: "r".to_owned(),
        ..RegisterRequest::default()
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
    shard
}

fn request(format: PatchFormat, body: impl Into<bytes::Bytes>) -> PatchRequest {
    PatchRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        version_id: 1,
        patch: body.into(),
        format: format.into(),
        request_id: "p".to_owned(),
        ..PatchRequest::default()
    }
}

/// The patient after these patches in the national format.
fn patched_in(shard: &mut Shard, patches: &Value) -> Result<Value, SpineError> {
    let body = json!({ "patches": patches }).to_string();
    let answer: PatchResponse = shard.call("pds.patch", &request(PatchFormat::Pds, body))?;
    Ok(serde_json::from_slice(&answer.patient.unwrap().fhir_json).unwrap())
}

fn patched(patches: &Value) -> Result<Value, SpineError> {
    patched_in(&mut shard(), patches)
}

/// That these patches are carried out.
fn accepted(patches: &Value) -> Value {
    patched(patches).unwrap_or_else(|error| panic!("{patches}: {}", error.message))
}

/// That these patches are refused by this rule in these words, and that nothing has changed.
fn refused(patches: &Value, rule: &str, message: &str) {
    let mut shard = shard();
    let before = shard.index;
    let error = patched_in(&mut shard, patches).expect_err("refused");
    assert_eq!(
        (&*error.rule, error.message.as_str()),
        (rule, message),
        "{patches}"
    );
    assert_eq!(shard.index, before, "nothing was proposed");
}

/// A replacement of an item whose id is sent along with it.
fn whole(list: &str, at: usize, change: impl FnOnce(&mut Value)) -> Value {
    let mut item = patient()[list][at].clone();
    change(&mut item);
    json!([{ "op": "replace", "path": format!("/{list}/{at}"), "value": item }])
}

/// Something new in a list.
fn add(list: &str, value: &Value) -> Value {
    json!([{ "op": "add", "path": format!("/{list}/-"), "value": value }])
}
