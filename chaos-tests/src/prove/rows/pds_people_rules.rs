//! The rules of new patients, of what a person is and of who is there for them, each broken.

use std::time::Duration;

use serde_json::{Value, json};
use spine_client::{AllocateOptions, Allocated, DeathStatus, Error, PatchFormat, SpineClient};

use super::pds_cases::{PDS, PLAIN, patient, request_id};
use crate::http::Call;
use crate::prove::RowError;

/// Nothing was done to them; the other rules are about this one, too.
const NUMBER: &str = "9990000018";
const OTHER: &str = "9990000026";
/// Was merged into the one below.
const SUPERSEDED: &str = "9990000034";
const SURVIVOR: &str = "9990000042";
/// Was marked as invalid.
const INVALID: &str = "9990000050";
/// The registrar has told the death.
const DEAD: &str = "9990000069";
/// Has as many related persons as there may be.
const FULL: &str = "9990000077";
/// Nobody is shown where this one is.
const SENSITIVE: &str = "9990000107";
/// Two who meet one search.
const TWINS: [&str; 2] = ["9990000085", "9990000093"];
const RELATED_MAX: u32 = 64;
const DIED: &str = "2020-10-22T00:00:00+00:00";
const RESOURCE: &str = "application/fhir+json";
/// Setting up takes hundreds of changes.
const PREPARE: Duration = Duration::from_secs(60);

/// A rule, and a call that breaks it on each transport that has one.
pub(super) struct Case {
    pub(super) id: &'static str,
    /// No route tells of deaths.
    pub(super) http: Option<Call>,
    pub(super) grpc: Grpc,
}

/// A call of the client library.
pub(super) enum Grpc {
    /// Of the national service, or of a plain client with these criteria.
    Allocate(Value, Option<&'static [(&'static str, &'static str)]>),
    Merge(&'static str, &'static str),
    Update(&'static str, Value),
    Invalidate(&'static str),
    Death(&'static str, DeathStatus, &'static str),
    Related(&'static str, u32, Value),
    /// A merge patch.
    Patch(&'static str, Value),
}

/// What came of it.
pub(super) enum Told {
    Done,
    /// An answer that names whom it is about, and no failure.
    Alike,
    Several,
    Refused(Box<Error>),
}

/// Makes the people whom the cases are about.
pub(super) async fn prepare(client: &SpineClient) -> Result<(), RowError> {
    let pds = client.pds().with_deadline(PREPARE);
    for number in [SUPERSEDED, SURVIVOR, INVALID, DEAD, FULL] {
        pds.register(patient(number).to_string()).await?;
    }
    pds.register(sensitive(SENSITIVE).to_string()).await?;
    for number in TWINS {
        pds.register(twin(number).to_string()).await?;
    }
    pds.merge(SUPERSEDED, 0, SURVIVOR).await?;
    pds.invalidate(INVALID, 0).await?;
    pds.notify_death(DEAD, 0, DeathStatus::Formal, DIED).await?;
    pds.put_related(NUMBER, 0, 0, Some(mother(NUMBER).to_string().into()))
        .await?;
    for _ in 0..RELATED_MAX {
        pds.put_related(FULL, 0, 0, Some(mother(FULL).to_string().into()))
            .await?;
    }
    let first = pds.allocate(newcomer().to_string(), national()).await?;
    match first {
        Allocated::New(_) => Ok(()),
        other => Err(RowError::because(format!("the first newcomer: {other:?}"))),
    }
}

/// Sends a call of the client library.
pub(super) async fn told(client: &SpineClient, call: &Grpc) -> Told {
    let pds = client.pds();
    let changed = match call {
        Grpc::Allocate(resource, criteria) => {
            let options = criteria.map_or_else(national, of_criteria);
            return match pds.allocate(resource.to_string(), options).await {
                Ok(Allocated::New(_) | Allocated::Existing(_)) => Told::Done,
                Ok(Allocated::Alike(_)) => Told::Alike,
                Ok(Allocated::Several) => Told::Several,
                Err(error) => Told::Refused(Box::new(error)),
            };
        }
        Grpc::Merge(one, other) => pds.merge(one, 0, other).await.map(drop),
        Grpc::Update(number, resource) => pds.update(number, 1, resource.to_string()).await.map(drop),
        Grpc::Patch(number, patch) => {
            let patched = pds.patch(number, 0, PatchFormat::Merge, patch.to_string());
            patched.await.map(drop)
        }
        Grpc::Invalidate(number) => pds.invalidate(number, 0).await.map(drop),
        Grpc::Death(number, status, deceased) => {
            pds.notify_death(number, 0, *status, deceased).await.map(drop)
        }
        Grpc::Related(number, which, resource) => {
            let resource = Some(resource.to_string().into());
            pds.put_related(number, *which, 0, resource).await.map(drop)
        }
    };
    changed
        .err()
        .map_or(Told::Done, |error| Told::Refused(Box::new(error)))
}

fn national() -> AllocateOptions {
    AllocateOptions {
        national: true,
        ..AllocateOptions::default()
    }
}

fn of_criteria(criteria: &[(&str, &str)]) -> AllocateOptions {
    let if_none = criteria
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    AllocateOptions {
        national: false,
        if_none: if_none.collect(),
    }
}

/// All that a create of the national service asks for, and nothing else.
fn newcomer() -> Value {
    json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "given": ["Jane"], "family": "Edwards", "period": { "start": "1986-07-01" } }],
        "address": [{ "use": "home", "line": ["1 Trevelyan Square", "Leeds"], "postalCode": "LS1 6AE", "period": { "start": "2020-01-01" } }],
        "gender": "female",
        "birthDate": "1982-07-10",
        "extension": [{
            "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-RegisteringAuthority",
            "extension": [{ "url": "organisationIdentifier", "valueString": "RGS" }],
        }],
    })
}

fn twin(number: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": number,
        "name": [{ "use": "usual", "given": [format!("Twin{}", &number[8..])], "family": "Gemini" }],
        "gender": "female",
        "birthDate": "1990-01-01",
    })
}

fn third() -> Value {
    let mut third = twin(TWINS[0]);
    if let Some(members) = third.as_object_mut() {
        members.remove("id");
    }
    third["name"][0]["given"] = json!(["Olga"]);
    third
}

fn mother(number: &str) -> Value {
    json!({
        "resourceType": "RelatedPerson",
        "patient": { "reference": format!("Patient/{number}") },
        "relationship": [{ "coding": [{ "code": "MTH" }] }],
        "name": [{ "family": "Smith", "given": ["Mary"] }],
        "address": [{ "line": ["1 High Street"] }],
    })
}

fn with(mut resource: Value, member: &str, value: Value) -> Value {
    resource[member] = value;
    resource
}

fn without(mut resource: Value, member: &str) -> Value {
    if let Some(members) = resource.as_object_mut() {
        members.remove(member);
    }
    resource
}

fn send(method: &'static str, path: String, content_type: &str, body: &Value) -> Call {
    Call::get(path)
        .header("content-type", content_type)
        .with(method, body.to_string())
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = newcomers();
    all.extend(conditions());
    all.extend(persons());
    all.extend(deaths());
    all.extend(relatives());
    all
}

fn newcomers() -> Vec<Case> {
    let case = |id, number, resource: Value| Case {
        id,
        http: Some(
            send("POST", format!("{PDS}/Patient"), RESOURCE, &resource)
                .header("x-request-id", request_id(number)),
        ),
        grpc: Grpc::Allocate(resource, None),
    };
    let mut two_names = newcomer();
    if let Some(names) = two_names["name"].as_array_mut() {
        names.push(json!({ "use": "nickname", "given": ["Jo"], "period": { "start": "2001-01-01" } }));
    }
    vec![
        case("PDS-48", 48, without(newcomer(), "gender")),
        case("PDS-49", 49, two_names),
        case("PDS-50", 50, with(newcomer(), "birthDate", json!("1982-07"))),
        case("PDS-51", 51, with(newcomer(), "pets", json!([]))),
        case("PDS-52", 52, newcomer()),
    ]
}

/// What a plain client says of somebody new keeps the rules of changes: one of each part. What breaks one of
/// them is told of a create, whatever the rule says of a change.
pub(super) fn plain_newcomers() -> Vec<Case> {
    let case = |id, member: &str, value: Value| {
        let resource = with(third(), member, value);
        Case {
            id,
            http: Some(send("POST", format!("{PLAIN}/Patient"), RESOURCE, &resource)),
            grpc: Grpc::Allocate(resource, Some(&[])),
        }
    };
    let usual = json!({ "use": "usual", "given": ["Olga"], "family": "Gemini" });
    let odd = json!({ "use": "usual", "given": ["Olga"], "family": "Gemini," });
    let home = json!({ "use": "home", "line": ["1 High Street"] });
    let email = json!({ "system": "email", "use": "home", "value": "olga" });
    let fax = json!({ "telecom": [{ "system": "fax", "value": "0" }] });
    let practice = json!({ "type": "Organization", "identifier": { "value": "no code" } });
    vec![
        case("PDS-26", "name", json!([usual, usual])),
        case("PDS-29", "name", json!([odd])),
        case("PDS-31", "address", json!([home])),
        case("PDS-37", "deceasedDateTime", json!("2020-10-22")),
        case("PDS-38", "extension", json!([formally_dead()])),
        case("PDS-40", "telecom", json!([email])),
        case("PDS-41", "contact", json!([fax])),
        case("PDS-42", "generalPractitioner", json!([practice])),
        case("PDS-43", "extension", json!([{}])),
    ]
}

/// The registrar has told it; nobody else may.
fn formally_dead() -> Value {
    json!({
        "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-DeathNotificationStatus",
        "extension": [{
            "url": "deathNotificationStatus",
            "valueCodeableConcept": { "coding": [{ "code": "2" }] },
        }],
    })
}

fn conditions() -> Vec<Case> {
    let case = |id, criteria: &'static [(&'static str, &'static str)]| {
        let query: Vec<String> = criteria
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let call = send("POST", format!("{PLAIN}/Patient"), RESOURCE, &third());
        Case {
            id,
            http: Some(call.header("if-none-exist", query.join("&"))),
            grpc: Grpc::Allocate(third(), Some(criteria)),
        }
    };
    vec![
        case("PDS-53", &[("family", "Other"), ("birthdate", "1990-01-01")]),
        case("PDS-54", &[("family", "Gemini"), ("birthdate", "1990-01-01")]),
    ]
}

fn persons() -> Vec<Case> {
    let merge = |source: &str, target: &str| {
        let reference = |name: &str, number: &str| json!({ "name": name, "valueReference": { "reference": format!("Patient/{number}") } });
        let parameters = [
            reference("source-patient", source),
            reference("target-patient", target),
        ];
        let body = json!({ "resourceType": "Parameters", "parameter": parameters });
        Some(send("POST", format!("{PLAIN}/Patient/$merge"), RESOURCE, &body))
    };
    let patch = |number: &str, patch: &Value| {
        let path = format!("{PLAIN}/Patient/{number}");
        Some(send("PATCH", path, "application/merge-patch+json", patch))
    };
    let (gender, moved) = (json!({ "gender": "unknown" }), json!({ "address": null }));
    // All of it is said, also what nobody was shown.
    let whole = |resource: &Value| {
        let path = format!("{PLAIN}/Patient/{SENSITIVE}");
        Some(send("PUT", path, RESOURCE, resource))
    };
    let anew = patient(SENSITIVE);
    let sensitive = sensitive(NUMBER);
    vec![
        Case {
            id: "PDS-55",
            http: merge(NUMBER, NUMBER),
            grpc: Grpc::Merge(NUMBER, NUMBER),
        },
        Case {
            id: "PDS-56",
            http: patch(SUPERSEDED, &gender),
            grpc: Grpc::Invalidate(SUPERSEDED),
        },
        Case {
            id: "PDS-56",
            http: merge(SUPERSEDED, OTHER),
            grpc: Grpc::Merge(SUPERSEDED, OTHER),
        },
        Case {
            id: "PDS-57",
            http: patch(INVALID, &gender),
            grpc: Grpc::Invalidate(INVALID),
        },
        Case {
            id: "PDS-58",
            http: Some(send(
                "PUT",
                format!("{PLAIN}/Patient/{NUMBER}"),
                RESOURCE,
                &sensitive,
            )),
            grpc: Grpc::Update(NUMBER, sensitive),
        },
        Case {
            id: "PDS-64",
            http: patch(SENSITIVE, &moved),
            grpc: Grpc::Patch(SENSITIVE, moved),
        },
        Case {
            id: "PDS-64",
            http: whole(&anew),
            grpc: Grpc::Update(SENSITIVE, anew),
        },
    ]
}

fn sensitive(number: &str) -> Value {
    let mut sensitive = patient(number);
    sensitive["meta"] = json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
        "code": "R",
    }] });
    sensitive
}

fn deaths() -> Vec<Case> {
    let case = |id, number, status, deceased| Case {
        id,
        http: None,
        grpc: Grpc::Death(number, status, deceased),
    };
    vec![
        case("PDS-59", DEAD, DeathStatus::Informal, DIED),
        case("PDS-60", NUMBER, DeathStatus::Formal, "yesterday"),
        case("PDS-60", NUMBER, DeathStatus::Removed, ""),
    ]
}

fn relatives() -> Vec<Case> {
    let post = |resource: &Value| Some(send("POST", format!("{PLAIN}/RelatedPerson"), RESOURCE, resource));
    let put = |resource: &Value| {
        let path = format!("{PLAIN}/RelatedPerson/{NUMBER}-1");
        Some(send("PUT", path, RESOURCE, resource))
    };
    let nobody = without(mother(NUMBER), "name");
    vec![
        Case {
            id: "PDS-61",
            http: post(&nobody),
            grpc: Grpc::Related(NUMBER, 0, nobody),
        },
        Case {
            id: "PDS-62",
            http: put(&mother(OTHER)),
            grpc: Grpc::Related(NUMBER, 1, mother(OTHER)),
        },
        Case {
            id: "PDS-63",
            http: post(&mother(FULL)),
            grpc: Grpc::Related(FULL, 0, mother(FULL)),
        },
    ]
}
