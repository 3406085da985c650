//! An item that is there twice is there twice for the rules, even where the second is a copy of the first.

use serde_json::{Value, json};
use spine_proto::pds::v1::{PatchFormat, PatchResponse};

use super::{accepted, add, patched_in, patient, refused, request, shard, with};

const INVALID: &str = "Invalid update with error - ";

/// What is refused of a copy of the first item of each of these lists.
const COPIES: [(&str, &str, &str); 4] = [
    (
        "address",
        "PDS-32",
        "multiple addresses of use 'home' cannot be added",
    ),
    (
        "telecom",
        "PDS-39",
        "multiple contact points of one system and use cannot be added",
    ),
    (
        "generalPractitioner",
        "PDS-42",
        "multiple general practices cannot be added",
    ),
    (
        "extension",
        "PDS-43",
        "multiple extensions of one url cannot be added",
    ),
];

#[test]
fn a_copy_is_one_more() {
    for (list, rule, words) in COPIES {
        let copy = &patient()[list][0];
        refused(&add(list, copy), rule, &format!("{INVALID}{words}"));
        let plain = request(PatchFormat::Json, add(list, copy).to_string());
        let error = shard().call::<PatchResponse>("pds.patch", &plain).err();
        assert_eq!(&*error.unwrap().rule, rule, "{list}");
    }
    let copy = &patient()["name"][0];
    let words = "Forbidden update with error - multiple usual names cannot be added";
    refused(&add("name", copy), "PDS-26", words);
}

fn ids(patient: &Value) -> Vec<&str> {
    let names = patient["name"].as_array().unwrap().iter();
    names.map(|name| name["id"].as_str().unwrap()).collect()
}

#[test]
fn a_copy_that_may_be_has_an_id_of_its_own() {
    let old = json!({ "id": "n3", "use": "old", "family": "Brown", "period": { "start": "2000-01-01" } });
    let mut three = patient();
    three["name"].as_array_mut().unwrap().push(old.clone());
    let four = patched_in(&mut with(&three), &add("name", &old)).unwrap();
    assert_eq!(ids(&four)[..3], ["n1", "n2", "n3"]);
    assert_ne!(ids(&four)[3], "n3");
    assert_eq!(four["name"][3]["family"], "Brown");
    // Both are new: one of them has the id.
    let twice = json!([
        { "op": "add", "path": "/name/-", "value": old },
        { "op": "add", "path": "/name/-", "value": old },
    ]);
    let four = accepted(&twice);
    let new = &ids(&four)[2..];
    assert!(new[0] != new[1] && new.contains(&"n3"), "{new:?}");
}

#[test]
fn what_was_there_twice_before_stands_in_nobodys_way() {
    let mut double = patient();
    for list in ["name", "address", "telecom", "extension"] {
        let copy = double[list][0].clone();
        double[list].as_array_mut().unwrap().push(copy);
    }
    for other in [
        add("name", &json!({ "use": "old", "family": "Brown" })),
        add(
            "address",
            &json!({ "use": "temp", "line": ["1 Side Street"], "postalCode": "LS1 6AE",
                     "period": { "start": "2025-12-01", "end": "2025-12-31" } }),
        ),
        add(
            "telecom",
            &json!({ "system": "phone", "use": "work", "value": "01632960000" }),
        ),
        add("extension", &json!({ "url": "urn:new" })),
    ] {
        let changed = patched_in(&mut with(&double), &other);
        assert!(changed.is_ok(), "{other}: {:?}", changed.err());
    }
    // Whoever changes one of the two is asked to have one.
    let third = add("telecom", &double["telecom"][0]);
    let error = patched_in(&mut with(&double), &third).unwrap_err();
    assert_eq!(&*error.rule, "PDS-39");
}
