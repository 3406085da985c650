//! Older versions are kept as differences: each comes back as it was, from wherever it is asked for.

use bytes::Bytes;
use serde_json::json;
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse,
};
use spine_statemachine::key::Family;

use super::harness::Shard;
use super::pds_rules::least;

const NHS_NUMBER: &str = "9990000018";
/// More than three runs of differences.
const VERSIONS: u32 = 52;

/// Bodies that hardly differ, that differ in all, that grow and that shrink.
fn body(version_id: u32) -> Bytes {
    let mut patient = least();
    let text = match version_id % 7 {
        0 => (0..3_000_u32)
            .map(|n| char::from(b'!' + (n * n * version_id % 90) as u8))
            .collect(),
        1 => "x".repeat(5_000),
        _ => format!("version {version_id}"),
    };
    patient["extension"] = json!([{ "url": "urn:test", "valueString": text }]);
    patient.to_string().into()
}

fn update(version_id: u32) -> UpdateRequest {
    UpdateRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        version_id,
        fhir_json: body(version_id + 1),
        request_id: format!("u{version_id}"),
        session: None,
        return_minimal: false,
        ..UpdateRequest::default()
    }
}

/// The shard, and the JSON of each version as its change was answered.
fn changed_often() -> (Shard, Vec<Bytes>) {
    let mut shard = Shard::new();
    let request = RegisterRequest {
        fhir_json: body(1),
        request_id: "r".to_owned(),
        session: None,
        return_minimal: false,
    };
    let first: RegisterResponse = shard.call("pds.register", &request).unwrap();
    let mut told = vec![first.patient.unwrap().fhir_json];
    for version_id in 1..VERSIONS {
        let answer: UpdateResponse = shard.call("pds.update", &update(version_id)).unwrap();
        told.push(answer.patient.unwrap().fhir_json);
    }
    (shard, told)
}

fn history(shard: &mut Shard, page_size: u32, before_version_id: u32) -> HistoryResponse {
    let nhs_number = NHS_NUMBER.to_owned();
    let request = HistoryRequest {
        nhs_number,
        page_size,
        before_version_id,
    };
    shard.call("pds.history", &request).unwrap()
}

#[test]
fn history_from_anywhere_is_what_was_told() {
    let (mut shard, told) = changed_often();
    for before in 0..=VERSIONS + 2 {
        let newest = if before == 0 {
            VERSIONS
        } else {
            VERSIONS.min(before - 1)
        };
        let page = history(&mut shard, 5, before);
        let expected: Vec<u32> = (1..=newest).rev().take(5).collect();
        let found: Vec<u32> = page.versions.iter().map(|patient| patient.version_id).collect();
        assert_eq!(found, expected, "before {before}");
        for patient in &page.versions {
            assert!(
                patient.fhir_json == told[patient.version_id as usize - 1],
                "version {}",
                patient.version_id
            );
        }
        let last = expected.last().copied().unwrap_or(1);
        assert_eq!(
            page.next_before_version_id,
            if last == 1 { 0 } else { last },
            "before {before}"
        );
    }
}

#[test]
fn repeated_changes_are_answered_from_their_version() {
    let (mut shard, told) = changed_often();
    for version_id in 1..VERSIONS {
        let again: UpdateResponse = shard.call("pds.update", &update(version_id)).unwrap();
        assert!(again.replayed);
        assert!(
            again.patient.unwrap().fhir_json == told[version_id as usize],
            "version {}",
            version_id + 1
        );
    }
}

#[test]
fn a_small_change_costs_little() {
    let mut shard = Shard::new();
    let patient = |text: &str| {
        let mut patient = least();
        patient["extension"] =
            json!([{ "url": text, "valueString": "An address of some length, 12 Long Road" }]);
        Bytes::from(patient.to_string())
    };
    let stored = |shard: &Shard| -> usize {
        let patients = shard
            .store
            .records()
            .iter()
            .filter(|(key, _)| key[0] == Family::Pds as u8);
        patients.map(|(_, record)| record.value.len()).sum()
    };
    let request = RegisterRequest {
        fhir_json: patient("urn:one"),
        request_id: "r".to_owned(),
        session: None,
        return_minimal: true,
    };
    let first: RegisterResponse = shard.call("pds.register", &request).unwrap();
    let named = first.patient.unwrap();
    assert_eq!(
        (named.version_id, named.fhir_json.len()),
        (1, 0),
        "no more than was asked for"
    );
    let before = stored(&shard);
    let request = UpdateRequest {
        fhir_json: patient("urn:two"),
        return_minimal: true,
        ..update(1)
    };
    let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
    assert!(
        stored(&shard) - before < 120,
        "{} bytes more",
        stored(&shard) - before
    );
}
