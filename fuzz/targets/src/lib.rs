//! Properties that hold for any bytes: for cargo-fuzz, and in short with a fixed seed as tests.

#![allow(clippy::panic, reason = "a property that does not hold is told by a panic")]

mod shard;

use bytes::Bytes;
use prost::Message;
use spine_proto::pds::v1::{
    CreateRequest, CreateResponse, PatchFormat, PatchRequest, PatchResponse, Patient as Answer,
    SearchParameter, SearchRequest, SearchResponse, UpdateRequest, UpdateResponse,
};
use spine_proto::storage::v1::{Entry, PatientRow};
use spine_services::json::{Json, same};
use spine_services::pds::patient::{JSON_DEPTH_MAX, PATIENT_BYTES_MAX, Patient};
use spine_services::pds::restricted::{HIDDEN, HIDDEN_EXTENSIONS};
use spine_services::pds::{restricted, search as searching};
use spine_services::{Failure, json};
use spine_statemachine::frame::{self, Dictionary};
use spine_statemachine::key;

use crate::shard::Shard;

/// 2026-01-01T00:00:00Z
const NOW_MS: i64 = 1_767_225_600_000;
const NUMBER: &str = "9990000018";
/// Of nobody.
const NEW_NUMBER: &str = "9990000034";
/// Something of everything that patches change.
const PATIENT: &str = r#"{"resourceType":"Patient","id":"9990000018","name":[{"id":"n1","use":"usual","period":{"start":"2001-01-01"},"prefix":["Mrs"],"given":["Jane","Anne"],"family":"Smith"},{"id":"n2","use":"nickname","given":["Jo"]}],"gender":"female","birthDate":"1980-02-03","address":[{"id":"a1","use":"home","period":{"start":"2015-05-05"},"line":["1 High Street","Leeds"],"postalCode":"LS1 6AE"}],"telecom":[{"id":"t1","system":"phone","use":"mobile","value":"07700900000","period":{"start":"2020-01-01"}}],"contact":[{"id":"c1","relationship":[{"coding":[{"code":"C"}]}],"telecom":[{"system":"phone","value":"01632960000"}],"period":{"start":"2020-01-01"}}],"generalPractitioner":[{"id":"g1","type":"Organization","identifier":{"value":"Y12345"}}],"extension":[{"url":"urn:other","valueInteger":1.50},{"url":"https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy","valueReference":{"identifier":{"value":"Y23456"}}},{"url":"https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-PreferredDispenserOrganization","valueReference":{"identifier":{"value":"Y34567"}}},{"url":"https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-MedicalApplianceSupplier","valueReference":{"identifier":{"value":"Y45678"}}},{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthPlace","valueAddress":{"city":"Leeds"}}]}"#;
const OTHER: &str = r#"{"resourceType":"Patient","id":"9990000026","name":[{"use":"usual","given":["James"],"family":"Smyth"}],"gender":"male","birthDate":"1980-03-02"}"#;
/// What makes that patient a sensitive one.
const SENSITIVE: &str = r#""meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]},"#;

/// The patient, and the same as a sensitive one.
fn patients() -> [String; 2] {
    let sensitive = PATIENT.replacen("\"name\"", &format!("{SENSITIVE}\"name\""), 1);
    [PATIENT.to_owned(), sensitive]
}

/// Carries out a change; `None` where it is refused.
fn change<R: Message + Default>(shard: &mut Shard, operation: &str, request: &impl Message) -> Option<R> {
    let request = Bytes::from(request.encode_to_vec());
    let (plan, guards) = shard.plan(operation, &request);
    let plan = plan.ok()?;
    let (again, _) = shard.plan(operation, &request);
    assert!(
        again.is_ok_and(|again| again == plan),
        "a plan is a pure function"
    );
    let outcome = plan.outcome.clone();
    assert!(shard.carry_out(plan, guards), "what is planned can be applied");
    let response = shard.respond(operation, &request, outcome);
    let response = response.ok().and_then(|bytes| R::decode(bytes).ok());
    Some(response.expect("a change is answered"))
}

/// What a change leaves is within the rules of a whole resource, and nothing is shown that is hidden.
fn answered(patient: Option<Answer>, when: &str) {
    let shown = patient.expect("the patient").fhir_json;
    accepted(&shown, when);
    let again = restricted::version_shown(shown.clone(), false);
    assert!(again.is_ok_and(|again| again == shown), "hidden {when}");
}

/// What of the patient, as it is stored, was hidden from whoever has changed it is as it was before.
fn keeps_hidden(shard: &Shard, before: &str, when: &str) {
    let stored = shard.patient(NUMBER);
    accepted(&stored, when);
    let (before, after) = (parsed(before.as_bytes()), parsed(&stored));
    for member in HIDDEN {
        let was = before.member(member).expect("something of everything");
        let is = after.member(member);
        assert!(is.is_some_and(|is| same(is, was)), "{member} {when}");
    }
    for end in HIDDEN_EXTENSIONS {
        let (was, is) = (extensions(&before, end), extensions(&after, end));
        let alike = was.len() == is.len() && was.iter().zip(&is).all(|(was, is)| same(was, is));
        assert!(!was.is_empty() && alike, "{end} {when}");
    }
}

fn parsed(resource: &[u8]) -> Json {
    json::parse(resource, JSON_DEPTH_MAX).expect("a resource is JSON")
}

/// Those whose url ends so.
fn extensions<'a>(patient: &'a Json, end: &str) -> Vec<&'a Json> {
    let all = patient.member("extension").and_then(Json::as_array);
    let is_one = |one: &&Json| {
        let url = one.member("url").and_then(Json::as_str);
        url.is_some_and(|url| url.ends_with(end))
    };
    all.unwrap_or_default().iter().filter(is_one).collect()
}

/// A patch: the first byte chooses the format and the patient, the rest is the body.
///
/// # Panics
/// A property does not hold.
pub fn patch(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let format = match choice % 3 {
        0 => PatchFormat::Pds,
        1 => PatchFormat::Json,
        _ => PatchFormat::Merge,
    };
    let request = PatchRequest {
        nhs_number: NUMBER.to_owned(),
        version_id: 1,
        patch: Bytes::copy_from_slice(body),
        format: format.into(),
        request_id: "p".to_owned(),
        ..PatchRequest::default()
    };
    let [patient, sensitive] = patients();
    let is_sensitive = !(choice / 3).is_multiple_of(2);
    let chosen = if is_sensitive { &sensitive } else { &patient };
    let mut shard = Shard::with(&[chosen.as_str()]);
    if let Some(done) = change::<PatchResponse>(&mut shard, "pds.patch", &request) {
        answered(done.patient, "after a patch");
        if is_sensitive {
            keeps_hidden(&shard, &sensitive, "after a patch");
        }
    }
}

/// The query of a search.
///
/// # Panics
/// A property does not hold.
pub fn search(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parameters = text.split('&').take(32).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        SearchParameter {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    });
    let request = SearchRequest {
        parameters: parameters.collect(),
    };
    let bytes = Bytes::from(request.encode_to_vec());
    let shard = Shard::with(&[PATIENT, OTHER]);
    let (plan, _) = shard.plan("pds.search", &bytes);
    let Ok(plan) = plan else { return };
    assert!(plan.mutations.is_empty(), "a search changes nothing");
    let Ok(answer) = shard.respond("pds.search", &bytes, Bytes::new()) else {
        panic!("a search that was planned is answered");
    };
    let answer = SearchResponse::decode(answer).expect("an answer");
    for found in &answer.matches {
        assert!((1..=10_000).contains(&found.score));
        let patient = found.patient.as_ref().expect("a patient");
        assert!(searching::entry(&patient.fhir_json).is_ok());
    }
    assert!(searching::merge(&request, vec![answer]).is_ok());
}

/// A resource: by itself, as a new patient, and as the next version of one.
///
/// # Panics
/// A property does not hold.
pub fn fhir(data: &[u8]) {
    let _ = restricted::shown(Bytes::copy_from_slice(data));
    let _ = restricted::version_shown(Bytes::copy_from_slice(data), true);
    if json::parse(data, JSON_DEPTH_MAX).is_ok() {
        created(data);
    }
    let Ok(patient) = Patient::parse(data, NOW_MS) else {
        return;
    };
    replaced(data);
    assert!(
        Patient::nhs_number_of(data).ok() == Some(patient.nhs_number()),
        "routed as it is stored"
    );
    let Ok(stored) = patient.into_json(1) else { return };
    accepted(&stored, "as it was stored");
    let again = Patient::parse(&stored, NOW_MS).and_then(|patient| patient.into_json(1));
    assert!(
        again.is_ok_and(|again| again == stored),
        "canonical text is its own canonical text"
    );
}

/// Somebody new, of each dialect.
fn created(data: &[u8]) {
    for national in [false, true] {
        let request = CreateRequest {
            nhs_number: NEW_NUMBER.to_owned(),
            fhir_json: Bytes::copy_from_slice(data),
            holder: Bytes::from_static(&[1; 16]),
            body: Bytes::from_static(&[2; 16]),
            request_id: "c".to_owned(),
            national,
        };
        let mut shard = Shard::with(&[]);
        if let Some(done) = change::<CreateResponse>(&mut shard, "pds.create", &request) {
            answered(done.patient, "as somebody new");
        }
    }
}

/// The next version of somebody who is sensitive, and of somebody who is not.
fn replaced(data: &[u8]) {
    for (patient, is_sensitive) in patients().into_iter().zip([false, true]) {
        let request = UpdateRequest {
            nhs_number: NUMBER.to_owned(),
            any_version: true,
            fhir_json: Bytes::copy_from_slice(data),
            request_id: "u".to_owned(),
            ..UpdateRequest::default()
        };
        let mut shard = Shard::with(&[patient.as_str()]);
        if let Some(done) = change::<UpdateResponse>(&mut shard, "pds.update", &request) {
            answered(done.patient, "as the next version");
            if is_sensitive {
                keeps_hidden(&shard, &patient, "as the next version");
            }
        }
    }
}

/// What is stored is accepted again.
fn accepted(stored: &[u8], when: &str) {
    assert!(stored.len() <= PATIENT_BYTES_MAX);
    assert!(!stored.contains(&b'\n'), "canonical text stands on one line");
    match Patient::parse(stored, NOW_MS) {
        Ok(_) => {}
        Err(Failure::Rejection { rule, .. }) => panic!("refused {when} by {rule}"),
        Err(_) => panic!("refused {when}"),
    }
}

/// A stored value, its key, and a log entry.
///
/// # Panics
/// A property does not hold.
pub fn frames(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(plain) = frame::decode(&bytes) {
        let _ = PatientRow::decode(plain.clone());
        let again = frame::encode(&plain);
        assert!(frame::decode(&again).is_ok_and(|again| again == plain));
    }
    let _ = frame::decode_against(&bytes, PATIENT.as_bytes());
    let _ = Entry::decode(bytes.clone());
    if let Some(parts) = key::parse(data) {
        assert_eq!(key::from_parts(&parts), bytes, "a key is its parts");
    }
    // What was written comes back, and damage of one bit does not come back as something else.
    for written in [frame::encode(data), frame::compress(data, Dictionary::Patients1)] {
        assert!(frame::decode(&written).is_ok_and(|plain| plain == bytes));
        let mut damaged = written.to_vec();
        let at = data.len() % damaged.len();
        damaged[at] ^= 1 << (data.len() % 8);
        assert!(frame::decode(&damaged.into()).is_err(), "damage is seen");
    }
    if let Some(difference) = frame::compress_against(data, PATIENT.as_bytes()) {
        let plain = frame::decode_against(&difference, PATIENT.as_bytes());
        assert!(plain.is_ok_and(|plain| plain == bytes));
    }
}
