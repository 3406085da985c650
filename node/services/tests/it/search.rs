//! Who is found by what, and who is not.

use proptest::prelude::*;
use serde_json::{Value, json};
use spine_proto::pds::v1::{
    PatchFormat, PatchRequest, PatchResponse, RegisterRequest, RegisterResponse, SearchParameter,
    SearchRequest, SearchResponse,
};
use spine_proto::storage::v1::{Delete, Mutation, SubTxn, mutation};
use spine_services::SpineError;
use spine_services::pds::access::Mode;
use spine_services::pds::search::{entry, merge};
use spine_statemachine::key::Family;

use super::harness::Shard;

const SMITH: &str = "9990000018";
const JONES: &str = "9990000026";
const HIDDEN: &str = "9990000034";

pub(super) fn patient(number: &str, given: &str, family: &str, birth: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": number,
        "name": [{ "id": "1", "use": "usual", "given": [given], "family": family }],
        "gender": "female",
        "birthDate": birth,
        "address": [{ "id": "1", "use": "home", "line": ["1 High Street"], "postalCode": "LS1 6AE" }],
        "telecom": [{ "id": "1", "system": "phone", "use": "mobile", "value": "+44 7700 900000" },
                    { "id": "2", "system": "email", "use": "home", "value": "Jane@Example.com" }],
        "generalPractitioner": [{ "identifier": { "value": "Y12345" } }],
    })
}

pub(super) fn put(shard: &mut Shard, patient: &Value) {
    let request = RegisterRequest {
        fhir_json: patient.to_string().into(),
        request_id: patient["id"].as_str().unwrap().to_owned(),
        ..RegisterRequest::default()
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
}

fn people() -> Shard {
    let mut shard = Shard::new();
    let mut smith = patient(SMITH, "Jane", "Smith", "1980-02-03");
    smith["name"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "id": "2", "use": "maiden", "given": ["Jane"], "family": "Brown" }));
    put(&mut shard, &smith);
    put(&mut shard, &patient(JONES, "Wendy", "Jones", "1980-02-03"));
    let mut hidden = patient(HIDDEN, "Anne", "Taylor", "1975-12-01");
    hidden["meta"] = json!({ "security": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R" }] });
    put(&mut shard, &hidden);
    shard
}

#[test]
fn who_has_had_many_names_and_homes_is_found_by_those_of_now() {
    let mut shard = Shard::new();
    let mut young = patient(SMITH, "Jane", "Young", "1980-02-03");
    for (at, family) in ["Adams", "Baker", "Clark", "Davies", "Evans", "Foster"]
        .iter()
        .enumerate()
    {
        let name = json!({ "id": format!("o{at}"), "use": "old", "given": ["Jane"], "family": family });
        // Before the usual one.
        young["name"].as_array_mut().unwrap().insert(0, name);
    }
    for postcode in ["AB1 1AA", "BA1 1AA", "CB1 1AA"] {
        let address = json!({ "id": postcode[..3], "use": "old", "line": ["x"], "postalCode": postcode });
        young["address"].as_array_mut().unwrap().insert(0, address);
    }
    put(&mut shard, &young);
    let range = "birthdate=ge1980-01-01&birthdate=le1980-12-31";
    assert_eq!(found(&mut shard, &format!("family=Young&{range}")).len(), 1);
    assert_eq!(
        found(
            &mut shard,
            &format!("address-postalcode=LS1 6AE&given=Jane&family=Young&{range}")
        )
        .len(),
        1
    );
    assert_eq!(tokens(&shard).len(), 8);
}

fn request(text: &str) -> SearchRequest {
    let parameters = text.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap();
        SearchParameter {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    });
    SearchRequest {
        parameters: parameters.collect(),
    }
}

fn ask(shard: &mut Shard, text: &str) -> Result<SearchResponse, SpineError> {
    shard.call("pds.search", &request(text))
}

/// Numbers and scores, best first.
fn found(shard: &mut Shard, text: &str) -> Vec<(String, u32)> {
    let answer = ask(shard, text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert!(!answer.too_many, "{text}");
    answer
        .matches
        .into_iter()
        .map(|one| (one.patient.unwrap().nhs_number, one.score))
        .collect()
}

pub(super) fn numbers(shard: &mut Shard, text: &str) -> Vec<String> {
    found(shard, text).into_iter().map(|(number, _)| number).collect()
}

#[test]
fn a_patient_is_found_by_name_and_birth_date() {
    let mut shard = people();
    for text in [
        "family=Smith&birthdate=1980-02-03",
        "family=SMITH&given=jane&gender=female&birthdate=eq1980-02-03",
        "family=Sm*&birthdate=1980-02-03",
        "family= Smith &birthdate= 1980-02-03 ",
        "family=Sm*th&given=Ja*&birthdate=1980-02-03",
        "family=Smith&birthdate=ge1979-01-01&birthdate=le1981-01-01",
        "family=Smith&birthdate=1980-02-03&address-postalcode=ls16ae",
        "family=Smith&birthdate=1980-02-03&address-postcode=LS1*",
        "family=Smith&birthdate=1980-02-03&general-practitioner=Y12345&email=jane@example.com&phone=07700900000",
        "family=Smith&birthdate=1980-02-03&_exact-match=true&_max-results=1",
    ] {
        assert_eq!(found(&mut shard, text), [(SMITH.to_owned(), 10_000)], "{text}");
    }
    for text in [
        "family=Smythe&birthdate=1980-02-03",
        "family=Smith&birthdate=1980-02-04",
        "family=Smith&given=Wendy&birthdate=1980-02-03",
        "family=Smith&gender=male&birthdate=1980-02-03",
        "family=Smith&birthdate=1980-02-03&address-postalcode=LS2*",
        "family=Smith&birthdate=1980-02-03&phone=07700900001",
        "family=Smith&birthdate=1980-02-03&death-date=ge2000-01-01&death-date=le2020-01-01",
        "family=Brown&birthdate=1980-02-03",
    ] {
        assert_eq!(numbers(&mut shard, text), [""; 0], "{text}");
    }
}

#[test]
fn a_fuzzy_search_finds_what_sounds_alike_slips_and_what_was_once_so() {
    let mut shard = people();
    let mut last = 10_001;
    for text in [
        "family=Smith&given=Jane&birthdate=1980-02-03",
        "family=Smiht&given=Jane&birthdate=1980-02-03",
        "family=Smithy&given=Jayn&birthdate=1980-02-04",
        "family=Jane&given=Smith&birthdate=1980-02-03",
        "family=Smith&given=Jane&birthdate=1980-03-02",
        "family=Brown&given=Jane&birthdate=1980-02-03",
    ] {
        let found = found(&mut shard, &format!("{text}&_fuzzy-match=true"));
        assert_eq!(found[0].0, SMITH, "{text}");
        assert_eq!(
            found[0].1 == 10_000,
            last == 10_001,
            "only an exact match has a score of one: {text}"
        );
        last = found[0].1;
    }
    let placed = "given=Jane&birthdate=1980-02-03&gender=female&address-postalcode=LS1 6AE&_fuzzy-match=true";
    assert_eq!(numbers(&mut shard, placed), [SMITH]);
    let other = "family=Smith&given=Gwendolyn&birthdate=1980-02-03&_fuzzy-match=true";
    assert_eq!(numbers(&mut shard, other), [""; 0]);
    assert_eq!(
        found(&mut shard, "family=Brown&birthdate=1980-02-03&_history=true"),
        [(SMITH.to_owned(), 9_000)]
    );
    assert_eq!(
        numbers(
            &mut shard,
            "family=Brown&birthdate=1980-02-03&_history=true&_exact-match=true"
        ),
        [""; 0]
    );
}

#[test]
fn a_sensitive_patient_is_not_found_by_where_they_are() {
    let mut shard = people();
    assert_eq!(
        numbers(&mut shard, "family=Taylor&birthdate=1975-12-01"),
        [HIDDEN]
    );
    for text in [
        "address-postalcode=LS1 6AE",
        "general-practitioner=Y12345",
        "phone=07700900000",
        "email=jane@example.com",
    ] {
        assert_eq!(
            numbers(&mut shard, &format!("family=Taylor&birthdate=1975-12-01&{text}")),
            [""; 0],
            "{text}"
        );
    }
    let answer = ask(&mut shard, "family=Taylor&birthdate=1975-12-01").unwrap();
    let shown = entry(&answer.matches[0].patient.as_ref().unwrap().fhir_json).unwrap();
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert!(shown.get("address").is_none() && shown.get("telecom").is_none() && shown["name"].is_array());
    // Of others the names and the address of the present are shown.
    let answer = ask(&mut shard, "family=Smith&birthdate=1980-02-03").unwrap();
    let shown = entry(&answer.matches[0].patient.as_ref().unwrap().fhir_json).unwrap();
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(
        (
            shown["name"].as_array().unwrap().len(),
            shown["address"].as_array().unwrap().len()
        ),
        (1, 1)
    );
}

#[test]
fn what_is_not_enough_or_unknown_is_refused() {
    let mut shard = people();
    for (text, reason) in [
        ("", "UNSUPPORTED_SERVICE"),
        (
            "family=Smith&birthdate=1980-02-03&name=x",
            "ADDITIONAL_PROPERTIES",
        ),
        ("family=Smith", "INVALID_SEARCH_DATA"),
        ("birthdate=1980-02-03", "INVALID_SEARCH_DATA"),
        ("family=&birthdate=1980-02-03", "INVALID_SEARCH_DATA"),
        ("family= &birthdate=1980-02-03", "INVALID_SEARCH_DATA"),
        (
            "family=Smith&birthdate=1980-02-03&phone=none",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&birthdate=1980-02-03&death-date=ge2015-01-01&death-date=ge2016-01-01",
            "INVALID_SEARCH_DATA",
        ),
        ("family=S*&birthdate=1980-02-03", "INVALID_SEARCH_DATA"),
        (
            "family=Sm*&birthdate=1980-02-03&given=Jane&_fuzzy-match=true",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&birthdate=1980-02-03&_fuzzy-match=true",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&given=J&birthdate=1980-02-03&_fuzzy-match=true&_exact-match=true",
            "INVALID_SEARCH_DATA",
        ),
        ("family=Smith&birthdate=1980", "INVALID_SEARCH_DATA"),
        ("family=Smith&birthdate=ge1980-02-03", "INVALID_SEARCH_DATA"),
        (
            "family=Smith&birthdate=ge1940-02-03&birthdate=le1980-02-03",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Sm*&birthdate=ge1980-02-03&birthdate=le1980-02-04",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&family=Jones&birthdate=1980-02-03",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&birthdate=1980-02-03&gender=x",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&birthdate=1980-02-03&address-postcode=L11&address-postalcode=L11",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&birthdate=1980-02-03&_max-results=51",
            "INVALID_SEARCH_DATA",
        ),
        (
            "family=Smith&birthdate=1980-02-03&_history=maybe",
            "INVALID_SEARCH_DATA",
        ),
    ] {
        let error = ask(&mut shard, text)
            .err()
            .unwrap_or_else(|| panic!("{text} is accepted"));
        assert_eq!(error.reason, reason, "{text}");
    }
}

#[test]
fn more_matches_than_asked_for_are_none_and_say_so() {
    let mut shard = people();
    put(&mut shard, &patient("9990000042", "Ann", "Smith", "1980-02-03"));
    let both = ask(&mut shard, "family=Smith&birthdate=1980-02-03").unwrap();
    assert_eq!((both.matches.len(), both.too_many), (2, false));
    let one = ask(&mut shard, "family=Smith&birthdate=1980-02-03&_max-results=1").unwrap();
    assert_eq!((one.matches.len(), one.too_many), (0, true));
    // The same over two shards, each of which has one.
    let asked = request("family=Smith&birthdate=1980-02-03&_max-results=1");
    let answers = both.matches.into_iter().map(|one| SearchResponse {
        matches: vec![one],
        ..SearchResponse::default()
    });
    let merged = merge(&asked, answers).unwrap();
    assert_eq!((merged.matches.len(), merged.too_many), (0, true));
}

#[test]
fn matches_that_one_answer_does_not_hold_are_too_many() {
    let query = "family=Smith&birthdate=1980-02-03";
    let mut shard = Shard::new();
    let (mut told, mut two) = (Vec::new(), SearchResponse::default());
    for number in [SMITH, JONES, HIDDEN] {
        let mut large = patient(number, "Jane", "Smith", "1980-02-03");
        large["extension"] = json!([{ "url": "urn:large", "valueString": "x".repeat(1_500_000) }]);
        put(&mut shard, &large);
        let answer = ask(&mut shard, query).unwrap();
        told.push((answer.matches.len(), answer.too_many));
        if answer.matches.len() == 2 {
            two = answer;
        }
    }
    assert_eq!(told, [(1, false), (2, false), (0, true)]);
    // The same over two shards, each of which has two.
    let merged = merge(&request(query), [two.clone(), two]).unwrap();
    assert_eq!((merged.matches.len(), merged.too_many), (0, true));
}

#[test]
fn a_search_shows_no_empty_lists() {
    let mut shard = Shard::new();
    let mut smith = patient(SMITH, "Jane", "Smith", "1980-02-03");
    smith["address"][0]["use"] = json!("temp");
    smith["telecom"] = json!([]);
    put(&mut shard, &smith);
    let answer = ask(&mut shard, "family=Smith&birthdate=1980-02-03").unwrap();
    let shown = entry(&answer.matches[0].patient.as_ref().unwrap().fhir_json).unwrap();
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert!(shown.get("address").is_none() && shown.get("telecom").is_none() && shown["name"].is_array());
}

#[test]
fn a_day_of_death_is_searched_for_from_one_end_as_well() {
    const DEAD: &str = "9990000042";
    let mut shard = people();
    let mut dead = patient(DEAD, "Mary", "Smith", "1980-02-03");
    dead["deceasedDateTime"] = json!("2015-06-01T12:00:00+00:00");
    put(&mut shard, &dead);
    for (death, expected) in [
        ("death-date=2015-06-01", true),
        ("death-date=ge2015-06-01", true),
        ("death-date=le2015-06-01", true),
        ("death-date=le2016-01-01&death-date=ge2015-01-01", true),
        ("death-date=ge2015-06-02", false),
        ("death-date=le2015-05-31", false),
    ] {
        let found = numbers(&mut shard, &format!("family=Smith&birthdate=1980-02-03&{death}"));
        assert_eq!(found, [DEAD].repeat(usize::from(expected)), "{death}");
    }
}

#[test]
fn a_birth_date_without_its_day_is_found_by_a_range_and_in_a_fuzzy_way() {
    const YEAR: &str = "9990000042";
    const MONTH: &str = "9990000050";
    let mut shard = people();
    put(&mut shard, &patient(YEAR, "Mary", "Evans", "1980"));
    put(&mut shard, &patient(MONTH, "Mary", "Evans", "1980-05"));
    let both = vec![YEAR, MONTH];
    for (births, expected) in [
        ("birthdate=ge1980-01-01&birthdate=le1980-12-31", both.clone()),
        ("birthdate=ge1979-06-01&birthdate=le1980-05-01", both.clone()),
        ("birthdate=ge1980-06-01&birthdate=le1981-12-31", vec![YEAR]),
        ("birthdate=ge1981-01-01&birthdate=le1982-12-31", vec![]),
        // Nobody says that it was that day.
        ("birthdate=1980-05-17", vec![]),
        ("birthdate=1980-05-17&given=Mary&_fuzzy-match=true", both),
        ("birthdate=1980-06-17&given=Mary&_fuzzy-match=true", vec![YEAR]),
    ] {
        let found = numbers(&mut shard, &format!("family=Evans&{births}"));
        assert_eq!(found, expected, "{births}");
    }
}

/// The keys of all tokens.
pub(super) fn tokens(shard: &Shard) -> Vec<bytes::Bytes> {
    let records = shard.store.records().iter();
    let tokens = records.filter(|(key, _)| Family::of(key) == Some(Family::PdsToken));
    tokens
        .map(|(key, record)| {
            assert!(record.value.is_empty() && key.len() == 27, "{} bytes", key.len());
            key.clone()
        })
        .collect()
}

fn rename(shard: &mut Shard, id: &str, family: &str) {
    let patch = json!([{ "op": "replace", "path": "/name/0/family", "value": family }]);
    let request = PatchRequest {
        nhs_number: JONES.to_owned(),
        patch: patch.to_string().into(),
        format: PatchFormat::Json.into(),
        request_id: id.to_owned(),
        ..PatchRequest::default()
    };
    let _: PatchResponse = shard.call("pds.patch", &request).unwrap();
}

#[test]
fn tokens_follow_every_change_and_are_few() {
    let mut shard = people();
    assert_eq!(tokens(&shard).len(), 4 + 3 + 3, "birth, family or two, district");
    rename(&mut shard, "a", "Evans");
    assert_eq!(tokens(&shard).len(), 10);
    assert_eq!(
        numbers(
            &mut shard,
            "family=Evans&birthdate=ge1980-01-01&birthdate=le1980-12-31"
        ),
        [JONES]
    );
    assert_eq!(
        numbers(
            &mut shard,
            "family=Jones&birthdate=ge1980-01-01&birthdate=le1980-12-31"
        ),
        [""; 0]
    );
    // Many names do not make many tokens.
    let mut many = patient("9990000050", "A", "Smith", "1990-01-01");
    for n in 0..50_u8 {
        let family = format!("{}ok", char::from(b'A' + n % 26));
        many["name"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "use": "old", "family": family }));
        many["address"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "use": "old", "postalCode": format!("L{n} 6AE") }));
    }
    put(&mut shard, &many);
    assert_eq!(tokens(&shard).len(), 10 + 8);
}

#[test]
fn a_patient_without_tokens_is_found_once_the_record_is_written_again() {
    let mut shard = people();
    let by_year = "family=Jones&birthdate=ge1980-01-01&birthdate=le1980-12-31";
    // As a release without search has left it.
    let mutations = tokens(&shard).into_iter().map(|key| Mutation {
        kind: Some(mutation::Kind::Delete(Delete { key })),
    });
    let sub = SubTxn {
        mutations: mutations.collect(),
        ..SubTxn::default()
    };
    shard.propose(sub);
    assert_eq!(numbers(&mut shard, by_year), [""; 0]);
    rename(&mut shard, "a", "Jonas");
    rename(&mut shard, "b", "Jones");
    assert_eq!(numbers(&mut shard, by_year), [JONES]);
    assert_eq!(tokens(&shard).len(), 3);
}

#[test]
fn pds_47_an_application_alone_searches_for_one() {
    let mut shard = people();
    shard
        .principal
        .permissions
        .extend(Mode::Application.permission().map(str::to_owned));
    let error = ask(&mut shard, "family=Smith&birthdate=1980-02-03")
        .err()
        .unwrap();
    assert_eq!((&*error.rule, &*error.reason), ("PDS-47", "SEARCH_NOT_SINGLE"));
    assert_eq!(
        numbers(&mut shard, "family=Smith&birthdate=1980-02-03&_max-results=1"),
        [SMITH]
    );
    shard
        .principal
        .permissions
        .extend(Mode::Patient.permission().map(str::to_owned));
    let error = ask(&mut shard, "family=Smith&birthdate=1980-02-03&_max-results=1")
        .err()
        .unwrap();
    assert_eq!(&*error.rule, "PDS-16", "nor does a patient search");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_parameters_make_it_panic(
        values in prop::collection::vec(("(family|given|birthdate|gender|address-postalcode|_fuzzy-match|phone|x)", ".{0,12}"), 0..6),
    ) {
        let parameters = values.into_iter().map(|(name, value)| SearchParameter { name, value });
        let request = SearchRequest { parameters: parameters.collect() };
        let mut shard = people();
        let _ = shard.call::<SearchResponse>("pds.search", &request);
    }
}
