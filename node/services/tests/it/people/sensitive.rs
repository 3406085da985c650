//! What is hidden of a sensitive patient stands in no answer of an operation, so that no transport can show it.

use prost::Message;
use serde_json::{Value, json};
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, InvalidateRequest, InvalidateResponse, ListRelatedRequest,
    ListRelatedResponse, PatchFormat, PatchRequest, PatchResponse, Patient, PutRelatedRequest,
    PutRelatedResponse, RegisterRequest, RegisterResponse, RetrieveRequest, RetrieveResponse,
    SearchParameter, SearchRequest, SearchResponse, Sensitivity, SetSensitivityRequest,
    SetSensitivityResponse, UpdateRequest, UpdateResponse,
};
use spine_services::pds::listing::{Next, next};
use spine_services::pds::watch::versions;

use super::{Cluster, json_of, newcomer, number, request};

const NUMBER: &str = "9990000018";
/// Whereabouts, and what leads to them.
const PLACES: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];

/// With something of everything.
fn patient() -> Value {
    serde_json::from_str(include_str!("../../../testdata/patient.json")).unwrap()
}

fn call<R: Message + Default>(cluster: &Cluster, operation: &str, request: &impl Message) -> R {
    cluster.shard(|shard| shard.call(operation, request).unwrap())
}

fn register() -> RegisterRequest {
    RegisterRequest {
        fhir_json: patient().to_string().into(),
        request_id: "r".to_owned(),
        ..RegisterRequest::default()
    }
}

fn update() -> UpdateRequest {
    let mut after = patient();
    after["gender"] = json!("male");
    UpdateRequest {
        nhs_number: NUMBER.to_owned(),
        any_version: true,
        fhir_json: after.to_string().into(),
        request_id: "u".to_owned(),
        ..UpdateRequest::default()
    }
}

fn patch(id: &str) -> PatchRequest {
    PatchRequest {
        nhs_number: NUMBER.to_owned(),
        patch: json!({ "gender": "unknown" }).to_string().into(),
        format: PatchFormat::Merge.into(),
        request_id: id.to_owned(),
        ..PatchRequest::default()
    }
}

fn marked(cluster: &Cluster, number: &str, sensitivity: Sensitivity) -> Value {
    let request = SetSensitivityRequest {
        nhs_number: number.to_owned(),
        sensitivity: sensitivity.into(),
        request_id: format!("{} {number}", sensitivity.as_str_name()),
        ..SetSensitivityRequest::default()
    };
    let done: SetSensitivityResponse = call(cluster, "pds.set_sensitivity", &request);
    json_of(&done.patient.unwrap())
}

fn history(cluster: &Cluster) -> Vec<Patient> {
    let request = HistoryRequest {
        nhs_number: NUMBER.to_owned(),
        ..HistoryRequest::default()
    };
    let history: HistoryResponse = call(cluster, "pds.history", &request);
    history.versions
}

#[track_caller]
fn tells(patient: &Value) {
    for place in PLACES.iter().filter(|place| **place != "contact") {
        assert!(patient[*place].is_array(), "{place}: {patient}");
    }
    assert!(patient.to_string().contains("NominatedPharmacy"), "{patient}");
}

#[track_caller]
fn hides(patient: &Value) {
    assert!(patient["name"].is_array(), "{patient}");
    for place in PLACES {
        assert!(patient.get(place).is_none(), "{place}: {patient}");
    }
    assert!(!patient.to_string().contains("NominatedPharmacy"), "{patient}");
}

/// Registered, updated and patched while everybody saw all of it.
fn cluster() -> Cluster {
    let cluster = Cluster::new();
    let registered: RegisterResponse = call(&cluster, "pds.register", &register());
    let updated: UpdateResponse = call(&cluster, "pds.update", &update());
    let patched: PatchResponse = call(&cluster, "pds.patch", &patch("p"));
    for patient in [registered.patient, updated.patient, patched.patient] {
        tells(&json_of(&patient.unwrap()));
    }
    cluster
}

fn read(cluster: &Cluster) -> Value {
    json_of(&cluster.read(NUMBER).unwrap())
}

/// As the feed shows everything that was written, and as a reader is shown who begins with all patients.
fn fed(cluster: &Cluster) -> [Value; 2] {
    cluster.shard(|shard| {
        let subject_key = shard.context().subject_key;
        let records = shard.store.records().iter();
        let records = records.map(|(key, record)| (key, Some(record)));
        let mut shown = versions(&subject_key, records, 0).map(|shown| json_of(&shown.unwrap()));
        let Next::Patient { patient, .. } = next(&shard.store, &subject_key, None).unwrap() else {
            panic!("there is a patient");
        };
        [shown.next().unwrap(), json_of(&patient)]
    })
}

#[test]
fn no_read_says_where_a_sensitive_patient_is() {
    let cluster = cluster();
    for shown in fed(&cluster).iter().chain([&read(&cluster)]) {
        tells(shown);
    }
    hides(&marked(&cluster, NUMBER, Sensitivity::Restricted));
    for shown in fed(&cluster).iter().chain([&read(&cluster)]) {
        hides(shown);
    }
    // Nor where they were.
    let versions = history(&cluster);
    assert_eq!(versions.len(), 4);
    for version in &versions {
        hides(&json_of(version));
    }
    let parameters = [("family", "Smith"), ("birthdate", "1980-02-03")];
    let parameters = parameters.map(|(name, value)| SearchParameter {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    let search = SearchRequest {
        parameters: parameters.into(),
    };
    let found: SearchResponse = call(&cluster, "pds.search", &search);
    assert_eq!(found.matches.len(), 1);
    hides(&json_of(found.matches[0].patient.as_ref().unwrap()));
}

#[test]
fn no_change_that_is_sent_again_says_where_a_sensitive_patient_was() {
    let cluster = cluster();
    let asked = request(&newcomer(), "a");
    let newcomer = number(cluster.allocate(&asked));
    marked(&cluster, NUMBER, Sensitivity::Restricted);
    marked(&cluster, &newcomer, Sensitivity::Restricted);
    let registered: RegisterResponse = call(&cluster, "pds.register", &register());
    let updated: UpdateResponse = call(&cluster, "pds.update", &update());
    let patched: PatchResponse = call(&cluster, "pds.patch", &patch("p"));
    assert!(registered.replayed && updated.replayed && patched.replayed);
    for patient in [registered.patient, updated.patient, patched.patient] {
        hides(&json_of(&patient.unwrap()));
    }
    let again = cluster.allocate(&asked).unwrap();
    assert!(again.replayed);
    hides(&json_of(&again.patient.unwrap()));
    // Nor does a new one.
    let patched: PatchResponse = call(&cluster, "pds.patch", &patch("q"));
    hides(&json_of(&patched.patient.unwrap()));
}

#[test]
fn nor_does_any_version_of_who_was_merged_or_is_invalid() {
    let cluster = cluster();
    let invalidate = InvalidateRequest {
        nhs_number: NUMBER.to_owned(),
        request_id: "i".to_owned(),
        ..InvalidateRequest::default()
    };
    let done: InvalidateResponse = call(&cluster, "pds.invalidate", &invalidate);
    hides(&json_of(&done.patient.unwrap()));
    for version in history(&cluster) {
        hides(&json_of(&version));
    }
    let patched: PatchResponse = call(&cluster, "pds.patch", &patch("p"));
    hides(&json_of(&patched.patient.unwrap()));
}

#[test]
fn whoever_sends_back_what_they_were_shown_takes_nothing_away() {
    let cluster = cluster();
    marked(&cluster, NUMBER, Sensitivity::Restricted);
    let request = RetrieveRequest {
        nhs_number: NUMBER.to_owned(),
    };
    let shown: RetrieveResponse = call(&cluster, "pds.retrieve", &request);
    let again = UpdateRequest {
        fhir_json: shown.patient.unwrap().fhir_json,
        request_id: "again".to_owned(),
        ..update()
    };
    let updated: UpdateResponse = call(&cluster, "pds.update", &again);
    hides(&json_of(&updated.patient.unwrap()));
    let open = marked(&cluster, NUMBER, Sensitivity::Unrestricted);
    tells(&open);
    for place in ["address", "telecom", "generalPractitioner"] {
        assert_eq!(open[place], patient()[place]);
    }
    // Only the versions of when they were sensitive hide it now.
    let told = history(&cluster);
    let told = told
        .iter()
        .filter(|version| json_of(version).get("address").is_some());
    assert_eq!(told.count(), 4);
}

#[test]
fn nobody_is_shown_who_leads_to_a_sensitive_patient() {
    let cluster = cluster();
    let mother = json!({
        "resourceType": "RelatedPerson",
        "relationship": [{ "coding": [{ "code": "MTH" }] }],
        "name": [{ "family": "Smith", "given": ["Mary"] }],
        "address": [{ "line": ["1 High Street"] }],
    });
    let put = PutRelatedRequest {
        nhs_number: NUMBER.to_owned(),
        fhir_json: mother.to_string().into(),
        request_id: "m".to_owned(),
        ..PutRelatedRequest::default()
    };
    let _: PutRelatedResponse = call(&cluster, "pds.put_related", &put);
    let listed = |number, version_id| {
        let request = ListRelatedRequest {
            nhs_number: NUMBER.to_owned(),
            number,
            version_id,
        };
        let found: ListRelatedResponse = call(&cluster, "pds.list_related", &request);
        (found.related.len(), found.restricted)
    };
    for (number, version_id) in [(0, 0), (1, 0), (1, 1)] {
        assert_eq!(listed(number, version_id), (1, false));
    }
    marked(&cluster, NUMBER, Sensitivity::Restricted);
    // Whether there is one is not told either.
    for (number, version_id) in [(0, 0), (1, 0), (1, 1), (1, 9), (2, 0)] {
        assert_eq!(listed(number, version_id), (0, true));
    }
}
