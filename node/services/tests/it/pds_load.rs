//! A load is known by what it says.

use spine_proto::pds::v1::{LoadLine, RegisterResponse, UpdateRequest, UpdateResponse};
use spine_services::{ErrorKind, SpineError, reason};
use spine_statemachine::key::Family;

use super::harness::Shard;
use super::pds_rules::least;

fn load(shard: &mut Shard, patient: &serde_json::Value) -> Result<RegisterResponse, SpineError> {
    let request = LoadLine {
        line: 7,
        fhir_json: patient.to_string().into(),
    };
    shard.call("pds.load", &request)
}

fn update(shard: &mut Shard, version_id: u32) {
    let mut patient = least();
    patient["gender"] = if version_id.is_multiple_of(2) {
        "male"
    } else {
        "female"
    }
    .into();
    let request = UpdateRequest {
        nhs_number: "9990000018".to_owned(),
        version_id,
        fhir_json: patient.to_string().into(),
        request_id: format!("u{version_id}"),
        session: None,
        return_minimal: true,
        ..UpdateRequest::default()
    };
    let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
}

#[test]
fn the_same_patient_again_changes_nothing_whatever_came_between() {
    let mut shard = Shard::new();
    assert!(!load(&mut shard, &least()).unwrap().replayed);
    let index = shard.index;
    assert!(load(&mut shard, &least()).unwrap().replayed);
    assert_eq!(shard.index, index, "nothing was proposed");
    for version_id in 1..20 {
        update(&mut shard, version_id);
    }
    let index = shard.index;
    assert!(load(&mut shard, &least()).unwrap().replayed);
    assert_eq!(shard.index, index);
}

#[test]
fn another_patient_under_the_number_is_refused() {
    let mut shard = Shard::new();
    load(&mut shard, &least()).unwrap();
    let mut other = least();
    other["birthDate"] = "1981".into();
    let refusal = load(&mut shard, &other).err().unwrap();
    assert_eq!(
        (refusal.kind, &*refusal.reason),
        (ErrorKind::AlreadyExists, reason::PATIENT_EXISTS)
    );
}

#[test]
fn a_load_leaves_one_row_for_a_patient_and_what_finds_it() {
    let mut shard = Shard::new();
    let before = shard.store.records().len();
    load(&mut shard, &least()).unwrap();
    let of = |family| {
        let keys = shard.store.records().keys();
        keys.filter(|key| Family::of(key) == Some(family)).count()
    };
    let (rows, tokens) = (of(Family::Pds), of(Family::PdsToken));
    assert_eq!(
        (rows, tokens),
        (1, 2),
        "a birth date, and a family name with its year"
    );
    assert_eq!(shard.store.records().len(), before + rows + tokens);
}
