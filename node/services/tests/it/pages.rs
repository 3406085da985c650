//! Pages add up to the whole, whatever their size, and never outgrow a message.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse,
};
use spine_proto::records::v1::{
    CommitRequest, CommitResponse, ListRequest, ListResponse, Mutation, mutation,
};
use spine_services::SpineError;

use super::harness::Shard;
use super::pds_rules::least;

/// What a gRPC client takes unless it is told otherwise.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

fn put(shard: &mut Shard, request_id: &str, records: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mutations = records.iter().map(|(suffix, value)| {
        let put = mutation::Put {
            suffix: suffix.clone().into(),
            value: value.clone().into(),
        };
        Mutation {
            kind: Some(mutation::Kind::Put(put)),
        }
    });
    let request = CommitRequest {
        routing_key: "ward-7".to_owned(),
        mutations: mutations.collect(),
        request_id: request_id.to_owned(),
        session: None,
        ..CommitRequest::default()
    };
    let _: CommitResponse = shard.call("records.commit", &request).unwrap();
}

/// All pages of a list, one after another.
fn list(shard: &mut Shard, prefix: &[u8], page_size: u32) -> Vec<ListResponse> {
    let mut pages: Vec<ListResponse> = Vec::new();
    loop {
        let page_token = pages
            .last()
            .map(|page| page.next_page_token.clone())
            .unwrap_or_default();
        let suffix_prefix = Bytes::copy_from_slice(prefix);
        let request = ListRequest {
            routing_key: "ward-7".to_owned(),
            suffix_prefix,
            page_size,
            page_token,
        };
        let page: ListResponse = shard.call("records.list", &request).unwrap();
        let is_last = page.next_page_token.is_empty();
        pages.push(page);
        if is_last {
            return pages;
        }
    }
}

proptest! {
    #[test]
    fn pages_add_up(
        records in prop::collection::btree_map(prop::collection::vec(0..4_u8, 0..4), prop::collection::vec(any::<u8>(), 0..4), 1..60),
        prefix in prop::collection::vec(0..4_u8, 0..2),
        page_size in 1..70_u32,
    ) {
        let mut shard = Shard::new();
        put(&mut shard, "a", &records);
        let pages = list(&mut shard, &prefix, page_size);
        for page in &pages[..pages.len() - 1] {
            prop_assert_eq!(page.records.len(), usize::try_from(page_size).unwrap());
        }
        let listed: Vec<_> = pages
            .into_iter()
            .flat_map(|page| page.records)
            .map(|record| (record.key.unwrap().suffix.to_vec(), record.value.to_vec()))
            .collect();
        let expected: Vec<_> = records.into_iter().filter(|(suffix, _)| suffix.starts_with(&prefix)).collect();
        prop_assert_eq!(listed, expected);
    }
}

#[test]
fn pages_of_large_records_fit_a_message() {
    let mut shard = Shard::new();
    let kib = |count: usize| vec![b'x'; count * 1024];
    for number in 0..40_u8 {
        let size = if number % 10 == 0 { 2_048 } else { 200 };
        put(
            &mut shard,
            &number.to_string(),
            &BTreeMap::from([(vec![number], kib(size))]),
        );
    }
    let pages = list(&mut shard, &[], 1_000);
    assert!(pages.iter().all(|page| page.encoded_len() < MESSAGE_BYTES_MAX));
    assert_eq!(pages.iter().map(|page| page.records.len()).sum::<usize>(), 40);
    assert!((2..40).contains(&pages.len()), "{} pages", pages.len());
}

#[test]
fn pages_of_history_fit_a_message() {
    let mut shard = Shard::new();
    let mut patient = least();
    patient["extension"] = serde_json::json!([{ "url": "x".repeat(400_000) }]);
    let body = Bytes::from(patient.to_string());
    let request = RegisterRequest {
        fhir_json: body.clone(),
        request_id: "r".to_owned(),
        session: None,
        return_minimal: false,
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
    for version_id in 1..12 {
        let (nhs_number, request_id) = ("9990000018".to_owned(), format!("u{version_id}"));
        let request = UpdateRequest {
            nhs_number,
            version_id,
            fhir_json: body.clone(),
            request_id,
            session: None,
            return_minimal: false,
            ..UpdateRequest::default()
        };
        let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
    }
    let (mut versions, mut before_version_id) = (Vec::new(), 0);
    loop {
        let request = HistoryRequest {
            nhs_number: "9990000018".to_owned(),
            page_size: 100,
            before_version_id,
        };
        let page: HistoryResponse = shard.call("pds.history", &request).unwrap();
        assert!(page.encoded_len() < MESSAGE_BYTES_MAX);
        versions.extend(page.versions.iter().map(|patient| patient.version_id));
        before_version_id = page.next_before_version_id;
        if before_version_id == 0 {
            break;
        }
    }
    assert!(versions.into_iter().eq((1..=12).rev()));
}

#[test]
fn whether_there_is_such_a_patient_comes_before_what_is_wrong_with_a_page() {
    let request = HistoryRequest {
        nhs_number: "9990000018".to_owned(),
        page_size: 101,
        before_version_id: 0,
    };
    let reason = |shard: &mut Shard| {
        let answer: Result<HistoryResponse, SpineError> = shard.call("pds.history", &request);
        answer.err().unwrap().reason
    };
    let mut shard = Shard::new();
    assert_eq!(reason(&mut shard), "PATIENT_NOT_FOUND");
    let register = RegisterRequest {
        fhir_json: least().to_string().into(),
        request_id: "r".to_owned(),
        ..RegisterRequest::default()
    };
    let _: RegisterResponse = shard.call("pds.register", &register).unwrap();
    assert_eq!(reason(&mut shard), "PAGE_SIZE_OUT_OF_RANGE");
}
