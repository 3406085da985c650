//! What is stored, byte for byte: a change here is a change of format and needs a new schema number.

use bytes::Bytes;
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse,
};
use spine_proto::records::v1::{CommitRequest, CommitResponse, Mutation, mutation};
use spine_proto::storage::v1::{self as storage, Put, SubTxn};
use spine_statemachine::key::Family;

use super::harness::Shard;

const BODY: &str = "{\"resourceType\":\"Patient\",\"id\":\"9990000018\",\"name\":[{\"use\":\"usual\",\"family\":\"A\"}],\
                    \"gender\":\"other\",\"birthDate\":\"1980\"}";

const NHS_NUMBER: &str = "9990000018";

fn unhex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

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

fn changed_once() -> Shard {
    let mut shard = Shard::new();
    let request = RegisterRequest {
        fhir_json: BODY.into(),
        request_id: "r".to_owned(),
        session: None,
        return_minimal: false,
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
    let request = UpdateRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        version_id: 1,
        fhir_json: BODY.into(),
        request_id: "u".to_owned(),
        session: None,
        return_minimal: false,
        ..UpdateRequest::default()
    };
    let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
    shard
}

/// Versions, newest first.
fn versions(shard: &mut Shard) -> Vec<String> {
    let request = HistoryRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        ..HistoryRequest::default()
    };
    let history: HistoryResponse = shard.call("pds.history", &request).unwrap();
    let json = history.versions.into_iter().map(|patient| patient.fhir_json);
    json.map(|json| String::from_utf8(json.to_vec()).unwrap())
        .collect()
}

/// Keys, schema numbers, and of each value the part of its frame that says how to read it. What follows is zstd's, and
/// another release of zstd may find a shorter way to say the same.
#[test]
fn patients_are_stored_as_ever() {
    let shard = changed_once();
    let heads = |text: &str| -> Vec<String> {
        let head = |line: &str| {
            let (key_and_schema, value) = line.rsplit_once(' ').unwrap();
            format!("{key_and_schema} {}", &value[..12])
        };
        text.lines().map(head).collect()
    };
    assert_eq!(
        heads(&stored(&shard, Family::Pds)),
        heads(include_str!("../../testdata/frozen/pds-zstd-1.txt"))
    );
}

/// Rows of every form that a release has written, as it wrote them.
#[test]
fn patients_stored_before_are_read() {
    let expected = versions(&mut changed_once());
    for (form, rows) in [
        ("plain", include_str!("../../testdata/frozen/pds-plain.txt")),
        ("zstd 1", include_str!("../../testdata/frozen/pds-zstd-1.txt")),
    ] {
        let mut shard = Shard::new();
        for row in rows.lines() {
            let mut fields = row.split(' ');
            let mut field = || fields.next().unwrap();
            let (key, schema, value) = (unhex(field()), field().parse().unwrap(), unhex(field()));
            shard.propose(SubTxn {
                mutations: vec![storage::Mutation {
                    kind: Some(storage::mutation::Kind::Put(Put { key, value, schema })),
                }],
                ..SubTxn::default()
            });
        }
        assert_eq!(versions(&mut shard), expected, "{form}");
    }
}
