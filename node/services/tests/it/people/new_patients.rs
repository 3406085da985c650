//! The rules of new patients, each with a test named after it.

use serde_json::{Value, json};
use spine_proto::pds::v1::{AllocateRequest, AllocateResponse, SearchParameter};
use spine_services::SpineError;
use spine_services::pds::access::Mode;
use spine_services::pds::rules::{PDS_48, PDS_49, PDS_50, PDS_51, PDS_53, Rule};

use super::{Cluster, finish, interleave, newcomer, number, request};

fn asked(change: impl FnOnce(&mut Value)) -> Result<AllocateResponse, SpineError> {
    let mut patient = newcomer();
    change(&mut patient);
    Cluster::new().allocate(&request(&patient, "a"))
}

#[track_caller]
fn refuses(rule: Rule, result: Result<AllocateResponse, SpineError>) {
    let error = result.err().expect("the rule should refuse this");
    assert_eq!((&*error.rule, &*error.reason), (rule.id, rule.reason), "{error}");
}

#[test]
fn pds_48_a_new_patient_says_what_is_needed() {
    for member in ["name", "gender", "birthDate", "address", "extension"] {
        refuses(
            PDS_48,
            asked(|patient| drop(patient.as_object_mut().unwrap().remove(member))),
        );
    }
    refuses(PDS_48, asked(|patient| patient["name"] = json!([])));
    refuses(
        PDS_48,
        asked(|patient| patient["extension"] = json!([{ "url": "urn:other" }])),
    );
    refuses(
        PDS_48,
        asked(|patient| drop(patient["address"][0].as_object_mut().unwrap().remove("period"))),
    );
    assert!(asked(|_| {}).is_ok());
}

#[test]
fn pds_49_a_new_patient_has_one_name() {
    let second = json!({ "use": "nickname", "given": ["Jo"], "period": { "start": "2001-01-01" } });
    refuses(
        PDS_49,
        asked(|patient| patient["name"].as_array_mut().unwrap().push(second)),
    );
    refuses(
        PDS_49,
        asked(|patient| patient["name"][0]["use"] = json!("nickname")),
    );
}

#[test]
fn pds_50_what_is_said_of_a_new_patient_keeps_the_rules_of_changes() {
    refuses(PDS_50, asked(|patient| patient["birthDate"] = json!("1982-07")));
    refuses(
        PDS_50,
        asked(|patient| patient["name"][0]["family"] = json!("E#")),
    );
    refuses(
        PDS_50,
        asked(|patient| patient["address"][0]["postalCode"] = json!("nowhere")),
    );
    refuses(
        PDS_50,
        asked(|patient| patient["address"][0]["period"]["start"] = json!("2030-01-01")),
    );
    let error = asked(|patient| patient["address"][0]["line"] = json!([]))
        .err()
        .unwrap();
    assert_eq!(
        error.message,
        "Invalid create with error - an address has 1 to 5 lines"
    );
    // Of a plain client less is asked.
    let plain = AllocateRequest {
        national: false,
        ..request(
            &json!({ "resourceType": "Patient", "id": "x", "name": [{ "use": "usual", "family": "Edwards" }],
                     "gender": "female", "birthDate": "1982" }),
            "a",
        )
    };
    assert!(Cluster::new().allocate(&plain).is_ok());
}

#[test]
fn pds_51_a_new_patient_has_no_other_members() {
    for (member, value) in [
        ("id", json!("9990000018")),
        ("deceasedDateTime", json!("2020-01-01")),
        ("generalPractitioner", json!([])),
        ("pets", json!([])),
    ] {
        refuses(PDS_51, asked(|patient| patient[member] = value));
    }
}

#[test]
fn pds_52_nobody_alike_has_a_number() {
    let cluster = Cluster::new();
    let first = number(cluster.allocate(&request(&newcomer(), "a")));
    let second = cluster.allocate(&request(&newcomer(), "b")).unwrap();
    assert_eq!((second.alike, second.patient.is_none()), (vec![first], true));
    assert_eq!(cluster.patients(), 1);
    // Two who are alike, from before.
    for (id, given) in [("9990000018", "Ann"), ("9990000026", "Anna")] {
        cluster.register(
            &json!({ "resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1990-01-01",
            "name": [{ "use": "usual", "family": "Hill", "given": [given] }] }),
        );
    }
    let mut patient = newcomer();
    patient["birthDate"] = json!("1990-01-01");
    patient["name"][0]["family"] = json!("Hill");
    patient["name"][0]["given"] = json!(["Ann"]);
    assert_eq!(
        cluster.allocate(&request(&patient, "c")).unwrap().alike,
        ["9990000018", "9990000026"]
    );
    // Somebody alike is found under a name of earlier times, and not where the record is marked as invalid.
    assert_eq!(cluster.patients(), 3);
}

fn plain(id: &str, criteria: &[(&str, &str)]) -> AllocateRequest {
    let mut patient = newcomer();
    patient.as_object_mut().unwrap().remove("extension");
    AllocateRequest {
        national: false,
        if_none: criteria
            .iter()
            .map(|(name, value)| SearchParameter {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        ..request(&patient, id)
    }
}

const EDWARDS: [(&str, &str); 2] = [("family", "Edwards"), ("birthdate", "1982-07-10")];

#[test]
fn pds_53_if_none_exist_describes_the_new_patient() {
    let cluster = Cluster::new();
    for criteria in [
        &[("family", "Smith"), ("birthdate", "1982-07-10")][..],
        &[("family", "Edwards"), ("birthdate", "1982-07-11")],
        &[
            ("family", "Edwards"),
            ("birthdate", "ge1982-07-10"),
            ("birthdate", "le1982-07-10"),
            ("gender", "male"),
        ],
        &[
            ("family", "Edwards"),
            ("birthdate", "1982-07-10"),
            ("given", "Jane"),
            ("_fuzzy-match", "true"),
        ],
        &[("identifier", "https://fhir.nhs.uk/Id/nhs-number|9990000018")],
    ] {
        refuses(PDS_53, cluster.allocate(&plain("a", criteria)));
    }
    let malformed = cluster.allocate(&plain("a", &[("family", "Edwards")]));
    assert_eq!(malformed.err().unwrap().reason, "INVALID_SEARCH_DATA");
    let made = cluster.allocate(&plain("a", &EDWARDS)).unwrap();
    assert!(!made.existing);
    let again = cluster.allocate(&plain("b", &EDWARDS)).unwrap();
    assert!(again.existing && again.patient.unwrap().nhs_number == number(Ok(made)));
}

#[test]
fn pds_54_if_none_exist_is_met_by_one_patient_at_most() {
    let cluster = Cluster::new();
    for (id, given) in [("9990000018", "Ann"), ("9990000026", "Wilhelmina")] {
        cluster.register(
            &json!({ "resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1982-07-10",
            "name": [{ "use": "usual", "family": "Edwards", "given": [given] }] }),
        );
    }
    let several = cluster.allocate(&plain("a", &EDWARDS)).unwrap();
    assert!(several.several && several.patient.is_none());
    assert_eq!(cluster.patients(), 2);
}

#[test]
fn of_those_who_create_unless_it_exists_one_wins_and_the_others_are_told_who() {
    for seed in 0..60 {
        let cluster = Cluster::new();
        let asked: Vec<AllocateRequest> = (0..4).map(|id| plain(&format!("{id}"), &EDWARDS)).collect();
        let running = asked.iter().map(|asked| cluster.allocating(asked));
        let answers = interleave(running, seed);
        let (mut made, mut numbers) = (0, std::collections::BTreeSet::new());
        for answer in answers {
            let answer = answer.unwrap();
            made += u32::from(!answer.existing);
            numbers.insert(answer.patient.unwrap().nhs_number);
        }
        assert_eq!(
            (made, numbers.len(), cluster.patients(), cluster.claims()),
            (1, 1, 1, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn a_patient_whose_number_is_known_is_created_under_it_once() {
    let known = |id: &str, conditional: bool| {
        let criteria = [("identifier", "https://fhir.nhs.uk/Id/nhs-number|9990000018")];
        let mut asked = plain(id, if conditional { &criteria } else { &[] });
        let mut patient: Value = serde_json::from_slice(&asked.fhir_json).unwrap();
        patient["identifier"] =
            json!([{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000018" }]);
        asked.fhir_json = patient.to_string().into();
        asked
    };
    for seed in 0..50 {
        let cluster = Cluster::new();
        let asked: Vec<AllocateRequest> = (0..3).map(|id| known(&format!("{id}"), true)).collect();
        let running = asked.iter().map(|asked| cluster.allocating(asked));
        let answers = interleave(running, seed);
        let existing = answers
            .iter()
            .filter(|answer| answer.as_ref().is_ok_and(|answer| answer.existing));
        assert_eq!((existing.count(), cluster.patients()), (2, 1), "seed {seed}");
        let unconditional = finish(cluster.allocating(&known("x", false)));
        assert_eq!(unconditional.err().unwrap().reason, "PATIENT_EXISTS");
    }
}

#[test]
fn only_people_who_work_in_health_care_create_patients() {
    for (mode, reason) in [
        (Mode::Patient, "ACCESS_DENIED"),
        (Mode::Application, "INVALID_METHOD"),
        (Mode::PrivilegedApplication, "INVALID_METHOD"),
    ] {
        let cluster = Cluster::new();
        cluster.shard(|shard| {
            let permission = mode.permission().map(str::to_owned);
            shard.principal.permissions.extend(permission);
        });
        let refused = cluster.allocate(&request(&newcomer(), "a")).err().unwrap();
        assert_eq!(refused.reason, reason);
    }
}
