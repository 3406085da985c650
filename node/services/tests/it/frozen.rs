//! What is stored, byte for byte: a change here is a change of format and needs a new schema number.

use spine_proto::pds::v1::{RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse};
use spine_proto::records::v1::{CommitRequest, CommitResponse, Mutation, mutation};
use spine_statemachine::key::Family;

use super::harness::Shard;

const BODY: &str = "{\"resourceType\":\"Patient\",\"id\":\"9990000018\",\"name\":[{\"use\":\"usual\",\"family\":\"A\"}],\
                    \"gender\":\"other\",\"birthDate\":\"1980\"}";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys and values of a family, in order, with their schema numbers.
fn stored(shard: &Shard, family: Family) -> String {
    let records = shard
        .store
        .records()
        .iter()
        .filter(|(key, _)| Family::of(key) == Some(family));
    records
        .map(|(key, record)| format!("{} {} {}\n", hex(key), record.schema, hex(&record.value)))
        .collect()
}

#[test]
fn records_are_stored_as_ever() {
    let mut shard = Shard::new();
    let put = mutation::Put {
        suffix: "bed/1".into(),
        value: "free".into(),
    };
    let request = CommitRequest {
        routing_key: "ward-7".to_owned(),
        mutations: vec![Mutation {
            kind: Some(mutation::Kind::Put(put)),
        }],
        request_id: "r".to_owned(),
        session: None,
        ..CommitRequest::default()
    };
    let _: CommitResponse = shard.call("records.commit", &request).unwrap();
    assert_eq!(
        stored(&shard, Family::Records),
        include_str!("../../testdata/frozen/records.txt")
    );
}

#[test]
fn patients_are_stored_as_ever() {
    let mut shard = Shard::new();
    let request = RegisterRequest {
        fhir_json: BODY.into(),
        request_id: "r".to_owned(),
        session: None,
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
    let request = UpdateRequest {
        nhs_number: "9990000018".to_owned(),
        version_id: 1,
        fhir_json: BODY.into(),
        request_id: "u".to_owned(),
        session: None,
    };
    let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
    assert_eq!(
        stored(&shard, Family::Pds),
        include_str!("../../testdata/frozen/pds.txt")
    );
}
