//! Each limit has its own reason and names the field; at the limit itself everything works.

use bytes::Bytes;
use spine_proto::pds::v1::{RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse};
use spine_proto::records::v1::{
    CommitRequest, CommitResponse, GetRequest, GetResponse, Guard, Mutation, RecordKey, guard, mutation,
};
use spine_services::pds::patient::PATIENT_BYTES_MAX;
use spine_services::{ErrorKind, SpineError, reason};
use spine_statemachine::limits::{GUARDS_MAX, MUTATIONS_MAX, RECORD_BYTES_MAX, SUFFIX_BYTES_MAX};

use super::harness::Shard;
use super::pds_rules::least;

fn put(suffix: Vec<u8>, bytes: usize) -> Mutation {
    let value = Bytes::from(vec![b'x'; bytes]);
    Mutation {
        kind: Some(mutation::Kind::Put(mutation::Put {
            suffix: suffix.into(),
            value,
        })),
    }
}

fn commit(guards: Vec<Guard>, mutations: Vec<Mutation>) -> Result<CommitResponse, SpineError> {
    let (routing_key, request_id) = ("ward-7".to_owned(), "r".to_owned());
    Shard::new().call(
        "records.commit",
        &CommitRequest {
            routing_key,
            guards,
            mutations,
            request_id,
            session: None,
        },
    )
}

#[track_caller]
fn refused(result: Result<CommitResponse, SpineError>, word: &str, field: &str) {
    let error = result.err().expect("should be refused");
    assert_eq!(
        (error.kind, &*error.reason, &*error.field),
        (ErrorKind::Invalid, word, field)
    );
}

#[test]
fn a_record_has_at_most_2_mib() {
    assert!(commit(Vec::new(), vec![put(vec![1], RECORD_BYTES_MAX)]).is_ok());
    let mutations = vec![put(vec![1], 1), put(vec![2], RECORD_BYTES_MAX + 1)];
    refused(
        commit(Vec::new(), mutations),
        reason::RECORD_TOO_LARGE,
        "mutations[1].put.value",
    );
}

#[test]
fn a_change_has_at_most_4_mib() {
    let mutations = vec![put(vec![1], RECORD_BYTES_MAX), put(vec![2], RECORD_BYTES_MAX)];
    refused(commit(Vec::new(), mutations), reason::TXN_TOO_LARGE, "");
}

#[test]
fn a_suffix_has_at_most_256_bytes() {
    assert!(commit(Vec::new(), vec![put(vec![0xff; SUFFIX_BYTES_MAX], 1)]).is_ok());
    let mutations = vec![put(vec![0; SUFFIX_BYTES_MAX + 1], 1)];
    refused(
        commit(Vec::new(), mutations),
        reason::MALFORMED_KEY,
        "mutations[0].put.suffix",
    );
    let suffix: Bytes = vec![0; SUFFIX_BYTES_MAX + 1].into();
    let delete = Mutation {
        kind: Some(mutation::Kind::Delete(mutation::Delete {
            suffix: suffix.clone(),
        })),
    };
    refused(
        commit(Vec::new(), vec![delete]),
        reason::MALFORMED_KEY,
        "mutations[0].delete.suffix",
    );
    let guard = Guard {
        suffix,
        condition: Some(guard::Condition::Absent(true)),
    };
    refused(
        commit(vec![guard], vec![put(vec![1], 1)]),
        reason::MALFORMED_KEY,
        "guards[0].suffix",
    );
}

#[test]
fn guards_and_mutations_are_counted() {
    let guard = |number: usize| Guard {
        suffix: number.to_be_bytes().to_vec().into(),
        condition: Some(guard::Condition::Absent(true)),
    };
    let mutation = |number: usize| put(number.to_be_bytes().to_vec(), 1);
    let guards = |count| (0..count).map(guard).collect::<Vec<_>>();
    let mutations = |count| (0..count).map(mutation).collect::<Vec<_>>();
    assert!(commit(guards(GUARDS_MAX), mutations(MUTATIONS_MAX)).is_ok());
    refused(
        commit(guards(GUARDS_MAX + 1), mutations(1)),
        reason::TOO_MANY_GUARDS,
        "guards",
    );
    refused(
        commit(Vec::new(), mutations(MUTATIONS_MAX + 1)),
        reason::TOO_MANY_MUTATIONS,
        "mutations",
    );
}

#[test]
fn routing_keys_are_short_and_printable() {
    let mut shard = Shard::new();
    let mut get = |routing_key: &str| -> Result<GetResponse, SpineError> {
        let key = Some(RecordKey {
            routing_key: routing_key.to_owned(),
            suffix: Bytes::new(),
        });
        shard.call("records.get", &GetRequest { key })
    };
    assert!(get("fifteen-letters").is_ok());
    for malformed in ["", "sixteen-letters!", "a b", "é", "tab\t", "nul\0"] {
        let error = get(malformed).err().unwrap();
        assert_eq!(
            (&*error.reason, &*error.field),
            (reason::MALFORMED_KEY, "key.routing_key")
        );
    }
}

#[test]
fn the_largest_patient_can_be_updated_by_the_largest_patient() {
    let mut shard = Shard::new();
    let mut patient = least();
    let room = PATIENT_BYTES_MAX - patient.to_string().len() - 80;
    patient["extension"] = serde_json::json!([{ "url": "x".repeat(room) }]);
    let fhir_json = Bytes::from(patient.to_string());
    let register = RegisterRequest {
        fhir_json: fhir_json.clone(),
        request_id: "a".to_owned(),
        session: None,
        return_minimal: false,
    };
    let registered: RegisterResponse = shard.call("pds.register", &register).unwrap();
    assert!(registered.patient.unwrap().fhir_json.len() > PATIENT_BYTES_MAX - 64);
    let update = UpdateRequest {
        nhs_number: "9990000018".to_owned(),
        version_id: 1,
        fhir_json,
        request_id: "b".to_owned(),
        session: None,
        return_minimal: false,
        ..UpdateRequest::default()
    };
    let updated: UpdateResponse = shard.call("pds.update", &update).unwrap();
    assert_eq!(updated.patient.unwrap().version_id, 2);
}
