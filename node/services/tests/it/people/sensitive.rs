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
use spine_services::SpineError;
use spine_services::pds::listing::{Next, next};
use spine_services::pds::restricted::{HIDDEN, HIDDEN_EXTENSIONS};
use spine_services::pds::watch::versions;
use spine_statemachine::key::is_patient;
use spine_statemachine::store::{Key, OrderedRead, Record};

use super::{Cluster, UK_CORE, json_of, newcomer, number, request};
use crate::harness::Shard;

const NUMBER: &str = "9990000018";
/// Whereabouts, and what leads to them.
const PLACES: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];
/// The ends of the urls of extensions that lead to them, too.
const EXTENSIONS: [&str; 4] = [
    "UKCore-NominatedPharmacy",
    "UKCore-PreferredDispenserOrganization",
    "UKCore-MedicalApplianceSupplier",
    "patient-birthPlace",
];

/// With something of everything, and all that is hidden.
fn patient() -> Value {
    let text = include_str!("../../../testdata/patient.json");
    let mut patient: Value = serde_json::from_str(text).unwrap();
    patient["contact"] = json!([{
        "id": "c1",
        "period": { "start": "2020-01-01" },
        "relationship": [{ "coding": [{ "code": "C" }] }],
        "telecom": [{ "system": "phone", "value": "01632960000" }],
    }]);
    let dispenser = |name: &str, code: &str| {
        let reference = json!({ "identifier": { "value": code } });
        json!({ "url": format!("{UK_CORE}{name}"), "valueReference": reference })
    };
    let born = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace";
    let extensions = patient["extension"].as_array_mut().unwrap();
    extensions.extend([
        dispenser("PreferredDispenserOrganization", "Y34567"),
        dispenser("MedicalApplianceSupplier", "Y45678"),
        json!({ "url": born, "valueAddress": { "city": "Leeds" } }),
    ]);
    patient
}

/// The patient of this test has what is hidden, and the test looks for it.
#[test]
fn what_is_hidden_is_what_these_tests_look_for() {
    assert_eq!((HIDDEN, HIDDEN_EXTENSIONS), (PLACES, EXTENSIONS));
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
    for place in PLACES {
        assert!(patient[place].is_array(), "{place}: {patient}");
    }
    for end in EXTENSIONS {
        assert!(patient.to_string().contains(end), "{end}: {patient}");
    }
}

#[track_caller]
fn hides(patient: &Value) {
    assert!(patient["name"].is_array(), "{patient}");
    for place in PLACES {
        assert!(patient.get(place).is_none(), "{place}: {patient}");
    }
    for end in EXTENSIONS {
        assert!(!patient.to_string().contains(end), "{end}: {patient}");
    }
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
        let Next::Patient { patient, .. } = next(&shard.store, &subject_key, None).unwrap() else {
            panic!("there is a patient");
        };
        [late(shard, &written(shard)), json_of(&patient)]
    })
}

/// The patient's version that was written last, as it lies in the feed from then on.
fn written(shard: &Shard) -> (Key, Record) {
    let mut records = shard.store.records().iter();
    let (key, record) = records.find(|(key, _)| is_patient(key)).unwrap();
    (key.clone(), record.clone())
}

/// A version as it is shown to whoever reads it only now.
fn late(shard: &Shard, (key, record): &(Key, Record)) -> Value {
    let current = shard.store.get(key).unwrap();
    let written = versions([(key, Some(record))].into_iter(), 0).next().unwrap();
    let shown = written.shown(&shard.context().subject_key, current.as_ref());
    json_of(&shown.unwrap())
}

#[test]
fn the_feed_does_not_tell_who_comes_late_where_somebody_was_who_is_sensitive_now() {
    let cluster = cluster();
    let first = cluster.shard(|shard| written(shard));
    let shown = || cluster.shard(|shard| late(shard, &first));
    tells(&shown());
    marked(&cluster, NUMBER, Sensitivity::Restricted);
    hides(&shown());
    let open = marked(&cluster, NUMBER, Sensitivity::Unrestricted);
    tells(&open);
    tells(&shown());
    let invalidate = InvalidateRequest {
        nhs_number: NUMBER.to_owned(),
        request_id: "i".to_owned(),
        ..InvalidateRequest::default()
    };
    let _: InvalidateResponse = call(&cluster, "pds.invalidate", &invalidate);
    hides(&shown());
    // Of whom nothing is known any more, nothing is told.
    let unknown = cluster.shard(|shard| {
        let (key, record) = &first;
        let written = versions([(key, Some(record))].into_iter(), 0).next().unwrap();
        written.shown(&shard.context().subject_key, None)
    });
    hides(&json_of(&unknown.unwrap()));
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
    for place in PLACES {
        assert_eq!(open[place], patient()[place]);
    }
    // Only the versions of when they were sensitive hide it now.
    let told = history(&cluster);
    let told = told
        .iter()
        .filter(|version| json_of(version).get("address").is_some());
    assert_eq!(told.count(), 4);
}

/// What comes of a whole record that is made of what everybody is shown.
fn sent(cluster: &Cluster, change: impl FnOnce(&mut Value)) -> Result<Patient, SpineError> {
    let mut resource = read(cluster);
    change(&mut resource);
    let request = UpdateRequest {
        fhir_json: resource.to_string().into(),
        request_id: "said".to_owned(),
        ..update()
    };
    let updated: Result<UpdateResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.update", &request));
    updated.map(|updated| updated.patient.unwrap())
}

/// Whoever adds to a list that they were not shown would take away what is in it.
#[test]
fn whoever_says_in_a_whole_record_what_they_were_not_shown_is_refused() {
    let cluster = cluster();
    marked(&cluster, NUMBER, Sensitivity::Restricted);
    let before = cluster.read(NUMBER).unwrap().version_id;
    for place in PLACES {
        // Also what they are: else it could be found out by trying.
        for said in [json!([{ "id": "new" }]), patient()[place].clone()] {
            let refused = sent(&cluster, |resource| resource[place] = said);
            let refused = refused.err().unwrap();
            assert_eq!(
                (&*refused.rule, &*refused.reason),
                ("PDS-64", "FORBIDDEN_UPDATE"),
                "{place}"
            );
        }
    }
    let hidden = patient()["extension"].as_array().unwrap().clone();
    let hidden = hidden.iter().filter(|one| one["url"] != "urn:other");
    for extension in hidden {
        let refused = sent(&cluster, |resource| resource["extension"] = json!([extension]));
        assert_eq!(&*refused.err().unwrap().rule, "PDS-64", "{extension}");
    }
    assert_eq!(cluster.read(NUMBER).unwrap().version_id, before);
    // An empty list says nothing.
    let empty = sent(&cluster, |resource| {
        for place in PLACES {
            resource[place] = json!([]);
        }
        resource["extension"] = json!([]);
    });
    hides(&json_of(&empty.unwrap()));
    let open = marked(&cluster, NUMBER, Sensitivity::Unrestricted);
    tells(&open);
    for place in PLACES {
        assert_eq!(open[place], patient()[place]);
    }
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
