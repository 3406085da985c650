//! The list of all patients: nobody is missed, wherever one goes on and whatever is written meanwhile.

use std::collections::BTreeMap;

use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::{
    RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse, VoidRequest, VoidResponse,
};
use spine_services::pds::listing::{Next, Position, next};

use super::harness::Shard;
use super::pds_rules::least;

/// The first valid numbers of the range for tests.
fn numbers(count: usize) -> Vec<String> {
    let text = (9_990_000_000_u64..).map(|number| number.to_string());
    text.filter(|text| NhsNumber::parse(text).is_ok())
        .take(count)
        .collect()
}

fn body(number: &str, family: &str) -> String {
    let mut patient = least();
    patient["id"] = number.into();
    patient["name"][0]["family"] = family.into();
    patient.to_string()
}

fn register(shard: &mut Shard, number: &str) {
    let request = RegisterRequest {
        fhir_json: body(number, "Example").into(),
        request_id: format!("r{number}"),
        ..RegisterRequest::default()
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
}

fn update(shard: &mut Shard, number: &str) {
    let request = UpdateRequest {
        nhs_number: number.to_owned(),
        version_id: 1,
        fhir_json: body(number, "Other").into(),
        request_id: format!("u{number}"),
        ..UpdateRequest::default()
    };
    let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
}

/// What stands behind a place: the version of a patient, or nothing for a number without one. `None` at the end.
fn step(shard: &Shard, after: &mut Option<Position>) -> Option<Option<(String, u32, u64)>> {
    let subject_key = shard.context().subject_key;
    match next(&shard.store, &subject_key, after.as_ref()).unwrap() {
        Next::End => None,
        Next::Nobody(position) => {
            *after = Some(position);
            Some(None)
        }
        Next::Patient {
            position,
            index,
            patient,
        } => {
            *after = Some(position);
            Some(Some((patient.nhs_number, patient.version_id, index)))
        }
    }
}

#[test]
fn every_patient_is_listed_once_as_it_is_now_and_a_number_that_was_given_up_is_nobody() {
    let mut shard = Shard::new();
    let numbers = numbers(41);
    let (given_up, given) = numbers.split_last().unwrap();
    for number in given {
        register(&mut shard, number);
    }
    update(&mut shard, &given[7]);
    let newest = shard.index;
    let void = VoidRequest {
        nhs_number: given_up.clone(),
        request_id: "void".to_owned(),
    };
    let _: VoidResponse = shard.call("pds.void", &void).unwrap();
    let (mut after, mut listed, mut nobody) = (None, BTreeMap::new(), 0);
    while let Some(found) = step(&shard, &mut after) {
        match found {
            Some((number, version, index)) => assert!(listed.insert(number, (version, index)).is_none()),
            None => nobody += 1,
        }
    }
    assert_eq!(nobody, 1);
    let listed_numbers: Vec<&String> = listed.keys().collect();
    assert_eq!(listed_numbers, given.iter().collect::<Vec<_>>());
    assert_eq!(listed[&given[7]], (2, newest));
    assert!(listed.values().filter(|(version, _)| *version == 1).count() == given.len() - 1);
}

#[test]
fn whoever_was_there_at_the_first_step_is_listed_though_others_come_meanwhile() {
    let mut shard = Shard::new();
    let numbers = numbers(60);
    let (there, late) = numbers.split_at(30);
    for number in there {
        register(&mut shard, number);
    }
    let (mut after, mut listed, mut late) = (None, Vec::new(), late.iter());
    while let Some(found) = step(&shard, &mut after) {
        listed.extend(found.map(|(number, ..)| number));
        if let Some(number) = late.next() {
            register(&mut shard, number);
        }
    }
    assert!(there.iter().all(|number| listed.contains(number)));
    let distinct: std::collections::BTreeSet<&String> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "nobody twice");
    assert!(listed.len() > there.len(), "some that came meanwhile lie behind");
}
