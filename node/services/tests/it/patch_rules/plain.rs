//! The plain dialect: what may be changed is the same whoever says it, and how; what is asked of the form is not.

use serde_json::{Map, Value, json};
use spine_proto::pds::v1::{
    PatchFormat, PatchResponse, RetrieveRequest, RetrieveResponse, Sensitivity, SetSensitivityRequest,
    SetSensitivityResponse, UpdateRequest, UpdateResponse,
};
use spine_services::SpineError;

use super::{NHS_NUMBER, Shard, UK_CORE, patient, request, shard, with};

/// A whole resource as the next version.
fn put(shard: &mut Shard, resource: &Value) -> Result<Value, SpineError> {
    let update = UpdateRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        any_version: true,
        fhir_json: resource.to_string().into(),
        request_id: "u".to_owned(),
        ..UpdateRequest::default()
    };
    let answer: UpdateResponse = shard.call("pds.update", &update)?;
    Ok(serde_json::from_slice(&answer.patient.unwrap().fhir_json).unwrap())
}

fn patched(shard: &mut Shard, format: PatchFormat, body: &Value) -> Result<Value, SpineError> {
    let answer: PatchResponse = shard.call("pds.patch", &request(format, body.to_string()))?;
    Ok(serde_json::from_slice(&answer.patient.unwrap().fhir_json).unwrap())
}

/// What becomes of the patient where it is to be this one: by a whole resource, a merge patch, a list.
fn become_in_each_format(after: &Value) -> [Result<Value, SpineError>; 3] {
    let before = patient();
    let members = after.as_object().unwrap().iter();
    let changed = members.filter(|(name, value)| before.get(name.as_str()) != Some(*value));
    let changed: Map<String, Value> = changed
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let list: Vec<Value> = changed
        .iter()
        .map(|(name, value)| json!({ "op": "add", "path": format!("/{name}"), "value": value }))
        .collect();
    [
        put(&mut shard(), after),
        patched(&mut shard(), PatchFormat::Merge, &Value::Object(changed)),
        patched(&mut shard(), PatchFormat::Json, &json!(list)),
    ]
}

#[track_caller]
fn refused(rule: &str, change: impl FnOnce(&mut Value)) {
    let mut after = patient();
    change(&mut after);
    for (answer, format) in become_in_each_format(&after)
        .into_iter()
        .zip(["PUT", "merge", "list"])
    {
        let rules = answer.map_err(|error| error.rule.to_string());
        assert_eq!(rules.err().as_deref(), Some(rule), "{format}");
    }
}

fn push(list: &'static str, item: Value) -> impl FnOnce(&mut Value) {
    move |patient| patient[list].as_array_mut().unwrap().push(item)
}

#[test]
fn what_is_refused_of_items_is_refused_in_every_format() {
    refused("PDS-25", |patient| {
        patient["name"][1]["period"] = json!({ "start": "2026-01-03" });
    });
    refused(
        "PDS-26",
        push("name", json!({ "use": "usual", "family": "Jones" })),
    );
    refused(
        "PDS-27",
        push("name", json!({ "use": "nickname", "given": ["Jen"] })),
    );
    refused("PDS-28", |patient| patient["name"][1]["use"] = json!("old"));
    refused("PDS-29", |patient| patient["name"][0]["family"] = json!("Smith,"));
    refused("PDS-31", |patient| {
        patient["address"][0]
            .as_object_mut()
            .unwrap()
            .remove("postalCode");
    });
    refused("PDS-32", push("address", patient()["address"][0].clone()));
    refused(
        "PDS-32",
        push(
            "address",
            json!({ "use": "home", "line": ["1 Side Street"], "postalCode": "LS1 6AE" }),
        ),
    );
    refused(
        "PDS-39",
        push(
            "telecom",
            json!({ "system": "phone", "use": "mobile", "value": "07700900001" }),
        ),
    );
    refused("PDS-40", |patient| patient["telecom"][1]["value"] = json!("jane"));
    refused("PDS-42", |patient| {
        patient["generalPractitioner"][0]["identifier"]["value"] = json!("no code");
    });
    refused("PDS-43", push("extension", patient()["extension"][0].clone()));
}

fn death(patient: &mut Value, code: &str) {
    patient["deceasedDateTime"] = json!("2020-10-22T00:00:00+00:00");
    patient["extension"].as_array_mut().unwrap().push(json!({
        "url": format!("{UK_CORE}DeathNotificationStatus"),
        "extension": [{ "url": "deathNotificationStatus", "valueCodeableConcept": { "coding": [{ "code": code }] } }],
    }));
}

#[test]
fn what_is_refused_of_a_person_is_refused_in_every_format() {
    refused("PDS-36", |patient| patient["gender"] = json!("other"));
    refused("PDS-37", |patient| {
        patient["deceasedDateTime"] = json!("2020-10-22");
    });
    refused("PDS-38", |patient| death(patient, "2"));
    let mut informal = patient();
    death(&mut informal, "1");
    for answer in become_in_each_format(&informal) {
        assert_eq!(answer.unwrap()["deceasedDateTime"], informal["deceasedDateTime"]);
    }
    // What the registrar has told stays; all else can be put right.
    let mut dead = patient();
    death(&mut dead, "2");
    let mut corrected = dead.clone();
    corrected["gender"] = json!("male");
    assert_eq!(put(&mut with(&dead), &corrected).unwrap()["gender"], "male");
    corrected["deceasedDateTime"] = json!("2020-10-23T00:00:00+00:00");
    assert_eq!(&*put(&mut with(&dead), &corrected).unwrap_err().rule, "PDS-38");
}

/// The patient as a client sends it that knows no ids.
fn without_ids(mut patient: Value) -> Value {
    for list in ["name", "address", "telecom", "generalPractitioner"] {
        for item in patient[list].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("id");
        }
    }
    patient
}

#[test]
fn who_sends_no_ids_changes_what_they_change() {
    let mut sent = without_ids(patient());
    sent["telecom"][0]["value"] = json!("07700900009");
    push("name", json!({ "use": "old", "family": "Brown" }))(&mut sent);
    let now = put(&mut shard(), &sent).unwrap();
    for (list, at) in [("name", 0), ("name", 1), ("telecom", 1)] {
        assert_eq!(now[list][at]["id"], patient()[list][at]["id"], "{list} {at}");
    }
    // A list in which nothing else is changed stays as it was.
    assert_eq!(now["address"][0]["line"], patient()["address"][0]["line"]);
    for new in [&now["telecom"][0], &now["name"][2]] {
        let id = new["id"].as_str().unwrap();
        assert_eq!(id.len(), 8, "{id}");
    }
    assert_eq!(now["telecom"][0]["period"], patient()["telecom"][0]["period"]);
    assert_eq!(now["name"][2]["period"], json!({ "start": "2026-01-01" }));
}

#[test]
fn what_never_had_an_id_needs_none_until_it_is_changed() {
    let mut stored = without_ids(patient());
    for list in ["name", "address", "telecom"] {
        for item in stored[list].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("period");
        }
    }
    // Nor would it be let in today.
    stored["address"][0].as_object_mut().unwrap().remove("postalCode");
    push("address", json!({ "use": "work", "line": ["1 Mill Lane"] }))(&mut stored);
    let mut sent = stored.clone();
    sent["gender"] = json!("male");
    push("name", json!({ "use": "old", "family": "Brown" }))(&mut sent);
    sent["address"].as_array_mut().unwrap().pop();
    let now = put(&mut with(&stored), &sent).unwrap();
    assert_eq!(now["gender"], "male");
    assert_eq!(now["address"], sent["address"]);
    assert_eq!(
        (&now["name"][0], &now["name"][1]),
        (&sent["name"][0], &sent["name"][1])
    );
    assert!(now["name"][2]["id"].is_string());
}

#[test]
fn the_first_version_is_taken_as_it_comes() {
    let mut dead = patient();
    death(&mut dead, "2");
    dead["gender"] = json!("other");
    let update = UpdateRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        any_version: true,
        may_create: true,
        fhir_json: dead.to_string().into(),
        request_id: "u".to_owned(),
        ..UpdateRequest::default()
    };
    let created: UpdateResponse = Shard::new().call("pds.update", &update).unwrap();
    assert_eq!(created.patient.unwrap().version_id, 1);
}

fn sensitive() -> Value {
    let mut sensitive = patient();
    sensitive["meta"] = json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R",
    }] });
    sensitive
}

#[test]
fn who_is_not_shown_where_a_patient_is_does_not_take_it_away() {
    let mut shard = with(&sensitive());
    let retrieve = RetrieveRequest {
        nhs_number: NHS_NUMBER.to_owned(),
    };
    let read: RetrieveResponse = shard.call("pds.retrieve", &retrieve).unwrap();
    let mut sent: Value = serde_json::from_slice(&read.patient.unwrap().fhir_json).unwrap();
    assert_eq!(sent.get("address"), None);
    sent["gender"] = json!("male");
    let now = put(&mut shard, &sent).unwrap();
    assert_eq!((&now["gender"], now.get("address")), (&json!("male"), None));
    let open = SetSensitivityRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        sensitivity: Sensitivity::Unrestricted.into(),
        request_id: "s".to_owned(),
        ..SetSensitivityRequest::default()
    };
    let opened: SetSensitivityResponse = shard.call("pds.set_sensitivity", &open).unwrap();
    let now: Value = serde_json::from_slice(&opened.patient.unwrap().fhir_json).unwrap();
    for list in ["address", "telecom", "generalPractitioner"] {
        assert_eq!(now[list], patient()[list], "{list}");
    }
    let extensions = now["extension"].as_array().unwrap();
    assert!(extensions.contains(&patient()["extension"][0]) && extensions.len() == 2);
}

/// Whoever patches was not shown what a sensitive record hides: no change touches it, and no test tells of it.
#[test]
fn pds_64_what_is_not_shown_is_not_patched() {
    let mut shard = with(&sensitive());
    let test = |path: &str, value: Value| json!([{ "op": "test", "path": path, "value": value }]);
    let of_guess = json!([
        { "op": "test", "path": "/address/0/postalCode", "value": "LS1 6AE" },
        { "op": "remove", "path": "/x" },
    ]);
    for (format, patch) in [
        (PatchFormat::Json, of_guess.clone()),
        (PatchFormat::Pds, json!({ "patches": of_guess })),
        (PatchFormat::Json, test("", json!({}))),
        (PatchFormat::Json, test("/telecom", json!([]))),
        (
            PatchFormat::Json,
            json!([{ "op": "remove", "path": "/extension/0" }]),
        ),
        (PatchFormat::Merge, json!({ "telecom": null })),
        (PatchFormat::Merge, json!({ "extension": [] })),
    ] {
        let error = patched(&mut shard, format, &patch).err();
        let error = error.unwrap_or_else(|| panic!("{patch} is accepted"));
        assert_eq!(
            (&*error.rule, &*error.reason),
            ("PDS-64", "FORBIDDEN_UPDATE"),
            "{patch}"
        );
    }
    let gender = json!({ "gender": "unknown" });
    assert!(patched(&mut shard, PatchFormat::Merge, &gender).is_ok());
}

/// Whoever sends neither ids nor periods changes nothing by sending the same again.
#[test]
fn periods_that_are_left_out_stay_what_they_are() {
    let mut shard = shard();
    let mut sent = patient();
    for list in ["name", "address", "telecom"] {
        for item in sent[list].as_array_mut().unwrap() {
            item.as_object_mut()
                .unwrap()
                .retain(|name, _| name != "id" && name != "period");
        }
    }
    let first = put(&mut shard, &sent).unwrap();
    for list in ["name", "address", "telecom"] {
        assert_eq!(first[list], patient()[list], "{list}");
    }
}
