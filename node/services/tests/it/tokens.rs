//! Patients of many names and homes whose search tokens an earlier release has chosen: in the order of the record, where
//! the usual name and the home come first today.

use bytes::Bytes;
use serde_json::{Value, json};
use spine_proto::pds::v1::{UpdateRequest, UpdateResponse};
use spine_proto::storage::v1::{Delete, Mutation, Put, mutation};

use super::harness::Shard;
use super::search::{numbers, patient, put, tokens};

const NUMBER: &str = "9990000018";
/// Number of an empty value as an encoding of a record.
const SCHEMA: u32 = 1;
const FAMILIES: [&str; 6] = ["Adams", "Baker", "Clark", "Davies", "Evans", "Foster"];
const POSTCODES: [&str; 3] = ["AB1 1AA", "BA1 1AA", "CB1 1AA"];
/// Of the names and homes above, those that the earlier release chose.
const CHOSEN: (usize, usize) = (5, 2);

/// Whose usual name and home stand behind all others.
fn young() -> Value {
    let mut young = patient(NUMBER, "Jane", "Young", "1980-02-03");
    let (usual, home) = (young["name"][0].take(), young["address"][0].take());
    let names = FAMILIES.map(|family| json!({ "id": family, "use": "old", "family": family }));
    let homes = POSTCODES.map(|code| json!({ "id": code, "use": "old", "line": ["x"], "postalCode": code }));
    young["name"] = names.into_iter().chain([usual]).collect();
    young["address"] = homes.into_iter().chain([home]).collect();
    young
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut young = young();
    change(&mut young);
    young
}

/// The keys of the tokens that a patient is given today.
fn keys_of(patient: &Value) -> Vec<Bytes> {
    let mut shard = Shard::new();
    put(&mut shard, patient);
    tokens(&shard)
}

/// Those that the earlier release has given: of somebody who never had another name or home.
fn chosen_once() -> Vec<Bytes> {
    keys_of(&with(|young| {
        young["name"].as_array_mut().unwrap().truncate(CHOSEN.0);
        young["name"][0]["use"] = json!("usual");
        young["address"].as_array_mut().unwrap().truncate(CHOSEN.1);
    }))
}

/// A shard as the earlier release has left it.
fn of_before() -> Shard {
    let mut shard = Shard::new();
    put(&mut shard, &young());
    let of_today = tokens(&shard).into_iter();
    let deleted = of_today.map(|key| mutation::Kind::Delete(Delete { key }));
    change(&mut shard, deleted);
    let planted = chosen_once().into_iter().map(|key| {
        mutation::Kind::Put(Put {
            key,
            value: Bytes::new(),
            schema: SCHEMA,
        })
    });
    change(&mut shard, planted);
    assert_eq!(tokens(&shard), chosen_once());
    shard
}

fn change(shard: &mut Shard, kinds: impl Iterator<Item = mutation::Kind>) {
    let mutations = kinds.map(|kind| Mutation { kind: Some(kind) });
    shard.change(mutations.collect());
}

fn update(shard: &mut Shard, patient: &Value) {
    let request = UpdateRequest {
        nhs_number: NUMBER.to_owned(),
        version_id: 1,
        fhir_json: patient.to_string().into(),
        request_id: "u".to_owned(),
        ..UpdateRequest::default()
    };
    let _: UpdateResponse = shard.call("pds.update", &request).unwrap();
}

#[test]
fn the_next_change_writes_all_tokens_of_today_and_takes_away_the_others() {
    let mut shard = of_before();
    let by_name = "family=Young&birthdate=ge1980-01-01&birthdate=le1980-12-31";
    assert_eq!(numbers(&mut shard, by_name), [""; 0], "an earlier choice");
    update(&mut shard, &with(|young| young["gender"] = json!("male")));
    assert_eq!(numbers(&mut shard, by_name), [NUMBER]);
    for after in [
        with(|young| young["gender"] = json!("unknown")),
        with(|young| young["name"][6]["family"] = json!("Zimmer")),
        with(|young| young["name"][1]["family"] = json!("Zimmer")),
        with(|young| drop(young["name"].as_array_mut().unwrap().remove(5))),
        with(|young| drop(young["name"].as_array_mut().unwrap().drain(..6))),
        with(|young| drop(young["address"].as_array_mut().unwrap().drain(..3))),
        with(|young| young["address"][3]["postalCode"] = json!("LS2 7UE")),
    ] {
        let mut shard = of_before();
        update(&mut shard, &after);
        assert_eq!(tokens(&shard), keys_of(&after), "{after}");
    }
}
